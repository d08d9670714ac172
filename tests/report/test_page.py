from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gradlearn.errors import InputTrouble, ResourceTrouble
from gradlearn.report import page
from gradlearn.report.folder import read

Make = Callable[..., Path]
EVERY = ("healthy", "diverged", "killed", "empty", "overfitted", "broad", "hostile")
VOID = {"meta", "img", "br"}
LOADS = {"src", "href", "srcset", "data", "action", "poster", "xlink:href", "style"}


class Checked(HTMLParser):
    """Every tag is closed in order; what the page could load or run is collected."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "script":
            self.scripts.append(dict(attrs))
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.loads += [f"{name}={value}" for name, value in attrs if name in LOADS]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(text: str) -> Checked:
    parser = Checked()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


@pytest.mark.parametrize("kind", EVERY)
def test_every_kind_of_run_makes_a_sound_page_that_loads_nothing(make: Make, kind: str) -> None:
    text = page.render(make(kind))
    found = checked(text)
    assert found.handlers == []
    assert all(load.startswith("src=data:image/png;base64,") for load in found.loads)
    assert sum("type" not in script for script in found.scripts) == 1
    assert all(script in ({}, {"type": "application/json"}) for script in found.scripts)
    assert not found.tags & {"link", "iframe", "object", "embed", "form", "base", "a"}
    urls = set(re.findall(r"https?://[^\"'\s<]*", text))
    assert urls <= {"http://www.w3.org/2000/svg"}  # a name in page.js, not an address that is opened
    assert not re.search(r"\bnan\b|>None<|Traceback", text)


def test_the_policy_allows_this_very_style_and_script(make: Make) -> None:
    text = page.render(make("healthy"))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy
    assert policy[1].startswith("default-src 'none'; ")
    assert "unsafe" not in policy[1]
    for tag in ("style", "script"):
        body = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(body) == 1
        digest = base64.b64encode(hashlib.sha256(body[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]


def test_hostile_strings_are_shown_and_do_nothing(make: Make) -> None:
    text = page.render(make("hostile"))
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text
    assert not {c for c in text if not c.isprintable()} - {"\n"}


def test_story_first_then_scores_then_curves(make: Make) -> None:
    text = page.render(make("healthy"))
    order = ['class="story"', 'class="cards"', "The account", ">Curves<", "Which class", "The worst mistakes"]
    order += [">Data<", "Check of the data", ">Settings<", ">Machine<"]
    places = [text.index(piece) for piece in order]
    assert places == sorted(places)
    assert "98.6%" in text
    assert "95% interval 96.8% to 99.4%" in text
    assert text.count("<img") == 5


def test_events_of_the_table_are_flags_on_the_curves(make: Make) -> None:
    text = page.render(make("diverged"))
    assert "1–7</text>" in text
    assert "not a finite number: 3" in text
    assert "Numbered flags are the events" in text


def test_missing_pieces_are_said(make: Make) -> None:
    text = page.render(make("empty"))
    for piece in (
        "There is no summary of the run",
        "No step is on record",
        "No confusion matrix",
        "No check of the data",
    ):
        assert piece in text
    assert "torn" in page.render(make("killed", "other"))


def test_any_one_file_may_be_missing_or_empty(make: Make) -> None:
    names = [f"{log}.jsonl" for log in ("steps", "scores", "findings", "actions")] + ["run.toml", "summary.json"]
    names += [f"pictures/{name}" for name in ("confusion.json", "mistakes.json", "lint.json", "mistake-00.png")]
    place = make("hostile")
    for name in names:
        content = (place / name).read_bytes()
        (place / name).unlink()
        checked(page.render(place))
        (place / name).write_bytes(b"")
        checked(page.render(place))
        (place / name).write_bytes(content)


def test_writing_twice_gives_the_same_bytes_and_no_litter(make: Make) -> None:
    place = make("killed")
    before = set(os.listdir(place))
    path = page.write(place)
    first = path.read_bytes()
    assert path == place / "report.html"
    assert page.write(place).read_bytes() == first
    assert set(os.listdir(place)) == before | {"report.html"}


def test_a_refusing_disk_leaves_the_old_report(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make("killed")
    page.write(place)
    old = (place / "report.html").read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(ResourceTrouble, match="No space left on device"):
        page.write(place)
    assert (place / "report.html").read_bytes() == old
    assert not list(place.glob(".*tmp*"))


def test_a_folder_of_no_run_gets_no_report(tmp_path: Path) -> None:
    with pytest.raises(InputTrouble):
        page.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_long_run_makes_a_small_file(make: Make) -> None:
    assert len(page.render(make("broad"))) < 500_000


def test_a_report_needs_no_torch(make: Make) -> None:
    heavy = "{'torch', 'numpy'} & {*sys.modules}"
    code = f"import sys; from gradlearn.report.page import render; render(sys.argv[1]); print({heavy})"
    command = [sys.executable, "-c", code, str(make("healthy"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_style_and_script_are_in_the_package() -> None:
    """A wheel holds what pyproject names: every file of report/ that is no Python must be there."""
    import tomllib

    root = Path(page.__file__).parents[3]
    tool = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    patterns = tool["setuptools"]["package-data"]["gradlearn"]
    package = root / "src" / "gradlearn"
    named = {path for pattern in patterns for path in package.glob(pattern)}
    assert {path for path in (package / "report").iterdir() if path.suffix in (".css", ".js")} <= named


def test_the_run_is_not_changed_by_reading(make: Make) -> None:
    place = make("healthy")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    read(place)
    page.render(place)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
