"""The folder is the registry."""

from __future__ import annotations

import inspect

import pytest

from gradlearn import find
from gradlearn.errors import InputTrouble

ALL = [(kind, name) for kind in find.KINDS for name in find.names(kind)]


def test_names_are_the_files_of_the_folder():
    assert find.names("update") == ("adamw", "nadam", "sgd") or {"adamw", "nadam", "sgd"} < set(find.names("update"))
    assert "__init__" not in find.names("rate")
    assert list(find.names("rate")) == sorted(find.names("rate"))


def test_no_name_is_used_in_two_folders():
    """`--name.option` would mean either."""
    names = [name for _, name in ALL]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_the_listing_says_what_the_class_is(kind: str, name: str):
    listing = find.describe(kind, name)
    plugin = find.find(kind, name)
    assert plugin.__name__ == listing.public
    assert listing.summary
    assert "\n" not in listing.summary
    assert listing.doc == inspect.cleandoc(inspect.getmodule(plugin).__doc__)  # type: ignore[union-attr, arg-type]
    if plugin.__init__ is object.__init__:
        assert listing.options == ()
        return
    real = inspect.signature(plugin.__init__).parameters
    optional = {
        k: p.default for k, p in real.items() if p.default is not p.empty or (p.kind is p.KEYWORD_ONLY and p.default is p.empty)
    }
    assert [o.name for o in listing.options] == list(optional)
    for option in listing.options:
        assert option.default == optional[option.name], option
        assert option.help, f"{kind} {name}: option {option.name} is not explained under Args"
        assert "\n" not in option.help


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_help_text_ends_with_its_own_argument(kind: str, name: str):
    helps = [o.help for o in find.describe(kind, name).options]
    assert not any(f" {o.name}: " in text for o in find.describe(kind, name).options for text in helps)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(InputTrouble, match="update has no 'admw'; did you mean 'adamw'\\?"):
        find.find("update", "admw")
    with pytest.raises(InputTrouble, match="rate has no 'zzz'; known: constant, cosine, linear, warmup"):
        find.describe("rate", "zzz")
    with pytest.raises(InputTrouble, match="'updates' is not a kind of plug-in; did you mean 'update'\\?"):
        find.names("updates")


@pytest.mark.parametrize("name", ["__init__", "../loop", "adamw.py", "os", "", "adamw\x00", "/etc/passwd"])
def test_only_files_of_the_folder_are_ever_imported(name: str):
    with pytest.raises(InputTrouble):
        find.find("update", name)


def test_a_missing_extra_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")

    monkeypatch.setattr(find.importlib, "import_module", missing)
    with pytest.raises(InputTrouble, match=r"update 'adamw' needs 'pyarrow'; install it with: pip install 'gradlearn\[all\]'"):
        find.find("update", "adamw")


def test_a_broken_import_of_our_own_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'gradlearn.gone'", name="gradlearn.gone")

    monkeypatch.setattr(find.importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=r"gradlearn\.gone"):
        find.find("update", "adamw")
