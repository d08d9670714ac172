"""`gradlearn probe` and `gradlearn twins`: pictures and modules of one's own, words or one document, files only where asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradlearn.cli import run

SMALL = ("--convnet.width", "8", "--threads", "1", "--compile", "off")
OWN = """
import torch
from torch import nn

def example():
    torch.manual_seed(0)
    x = torch.randn(80, 3)
    return nn.Linear(3, 1), (x, x.sum(1, keepdim=True)), "mse"

def one():
    return 1
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to stand in, with a module of one's own."""
    (tmp_path / "shown_own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    sys.modules.pop("shown_own", None)


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


Out = Callable[..., tuple[int, str, str]]


def test_probe_draws_the_band_of_pictures_in_words_and_writes_nothing_else(out: Out, here: Path):
    code, text, error = out("probe", "images", "--time", "1s", *SMALL, "--steps", "50", "--lr", "0.02")
    assert (code, error) == (0, "")
    lines = text.splitlines()
    assert "loss after 5 steps" in lines[0] or "loss after " in lines[0]
    assert any("0.02 " in line and line.endswith("<- this run") for line in lines)
    assert "The rate of this run, 0.02, is" in text
    assert [p.name for p in here.iterdir() if p.name not in ("shown_own.py", "__pycache__")] == []


def test_probe_gives_one_document_and_a_picture_where_asked(out: Out, here: Path):
    code, text, error = out(
        "probe", "shown_own:example", "--time", "1s", "--json", "--picture", "band.svg", "--sgd.momentum", "0", "--update", "sgd"
    )
    assert (code, error) == (0, "")
    document = json.loads(text)
    assert document["update"] == "sgd"
    assert document["picture"] == "band.svg"
    assert document["verdict"] in ("too low", "good", "too high")
    assert document["explain"]
    assert (here / "band.svg").read_text().startswith("<svg ")


def test_twins_of_pictures_leave_one_page(out: Out, here: Path):
    code, text, error = out("twins", "images", "--steps", "6", *SMALL, "--json")
    assert (code, error) == (0, "")
    document = json.loads(text)
    few = {t["name"]: t["examples"] for t in document["twins"]}
    assert few == {"chosen": 1294, "too high": 1294, "too low": 1294, "by heart": 40, "held back": 40}
    assert {t["name"]: t["held"] for t in document["twins"]}["held back"].keys() >= {"cross_entropy.label_smoothing"}
    assert document["page"] == str(Path("runs") / "twins.html")
    assert [p.name for p in (here / "runs").iterdir()] == ["twins.html"]


def test_twins_say_a_sentence_for_each(out: Out):
    code, text, error = out("twins", "shown_own:example", "--steps", "8", "--compile", "off", "--page", "a.html")
    assert (code, error) == (0, "")
    assert all(f"\n{name}: " in text for name in ("too high", "chosen", "too low", "by heart", "held back"))
    assert text.splitlines()[-1] == "page a.html"


def test_twins_of_a_module_as_a_document(out: Out, here: Path):
    code, text, error = out("twins", "shown_own:example", "--steps", "8", "--json", "--page", "a.html", "--compile", "off")
    assert (code, error) == (0, "")
    document = json.loads(text)
    assert [t["name"] for t in document["twins"]] == ["chosen", "too high", "too low", "by heart", "held back"]
    assert document["page"] == "a.html"
    assert (here / "a.html").is_file()
    assert not (here / "runs").exists()


@pytest.mark.parametrize(("arguments", "line"), [
    (["probe", "imagse"], "tasks has no 'imagse'; did you mean 'images'?"),
    (["twins"], "the following arguments are required: task; see: gradlearn twins --help"),
    (["probe", "images", "--stepps", "3"], "unknown option --stepps; did you mean '--steps'?"),
    (["probe", "images", "--time", "soon"], "--time soon: expected seconds above 0"),
    (["probe", "images", "--adamw.weight_dekay", "1"], "--adamw.weight_dekay: adamw has no option 'weight_dekay'"),
    (["probe", "shown_own:one"], "shown_own:one: must return (model, (x, y), loss), returned int"),
    (["probe", "shown_own:example", "--shift", "1"], "--shift: for pictures; a module of your own has none"),
    (["train", "shown_own:example"], "tasks has no 'shown_own:example'"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(arguments: list[str], line: str, out: Out):
    code, _, error = out(*arguments)
    assert code == 2
    assert error.startswith(f"gradlearn: error: {line}")
    assert error.count("\n") == 1
