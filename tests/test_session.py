"""A run that was begun under other rules of what is set aside goes on with the data as it had them."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from gradlearn import session
from gradlearn.data import split
from gradlearn.errors import CheckpointTrouble
from gradlearn.loaded import load
from gradlearn.session import begin, resume
from gradlearn.symbols import Step


def begun(runs: Path, stop: int = -1) -> Path:
    """A run of eight steps on the digits; a signal comes after step `stop`."""

    def show(d: object, step: Step) -> None:
        if step.t == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    user = {"steps": 8, "threads": 1, "convnet.width": 8}
    begin("images", None, user, {}, runs, None, time.monotonic(), show, lambda line: None)
    return runs / "images-001"


def resumed(run: Path) -> list[str]:
    said: list[str] = []
    resume(run, lambda d, step: None, said.append, time.monotonic())
    return said


@pytest.mark.parametrize(("name", "value"), [("SHARE", 0.05), ("CAP_VALID", 50), ("SHARE_SMALL", 0.1)])
def test_a_resume_divides_the_data_as_the_run_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float):
    with monkeypatch.context() as then:
        then.setattr(split, name, value)
        whole, stopped = begun(tmp_path / "whole"), begun(tmp_path / "stopped", 4)
    assert any("resumed at step 5 of 8" in line for line in resumed(stopped))
    ours, theirs = (load(run).model.state_dict() for run in (stopped, whole))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_data_that_cannot_be_divided_as_the_run_did_are_refused(tmp_path: Path):
    stopped = begun(tmp_path, 4)
    file = stopped / "run.toml"
    assert "train = 1294" in file.read_text()
    file.write_text(file.read_text().replace("train = 1294", "train = 1290"))
    with pytest.raises(CheckpointTrouble, match=r"the run had 1,290 for train, 144 for valid, 359 for test; start anew"):
        resumed(stopped)


def test_the_time_of_a_resumed_run_has_the_steps_that_were_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stopped, seen = begun(tmp_path, 4), {}
    spent = json.loads((stopped / "summary.json").read_text())["seconds"]
    monkeypatch.setattr(session, "_to_the_end", lambda task, plan, d, *rest: seen.update(spent=d.seconds, begun=rest[-1]) or {})
    resume(stopped, lambda d, step: None, lambda line: None, 1000.0)
    assert 0.0 < seen["spent"] < spent
    assert seen["begun"] == 1000.0 - seen["spent"]
