"""Whether a run gets a program: by a forecast that looks at no clock, or because the user says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradlearn
from gradlearn.errors import InputTrouble
from gradlearn.program import choice
from gradlearn.program.compiled import Program
from gradlearn.program.listening import Sound
from gradlearn.record.settings import read


def data(n: int = 400) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 4, generator=g), torch.randint(2, (n,), generator=g)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


class Reader(nn.Module):
    """Reads a number out of a tensor, which a program would have frozen in."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if x.sum().item() > -1e9 else x


def fit(model: nn.Module, **settings: Any) -> gradlearn.Run:
    return gradlearn.fit(model, data(), **({"steps": 20, "batch": 16, "update": "adamw"} | settings))


def chosen(run: gradlearn.Run, name: str = "compile") -> Any:
    return run.settings["choice"].get(name, {}).get("value")


def test_short_runs_are_not_compiled_and_long_ones_are():
    short, long = fit(net()), fit(net(), steps=6000)
    assert (chosen(short), chosen(long)) == ("off", "on")
    assert "too few" in short.settings["choice"]["compile"]["why"]
    assert "loops" in long.settings["choice"]["compile"]["why"]


def test_the_same_run_is_decided_the_same_way_every_time(monkeypatch: pytest.MonkeyPatch):
    decided = set()
    kept = choice.forecast
    for _ in range(3):
        monkeypatch.setattr(choice, "forecast", lambda *heard: decided.add((heard, *kept(*heard))) or kept(*heard))
        fit(net(), steps=400)
    assert len(decided) == 1


@pytest.mark.parametrize("word", ["on", True])
def test_on_compiles_whatever_the_forecast_says(word: Any):
    run = fit(net(), compile=word)
    assert chosen(run) == word
    assert chosen(run, "compiled") is None


@pytest.mark.parametrize("word", ["off", False])
def test_off_never_compiles(word: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Program, "__init__", lambda *_: pytest.fail("made a program"))
    assert chosen(fit(net(), steps=6000, compile=word)) == word


def test_what_cannot_be_compiled_runs_eagerly_and_says_why_once():
    with pytest.warns(RuntimeWarning, match=r"--compile on: the model reads a number out of a tensor") as said:
        run = fit(Reader(), compile="on")
    assert len(said) == 1
    assert chosen(run, "compiled") is False
    assert run.history["loss"] == fit(Reader(), compile="off").history["loss"]


def test_auto_is_silent_about_what_cannot_be_compiled_and_notes_it():
    run = fit(Reader(), steps=3000)
    assert chosen(run) == "off"
    assert "reads a number" in run.settings["choice"]["compile"]["why"]


def test_whatever_goes_wrong_in_the_making_the_run_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Program, "check", lambda *_: {}["no such thing"])
    run = fit(net(), steps=6000)
    assert chosen(run) == "off"
    assert "KeyError" in run.settings["choice"]["compile"]["why"]


def test_an_unknown_word_gets_the_nearest_known_one():
    with pytest.raises(InputTrouble, match=r"--compile onn: not known; did you mean 'on'\?"):
        fit(net(), compile="onn")


def test_the_decision_is_in_run_toml_and_holds_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = fit(net(), compile="on", run=tmp_path / "whole")
    assert read(tmp_path / "whole")["choice"]["compile"] == {"value": "on", "by": "user", "why": "as given"}

    def leave(descent: Any, step: Any) -> None:
        descent.interrupted = step.t == 7

    fit(net(), compile="on", run=tmp_path / "broken", show=leave)
    made: list[Any] = []
    kept = Program.__init__
    monkeypatch.setattr(Program, "__init__", lambda self, d: (made.append(d), kept(self, d))[1])
    resumed = gradlearn.fit(net(), data(), resume=tmp_path / "broken")
    assert len(made) == 1
    assert resumed.history["loss"] == whole.history["loss"]
    assert all(torch.equal(p, q) for p, q in zip(resumed.model.parameters(), whole.model.parameters(), strict=True))


def test_a_compiled_run_that_cannot_be_compiled_here_is_not_resumed_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def leave(descent: Any, step: Any) -> None:
        descent.interrupted = step.t == 7

    fit(net(), compile="on", run=tmp_path / "run", show=leave)
    monkeypatch.setattr("gradlearn.program.machine._llvm", _missing)
    with pytest.raises(InputTrouble, match=r"the run was compiled, and here the model needs llvmlite"):
        gradlearn.fit(net(), data(), resume=tmp_path / "run")


def _missing() -> Any:
    from gradlearn.program.unfit import Unfit

    raise Unfit("needs llvmlite to be compiled; pip install 'gradlearn[fast]'")


def test_the_forecast_favours_small_operations_and_not_large_products():
    small = Sound(operations=100, bytes=1e5, parts=100, flop=1e6, calls=0)
    large = Sound(operations=100, bytes=1e7, parts=100, flop=1e10, calls=0)
    assert choice.forecast(small)[1] < 0.3 * choice.forecast(small)[0]
    assert choice.forecast(large)[1] > 0.9 * choice.forecast(large)[0]


class Enough(Exception):
    """What was to be seen has been seen."""


def test_checks_that_cost_look_less_often_in_long_compiled_runs_and_as_often_as_was_asked():
    def every(steps: int, **more: Any) -> dict[str, int]:
        found: dict[str, int] = {}

        def show(d: Any, step: Any) -> None:
            found.update({type(c).__name__: c.every for c in d.checks})
            found["question"] = next(c.evaluations for c in d.checks if hasattr(c, "evaluations"))
            raise Enough

        with pytest.raises(Enough):
            fit(net(), steps=steps, show=show, watch=["finite", "flat", "units", "unstable"], **more)
        return found

    eager, short, long = every(3000, compile="off"), every(900, compile="on"), every(3000, compile="on")
    assert eager["Units"] == 140
    assert eager["Flat"] == 50
    assert short == eager | {"Flat": 60, "question": 5 * eager["question"]}  # 20, 40, ...: looks that end a call do it together
    assert long == short | {"Flat": 50, "Units": 450}  # 3 * 140, and with the others
    assert every(9000, compile="on")["Units"] == 5 * eager["Units"]
    assert every(3000, compile="on", units__every=7)["Units"] == 7
