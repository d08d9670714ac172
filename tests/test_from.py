"""`train images --from`: a run that begins with the weights of another, from the command line to its resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from gradlearn.cli import run
from gradlearn.record.weights import read_model

SMALL = ["--threads", "1", "--seed", "3"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the digits."""
    runs = tmp_path_factory.mktemp("runs")
    assert run(["train", "images", "--steps", "20", "--convnet.width", "8", *SMALL, "--runs", str(runs), "--name", "first"]) == 0
    return runs / "first"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits of two known classes and one under another name, in colour and twice the size."""
    from PIL import Image

    from gradlearn.data.images import read

    digits = read(None, seed=0)
    pixels, folder = np.asarray(digits.pixels), tmp_path_factory.mktemp("few")
    for label, name in ((3, "3"), (7, "7"), (5, "five")):
        (folder / name).mkdir()
        for i in np.flatnonzero(digits.labels == label)[:40]:
            Image.fromarray(pixels[i, :, :, 0]).convert("RGB").resize((16, 16)).save(folder / name / f"{i}.png")
    return folder


def train(*words: object, out: Any = None) -> dict[str, Any]:
    """One run with --json."""
    assert run(["train", "images", *map(str, words), *SMALL, "--json"]) == 0
    return json.loads(out.readouterr().out.splitlines()[-1])


def test_with_the_head_alone_the_body_ends_as_it_was(source: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plain = ("--average", "plain", "--without", "best,regularise")
    train(few, "--from", source, "--head-first", "1", "--steps", "12", *plain, "--runs", tmp_path, "--name", "a", out=capsys)
    (old, card), (new, other) = read_model(source), read_model(tmp_path / "a")
    assert (other["shape"], other["options"], other["classes"]) == (card["shape"], {"width": 8}, ["3", "7", "five"])
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name, tensor in new.items():
        if name.startswith("head"):
            assert not torch.equal(tensor[0], old[name][3])
        elif not name.endswith(statistics):
            assert torch.equal(tensor, old[name]), name


def test_it_says_what_it_took_and_learns(source: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["train", "images", str(few), "--from", str(source), "--steps", "40", "--runs", str(tmp_path), "--name", "b", *SMALL]
    assert run(words) == 0
    said = "\n".join(capsys.readouterr())
    line = next(line for line in said.splitlines() if line.startswith("from "))
    assert line.endswith("tensors taken over; head.weight, head.bias new, but for 2 of 3 classes that both have")
    summary = json.loads((tmp_path / "b" / "summary.json").read_text())
    assert summary["score"]["test"] > 0.8


def test_resume_needs_the_weights_only_where_no_step_was_saved(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    weights = tmp_path / "w.safetensors"
    safetensors.torch.save_file(read_model(source)[0], weights)
    words = ("--from", weights, "--convnet.width", "8", "--steps", "12", "--save-every", "6", "--runs", tmp_path)
    train(*words, "--name", "whole", out=capsys)
    whole = read_model(tmp_path / "whole")[0]
    for name, drop in (("late", 12), ("early", 0)):
        folder = tmp_path / name
        shutil.copytree(tmp_path / "whole", folder)
        shutil.rmtree(folder / "model")
        (folder / "summary.json").unlink()
        for checkpoint in (folder / "checkpoints").iterdir():
            if not drop or checkpoint.name.endswith(f"{drop:012d}"):
                shutil.rmtree(checkpoint)
    changed = {k: v + 1 for k, v in read_model(source)[0].items()}
    safetensors.torch.save_file(changed, weights)
    capsys.readouterr()
    assert run(["resume", str(tmp_path / "early")]) == 4
    line = f"{tmp_path / 'early'}: the weights at {weights} changed since the run began; put them back or start anew"
    assert line in capsys.readouterr().err
    weights.unlink()
    assert run(["resume", str(tmp_path / "late")]) == 0
    assert all(torch.equal(tensor, whole[name]) for name, tensor in read_model(tmp_path / "late")[0].items())
    safetensors.torch.save_file(read_model(source)[0], weights)
    assert run(["resume", str(tmp_path / "early")]) == 0
    assert all(torch.equal(tensor, whole[name]) for name, tensor in read_model(tmp_path / "early")[0].items())


def test_weights_that_cannot_be_used_leave_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    torch.save({}, tmp_path / "w.pt")
    assert run(["train", "images", "--from", str(tmp_path / "w.pt"), "--runs", str(tmp_path / "runs")]) == 2
    line = "pickle-based weights are not loaded; convert them to safetensors in the program that made them"
    assert capsys.readouterr().err == f"gradlearn: error: {tmp_path / 'w.pt'}: {line}\n"
    assert not (tmp_path / "runs").exists()
