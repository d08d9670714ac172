"""The command line: one line or one document out, an exit code that says what kind of end it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradlearn import __version__
from gradlearn.cli import run
from gradlearn.find import KINDS, names

SMALL = ["--convnet.width", "8", "--threads", "1", "--seed", "3"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def trained(runs: Path) -> Path:
    """The run of one short training of scikit-learn's digits, shared by the tests that only read it."""
    assert run(["train", "images", "--steps", "30", *SMALL, "--runs", str(runs), "--name", "first"]) == 0
    return runs / "first"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some digits as PNG files in folders by class."""
    from PIL import Image

    from gradlearn.data.images import read

    digits = read(None, seed=0)
    pixels, folder = np.asarray(digits.pixels), tmp_path_factory.mktemp("pictures")
    for label in range(3):
        (folder / str(label)).mkdir()
        for i in np.flatnonzero(digits.labels == label)[:6]:
            Image.fromarray(pixels[i, :, :, 0]).save(folder / str(label) / f"{i}.png")
    return folder


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """out("list", "update") -> (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to stand in: nothing may be left in it that nobody asked for."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


# ---- help, list, check


def test_help_names_every_command_and_option(capsys: pytest.CaptureFixture[str]):
    for arguments, words in (
        (["--help"], ["train", "predict", "evaluate", "compare", "report", "resume", "list", "check"]),
        (["train", "--help"], ["--time", "--update", "adamw", "--no-act", "--skip-bad", "1%)", "convnet"]),
    ):
        with pytest.raises(SystemExit) as end:
            run(arguments)
        assert end.value.code == 0
        text = capsys.readouterr().out
        assert all(word in text for word in words), arguments
    with pytest.raises(SystemExit):
        run(["--version"])
    assert capsys.readouterr().out.strip() == f"gradlearn {__version__}"


def test_list_shows_every_plugin_with_its_summary_and_options(out: Callable[..., tuple[int, str, str]]):
    code, text, error = out("list")
    assert (code, error) == (0, "")
    for kind in KINDS:
        assert f"{kind}\n" in text
        for name in names(kind):
            assert f"  {name} " in text
    code, text, _ = out("list", "update")
    assert "--adamw.weight_decay 0.05  pull towards zero, as a share of `lr` a step." in text
    assert "\n  warmup " not in text
    code, text, _ = out("list", "--json")
    rows = json.loads(text)["plugins"]
    assert {(r["kind"], r["name"]) for r in rows} == {(kind, name) for kind in KINDS for name in names(kind)}
    assert next(r for r in rows if r["name"] == "warmup")["options"] == {"share": 0.05, "least": 10}


def test_check_says_what_is_installed_and_how_fast(out: Callable[..., tuple[int, str, str]]):
    code, text, _ = out("check", "--json")
    document = json.loads(text)
    assert code == 0
    assert document["ok"] is True
    assert {"python", "torch", "pillow", "memory", "matrix products"} <= {row["what"] for row in document["checks"]}


# ---- what cannot be


@pytest.mark.parametrize(("arguments", "line"), [
    ([], "the following arguments are required: COMMAND; see: gradlearn --help"),
    (["trian"], "unknown command 'trian'; did you mean 'train'?"),
    (["train"], "the following arguments are required: task; see: gradlearn train --help"),
    (["train", "imagse"], "tasks has no 'imagse'; did you mean 'images'?"),
    (["train", "images", "--stepps", "3"], "unknown option --stepps; did you mean '--steps'?"),
    (["train", "images", "--stepps=3"], "unknown option --stepps; did you mean '--steps'?"),
    (["train", "images", "--step", "3"], "unknown option --step; did you mean '--steps'?"),
    (["train", "images", "--steps", "many"], "--steps: many must be a whole number above 0; see: gradlearn"),
    (["train", "images", "--steps"], "--steps: expected one argument; see: gradlearn train --help"),
    (["train", "images", "--steps", "0"], "--steps: 0 must be a whole number above 0; see: gradlearn"),
    (["train", "images", "--steps", "3", "--epochs", "2"], "--time, --epochs and --steps exclude each other; give one"),
    (["train", "images", "--time", "soon"], "--time soon: expected seconds above 0, or such as 60s, 5m, 2h"),
    (["train", "images", "--lr", "-1"], "--lr: -1 must be a finite number above 0; see: gradlearn train --help"),
    (["train", "images", "--lr", "nan"], "--lr: nan must be a finite number above 0; see: gradlearn train --help"),
    (["train", "images", "--batch", "some"], "--batch: 'some': expected a number of examples, full or auto; see: gradlearn"),
    (["train", "images", "--batch", "0"], "--batch: '0': expected a number of examples, full or auto; see: gradlearn"),
    (["train", "images", "--update", "admw"], "update has no 'admw'; did you mean 'adamw'?"),
    (["train", "images", "--model", "convnets"], "models has no 'convnets'; did you mean 'convnet'?"),
    (["train", "images", "--rate", "warmup,linaer"], "rate has no 'linaer'; did you mean 'linear'?"),
    (["train", "images", "--adamw.weight_dekay", "1"], "--adamw.weight_dekay: adamw has no option 'weight_dekay'; did you"),
    (["train", "images", "--adamw.weight_decay", "much"], "--adamw.weight_decay much: expected a value like 0.05"),
    (["train", "images", "--adamw.weight_decay"], "--adamw.weight_decay: expected a value"),
    (["train", "images", "--sgd.momentum", "0.5"], "--sgd.momentum: this run has no 'sgd'; choose it with --update sgd"),
    (["train", "images", "--adamw.lr", "0.5"], "--adamw.lr: the learning rate of every update is given as --lr"),
    (["train", "images", "--ema.decay", "2", "--steps", "3"], "--ema.decay 2.0: must be in (0, 1)"),
    (["train", "images", "nowhere"], "nowhere: "),
    (["train", "images", "--valid", "1.5"], "--valid 1.5: must be a share of at least 0 and below 1"),
    (["train", "images", "--name", "a/b"], "--name 'a/b': cannot be a name"),
    (["train", "images", "--config", "nowhere.toml"], "nowhere.toml: file not found"),
    (["train", "images", "--memory", "lots"], "--memory: 'lots' is no size; give such as 500MB; see: gradlearn train --help"),
    (["predict", "nowhere", "a.png"], "nowhere: run not found"),
    (["predict", "nowhere"], "the following arguments are required: FILE|DIR; see: gradlearn predict --help"),
    (["evaluate", "nowhere", "."], "nowhere: run not found"),
    (["compare", "nowhere"], "nowhere: run not found"),
    (["report", "nowhere"], "nowhere: run not found"),
    (["resume", "nowhere"], "nowhere: run not found"),
    (["resume", "nowhere", "--steps", "3"], "unknown option --steps"),
    (["list", "updates"], "'updates' is not a kind of plug-in; did you mean 'update'?"),
    (["list", "--jsno"], "unknown option --jsno; did you mean '--json'?"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")  # fmt: skip
def test_what_cannot_be_is_one_line_and_code_two_and_leaves_nothing(
    arguments: list[str], line: str, out: Callable[..., tuple[int, str, str]], here: Path
):
    code, text, error = out(*arguments)
    assert code == 2
    assert text == "" or "digits" in text
    assert error.startswith(f"gradlearn: error: {line}")
    assert error.count("\n") == 1
    assert list(here.iterdir()) == [], "nothing is left behind"


def test_an_error_is_a_document_where_documents_are_asked_for(out: Callable[..., tuple[int, str, str]]):
    code, text, error = out("train", "images", "--updates", "x", "--json")
    assert code == 2
    assert json.loads(text) == {"error": "unknown option --updates; did you mean '--update'?", "code": 2}
    assert error.startswith("gradlearn: error: ")


def test_folders_made_on_the_way_to_bad_input_are_removed(out: Callable[..., tuple[int, str, str]], here: Path):
    code, _, _ = out("train", "images", "nowhere", "--runs", "a/b/c")
    assert code == 2
    assert list(here.iterdir()) == []
    (here / "mine").mkdir()
    out("train", "images", "nowhere", "--runs", "mine")
    assert (here / "mine").is_dir(), "what was there before stays"


def test_a_terminal_is_not_written_to_by_names(out: Callable[..., tuple[int, str, str]]):
    code, _, error = out("train", "images", "\x1b[2Jnowhere")
    assert code == 2
    assert "\x1b" not in error


# ---- options of plug-ins


def test_plugin_options_may_stand_anywhere(out: Callable[..., tuple[int, str, str]], tmp_path: Path):
    for k, arguments in enumerate((
        ["train", "--adamw.weight_decay", "0.25", "images"],
        ["train", "images", "--adamw.weight_decay", "0.25"],
        ["train", "images", "--adamw.weight_decay=0.25"],
        ["--adamw.weight_decay", "0.25", "train", "images"],
    )):  # fmt: skip
        code, _text, error = out(*arguments, *SMALL, "--steps", "2", "--runs", tmp_path / "runs", "--name", f"r{k}", "--json")
        assert (code, error) == (0, "")
        assert "value = 0.25" in (tmp_path / "runs" / f"r{k}" / "run.toml").read_text()


# ---- a run


def test_train_leaves_a_whole_run_folder(trained: Path):
    assert {p.name for p in trained.iterdir()} >= {
        "run.toml", "steps.jsonl", "scores.jsonl", "findings.jsonl", "actions.jsonl", "summary.json", "checkpoints", "model",
        "pictures",
        "report.html",
    }  # fmt: skip
    assert len((trained / "steps.jsonl").read_text().splitlines()) == 30
    assert {p.name for p in (trained / "model").iterdir()} == {
        "weights.safetensors",
        "card.json",
        "README.md",
        "examples.safetensors",
    }
    assert "<html" in (trained / "report.html").read_text()
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["steps"] == 30
    assert summary["stop"]["reason"] == "done"
    assert summary["score"]["name"] == "accuracy"
    assert summary["score"]["test"] > 0.5


def test_train_says_what_it_found_what_came_of_it_and_where(out: Callable[..., tuple[int, str, str]], here: Path):
    code, text, error = out("train", "images", "--steps", "12", *SMALL)
    assert (code, error) == (0, "")
    lines = text.splitlines()
    assert lines[0].startswith("scikit-learn's digits: 10 classes, pictures of 8 x 8 grey; 1,294 train, 144 valid, 359 test")
    assert any(line.startswith("valid accuracy ") and "test accuracy" in line for line in lines)
    assert f"run     {Path('runs') / 'images-001'}" in lines
    assert f"report  {Path('runs') / 'images-001' / 'report.html'}" in lines
    assert (here / "runs" / "images-001" / "report.html").is_file()


def test_json_is_one_document_and_nothing_else(out: Callable[..., tuple[int, str, str]], here: Path):
    code, text, error = out("train", "images", "--steps", "12", *SMALL, "--json")
    assert (code, error) == (0, "")
    assert text.count("\n") == 1
    document = json.loads(text)
    assert {"run", "task", "score", "steps", "seconds", "stop", "findings", "story"} <= document.keys()
    assert document["run"] == str(Path("runs") / "images-001")
    assert "code" not in document


def test_the_same_seed_is_the_same_model(trained: Path, out: Callable[..., tuple[int, str, str]], runs: Path):
    assert out("train", "images", "--steps", "30", *SMALL, "--runs", runs, "--name", "again")[0] == 0
    for name in ("weights.safetensors", "card.json"):
        assert (runs / "again" / "model" / name).read_bytes() == (trained / "model" / name).read_bytes()


def test_a_configuration_makes_the_same_run_again(trained: Path, out: Callable[..., tuple[int, str, str]], runs: Path):
    assert out("train", "images", "--config", trained / "run.toml", "--runs", runs, "--name", "config")[0] == 0
    assert (runs / "config" / "model" / "weights.safetensors").read_bytes() == (
        trained / "model" / "weights.safetensors"
    ).read_bytes()
    assert out("train", "images", "--config", trained / "run.toml", "--seed", "4", "--runs", runs, "--name", "other")[0] == 0
    assert (runs / "other" / "model" / "weights.safetensors").read_bytes() != (
        trained / "model" / "weights.safetensors"
    ).read_bytes()


def test_a_name_that_is_taken_is_refused(trained: Path, out: Callable[..., tuple[int, str, str]]):
    before = sorted(p.name for p in trained.rglob("*"))
    code, _, error = out("train", "images", "--steps", "2", *SMALL, "--runs", trained.parent, "--name", "first")
    assert code == 2
    assert "exists; choose another --name or resume it" in error
    assert sorted(p.name for p in trained.rglob("*")) == before


def test_predict_gives_classes_and_probabilities(trained: Path, pictures: Path, out: Callable[..., tuple[int, str, str]]):
    files = sorted(pictures.rglob("*.png"))
    code, text, error = out("predict", trained, *files)
    assert (code, error) == (0, "")
    assert len(text.splitlines()) == len(files) == 18
    code, text, _ = out("predict", trained, pictures, "--json")
    rows: list[dict[str, Any]] = json.loads(text)["predictions"]
    assert len(rows) == 18
    right = 0
    for row in rows:
        assert sum(row["all"].values()) == pytest.approx(1.0, abs=1e-5)
        assert row["p"] == pytest.approx(max(row["all"].values()), abs=1e-5)
        assert row["class"] == max(row["all"], key=row["all"].get)
        right += row["class"] == Path(row["file"]).parent.name
    assert right >= 12
    code, _, error = out("predict", trained, pictures / "nothing.png")
    assert code == 2
    assert "nothing.png: file not found" in error


def test_evaluate_scores_other_data_with_its_interval(trained: Path, pictures: Path, out: Callable[..., tuple[int, str, str]]):
    code, text, error = out("evaluate", trained, pictures)
    assert (code, error) == (0, "")
    assert "on 18 pictures (95 % interval" in text
    assert "each class counted the same: balanced accuracy " in text
    assert text.splitlines()[2].split() == ["class", "right", "of", "recall", "precision", "F1"]
    code, text, _ = out("evaluate", trained, pictures, "--json")
    result = json.loads(text)
    assert result["examples"] == 18
    assert result["score"]["value"] == pytest.approx(sum(row["right"] for row in result["classes"]) / 18)
    with_examples = [row for row in result["classes"] if row["examples"]]
    assert all(row["recall"] == pytest.approx(row["right"] / row["examples"]) for row in with_examples)
    mean = sum(row["recall"] for row in with_examples) / len(with_examples)
    assert result["score"]["all"]["balanced_accuracy"] == pytest.approx(mean)
    assert result["interval"][0] < result["score"]["value"] <= result["interval"][1]
    (pictures / "2").rename(pictures / "two")
    code, _, error = out("evaluate", trained, pictures)
    (pictures / "two").rename(pictures / "2")
    assert code == 2
    assert "class 'two' is not " in error


def test_compare_puts_runs_side_by_side(trained: Path, out: Callable[..., tuple[int, str, str]], runs: Path):
    out("train", "images", "--steps", "5", "--lr", "0.001", *SMALL, "--runs", runs, "--name", "short")
    code, text, error = out("compare", trained, runs / "short")
    assert (code, error) == (0, "")
    assert "first" in text
    assert "short" in text
    code, text, _ = out("compare", trained, runs / "short", "--json")
    assert code == 0
    assert len(json.loads(text)["runs"]) == 2


def test_report_is_written_again(trained: Path, out: Callable[..., tuple[int, str, str]]):
    before = (trained / "report.html").read_bytes()
    (trained / "report.html").unlink()
    code, text, _ = out("report", trained)
    assert (code, text.strip()) == (0, str(trained / "report.html"))
    assert (trained / "report.html").read_bytes() == before
    assert json.loads(out("report", trained, "--json")[1]) == {"report": str(trained / "report.html")}


def test_a_finished_run_that_is_resumed_is_told_and_left_alone(trained: Path, out: Callable[..., tuple[int, str, str]]):
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    code, text, error = out("resume", trained)
    assert (code, error) == (0, "")
    assert "is finished, nothing to do (all 30 steps are done)" in text
    assert {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()} == before


def test_numbers_that_are_none_end_with_code_three(
    out: Callable[..., tuple[int, str, str]], here: Path, monkeypatch: pytest.MonkeyPatch
):
    from gradlearn.tasks.images import Images

    plain = Images.losses
    monkeypatch.setattr(
        Images, "losses", lambda self, model, batch: plain(self, model, batch)._replace(total=model(batch.x).sum(1) * float("nan"))
    )
    code, text, error = out("train", "images", "--steps", "12", *SMALL, "--no-act", "--json")
    assert code == 3
    assert error.startswith("gradlearn: error: step 0: ")
    document = json.loads(text)
    assert document["stop"]["reason"] == "numerics"
    assert document["steps"] == 1
    assert (here / "runs" / "images-001" / "report.html").is_file()


def test_an_internal_error_is_one_line_and_code_one(out: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch):
    import gradlearn.setup_check

    def broken() -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(gradlearn.setup_check, "inspect", broken)
    code, text, error = out("check")
    assert (code, text) == (1, "")
    assert error == "gradlearn: error: internal error: RuntimeError: two\\nlines; run again with --debug and report it\n"
    with pytest.raises(RuntimeError):
        out("check", "--debug")


# ---- signals


def test_a_signal_saves_and_resume_gives_the_very_model_of_an_unbroken_run(out: Callable[..., tuple[int, str, str]], here: Path):
    train = ["train", "images", "--steps", "150", "--save-every", "10", *SMALL]
    broken = subprocess.Popen(
        [sys.executable, "-m", "gradlearn", *train, "--name", "broken"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    log = here / "runs" / "broken" / "steps.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline and broken.poll() is None:
        time.sleep(0.005)
    broken.send_signal(signal.SIGTERM)
    text, error = broken.communicate(timeout=60)
    assert (broken.returncode, error) == (143, "")
    assert "stopped by signal 15 after step" in text
    assert f"go on with: gradlearn resume {Path('runs') / 'broken'}" in text
    done = len(log.read_text().splitlines())
    assert 0 < done < 150
    assert not (here / "runs" / "broken" / "model").exists()
    code, text, error = out("resume", Path("runs") / "broken")
    assert (code, error) == (0, "")
    assert f"resumed at step {done} of 150" in text
    assert out(*train, "--name", "whole")[0] == 0
    for name in ("weights.safetensors", "card.json"):
        assert (here / "runs" / "broken" / "model" / name).read_bytes() == (here / "runs" / "whole" / "model" / name).read_bytes()


def test_a_run_that_is_open_elsewhere_is_locked(trained: Path, out: Callable[..., tuple[int, str, str]]):
    from gradlearn.record.folder import lock

    with lock(trained):
        code, _, error = out("resume", trained)
    assert code == 4
    assert f"locked by process {os.getpid()}" in error


def test_torch_is_left_with_its_threads():
    assert torch.get_num_threads() == 1
