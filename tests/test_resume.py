"""A run that is broken off anywhere and resumed is the unbroken run, bit for bit."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradlearn
from gradlearn.comeback import bring_back
from gradlearn.errors import CheckpointTrouble, InputTrouble
from gradlearn.loop import Cadence, Descent, train
from gradlearn.optimizer import pack
from gradlearn.record.log import read
from gradlearn.record.record import Record
from gradlearn.symbols import Action
from toys import Line, Poisoned, descent, normal

STEPS = 12


@pytest.fixture
def runs() -> Iterator[Path]:
    """A folder in memory where there is one: every checkpoint waits for the disk."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(dir=place))
    yield folder
    shutil.rmtree(folder)


class Hidden(nn.Module):
    """A module whose forward pass depends on a buffer that is not in the state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
        return x * (1 + 0.01 * self.calls)


class Net(Line):
    """Dropout, batch norm, and a state of its own."""

    def net(self) -> nn.Module:
        return nn.Sequential(*super().net(), Hidden())


def made(kind: str) -> Descent:
    """The same descent each time; `rewind`: three bad steps, `cool`: and a bad one after."""
    update, bad = {"plain": ("adamw", ()), "rewind": ("nadam", (5, 6, 7, 9)), "sgd": ("sgd", (3,))}[kind]
    task = Net()
    d = descent(task, STEPS, average="ema", update=update, cadence=Cadence(snapshot=3, score=2, ring=2), valid=task.data("valid"))
    d.data = Poisoned(d.data, 0, bad, ())
    return d


def plain(groups: list[dict[str, Any]]) -> Any:
    """Tuples and lists are the same to JSON."""
    return json.loads(json.dumps(groups))


def told(d: Descent) -> dict[str, Any]:
    """Theta, buffers, update, average, ring, dials, history: all of it, comparable."""
    h = d.history
    ring = [
        [s.t, [t.tolist() for t in s.theta], {k: v.tolist() for k, v in (s.update | s.average).items()}, plain(s.groups)]
        for s in d.ring
    ]
    return {
        "theta": [t.tolist() for t in d.theta.snapshot()],
        "update": {k: v.tolist() for k, v in pack(d.update)[0].items()},
        "groups": plain(pack(d.update)[1]),
        "average": {k: v.tolist() for k, v in d.average.state().items()},
        "ring": ring,
        "dials": copy.copy(d.controls),
        "t": (d.t, d.seen, d.round),
        "loss": [repr(x) for x in h.loss],
        "norm": [repr(x) for x in h.norm],
        "lr": h.lr,
        "applied": h.applied,
        "scores": h.scores,
        "findings": h.findings,
        "actions": h.actions,
    }


def logs(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows but the times."""
    return {
        name: [{k: v for k, v in row.items() if k != "seconds"} for row in read(folder / f"{name}.jsonl")]
        for name in ("steps", "scores", "findings", "actions")
    }


def checkpoint(folder: Path) -> dict[str, bytes]:
    newest = max((folder / "checkpoints").iterdir())
    return {p.name: p.read_bytes() for p in newest.glob("*.safetensors")}


def begun(kind: str, folder: Path, stop: Callable[[Descent], None] | None = None, save: int = 0, clock: Any = None) -> Descent:
    folder.mkdir()
    d = made(kind)
    d.cadence.save = save
    for _ in train(d, Record(folder), clock):
        if stop is not None:
            stop(d)
    return d


@pytest.mark.parametrize("kind", ["plain", "rewind", "sgd"])
def test_resume_after_every_step_is_bit_exact(kind: str, runs: Path):
    whole = begun(kind, runs / "whole")
    if kind == "rewind":
        assert whole.history.count("rewind") >= 1
    expected = told(whole)
    for k in range(1, STEPS):

        def leave(d: Descent, k: int = k) -> None:
            d.interrupted = d.t == k

        begun(kind, runs / f"{k}", leave)
        d = made(kind)
        torch.manual_seed(k)
        record = bring_back(d, runs / f"{k}")
        assert d.t == k
        list(train(d, record))
        assert told(d) == expected, k
        assert logs(runs / f"{k}") == logs(runs / "whole"), k
        assert checkpoint(runs / f"{k}") == checkpoint(runs / "whole"), k


def test_a_run_resumed_after_every_single_step_is_bit_exact(runs: Path):
    whole = begun("rewind", runs / "whole")

    def leave(d: Descent) -> None:
        d.interrupted = True

    begun("rewind", runs / "broken", leave)
    for k in range(1, STEPS):
        d = made("rewind")
        record = bring_back(d, runs / "broken")
        assert d.t == k
        for _ in train(d, record):
            d.interrupted = True
    d = made("rewind")
    list(train(d, bring_back(d, runs / "broken")))
    assert told(d) == told(whole)
    assert logs(runs / "broken") == logs(runs / "whole")


class Killed(Exception):
    """The process is gone: nothing more is saved."""


@pytest.mark.parametrize("at", [2, 5, 8, 11])
def test_a_killed_run_goes_on_from_its_last_checkpoint_bit_exactly(at: int, runs: Path):
    whole = begun("rewind", runs / "whole", save=4)

    def die(d: Descent) -> None:
        if d.t == at:
            raise Killed

    with pytest.raises(Killed):
        begun("rewind", runs / "killed", die, save=4)
    d = made("rewind")
    d.cadence.save = 4
    record = bring_back(d, runs / "killed")
    assert d.t == (at - 1) // 4 * 4
    list(train(d, record))
    assert told(d) == told(whole)
    assert logs(runs / "killed") == logs(runs / "whole")


@pytest.mark.parametrize("at", [3, 7])
def test_what_a_clock_decided_is_replayed(at: int, runs: Path):
    """Also where the process was killed before the first checkpoint after it, or before any."""

    def clock(d: Descent) -> Action | None:
        return Action(d.t - 1, "finish", "slow machine", "end", float(STEPS), 9.0, "clock") if d.t == 2 else None

    def die(d: Descent) -> None:
        if d.t == at:
            raise Killed

    whole = begun("plain", runs / "whole", save=5, clock=clock)
    assert whole.t == 9
    with pytest.raises(Killed):
        begun("plain", runs / "killed", die, save=5, clock=clock)
    d = made("plain")
    list(train(d, bring_back(d, runs / "killed")))
    assert told(d) == told(whole)
    assert logs(runs / "killed") == logs(runs / "whole")


def test_a_finished_run_that_is_resumed_stays_as_it_is(runs: Path):
    whole = begun("rewind", runs / "whole")
    whole.ring.clear()  # the checkpoint of a run that is over has no point to come back to
    before = logs(runs / "whole")
    d = made("rewind")
    assert list(train(d, bring_back(d, runs / "whole"))) == []
    assert told(d) == told(whole)
    assert logs(runs / "whole") == before


# ---- the front door


def module() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 2))


def data() -> tuple[Tensor, Tensor]:
    x = normal("resume", 80, 3)
    return x, (x[:, 0] > 0).long()


def fit(model: nn.Module, **more: Any) -> Any:
    return gradlearn.fit(model, data(), batch=16, **more)


@pytest.mark.parametrize("k", [1, 5, 6, 11, 12])
def test_fit_resumes_bit_exactly_after_a_signal(k: int, runs: Path):
    settings = {"steps": 12, "score_every": 5, "update": "nadam"}
    model = module()
    whole = fit(model, run=runs / "whole", **settings)

    def ask(d: Descent, step: Any) -> None:
        if step.t == k - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    first = fit(module(), run=runs / "broken", show=ask, **settings)
    assert first.steps == k
    if k < 12:
        assert first.stop["reason"] == "signal"
        assert not (runs / "broken" / "model").exists()
    other = module()
    with torch.no_grad():
        other[0].weight.zero_()  # what the module holds when it comes back does not matter
    rest = fit(other, resume=runs / "broken")
    assert rest.stop["reason"] == "done"
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    assert rest.history == whole.history
    assert rest.score == whole.score
    assert rest.steps == whole.steps == 12
    weights = [(runs / name / "model" / "weights.safetensors").read_bytes() for name in ("whole", "broken")]
    assert weights[0] == weights[1]
    assert logs(runs / "whole") == logs(runs / "broken")


def test_fit_resumes_after_a_kill(runs: Path):
    model, other = module(), module()
    fit(model, steps=12, run=runs / "whole", save_every=4)

    def die(d: Descent, step: Any) -> None:
        if step.t == 9:
            raise Killed

    with pytest.raises(Killed):
        fit(other, steps=12, run=runs / "killed", save_every=4, show=die)
    fit(other, resume=runs / "killed")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_resume_takes_over_every_option(runs: Path):
    """Also those of the loss, and those that TOML knows as lists only."""
    settings: dict[str, Any] = {
        "steps": 12, "cross_entropy__label_smoothing": 0.2, "adamw__betas": (0.8, 0.9), "rate": "cosine", "backprop__part": 7,
    }  # fmt: skip
    model, other = module(), module()
    fit(model, run=runs / "whole", **settings)

    def ask(d: Descent, step: Any) -> None:
        if step.t == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    fit(module(), run=runs / "broken", show=ask, **settings)
    fit(other, resume=runs / "broken", adamw__betas=(0.8, 0.9))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_resume_with_another_choice_is_refused(runs: Path):
    fit(module(), steps=4, run=runs / "a")
    with pytest.raises(InputTrouble, match=r"fit: steps=5, but the run in .*a has 4; leave it out to resume"):
        fit(module(), steps=5, resume=runs / "a")
    assert fit(module(), steps=4, resume=runs / "a").steps == 4


def test_a_resume_into_another_module_is_refused(runs: Path):
    fit(module(), steps=4, run=runs / "a")
    with pytest.raises(InputTrouble, match=r"weights: tensor '0.weight' is \[8, 3\], model expects \[9, 3\]; wrong model"):
        gradlearn.fit(
            nn.Sequential(nn.Linear(3, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.Dropout(0.3), nn.Linear(9, 2)),
            data(),
            resume=runs / "a",
        )


def test_a_run_folder_is_made_once(runs: Path):
    fit(module(), steps=3, run=runs / "a")
    with pytest.raises(InputTrouble, match=r"a: exists; choose another"):
        fit(module(), steps=3, run=runs / "a")
    with pytest.raises(InputTrouble, match="run not found"):
        fit(module(), resume=runs / "b")
    with pytest.raises(InputTrouble, match="fit: give run for a new run or resume for an old one, not both"):
        fit(module(), run=runs / "c", resume=runs / "a")


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(runs: Path):
    whole = begun("plain", runs / "whole")
    begun("plain", runs / "hurt", lambda d: setattr(d, "interrupted", d.t == 9), save=4)  # saved after 4, 8 and 9 steps
    newest = max((runs / "hurt" / "checkpoints").iterdir())
    target = newest / "model.safetensors"
    blob = bytearray(target.read_bytes())
    blob[-1] ^= 1
    target.write_bytes(blob)
    d, lines = made("plain"), []
    record = bring_back(d, runs / "hurt", lines.append)
    assert d.t == 8
    assert any("damaged" in line for line in lines)
    list(train(d, record))
    assert told(d)["theta"] == told(whole)["theta"]
    for path in (runs / "hurt" / "checkpoints").glob("step-*"):
        shutil.rmtree(path)
    (runs / "hurt" / "checkpoints" / "step-000000000003").mkdir()
    with pytest.raises(CheckpointTrouble, match="no valid checkpoint"):
        bring_back(made("plain"), runs / "hurt")


def test_a_summary_is_one_document(runs: Path):
    fit(module(), steps=4, run=runs / "a")
    summary = json.loads((runs / "a" / "summary.json").read_text())
    assert {"run", "task", "score", "steps", "seconds", "stop", "findings", "story"} <= summary.keys()
    assert summary["steps"] == 4
