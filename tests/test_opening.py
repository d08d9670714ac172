"""Opening a run of a given time: what is measured, and what is not worth measuring."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gradlearn import opening
from gradlearn.plan import Plan
from gradlearn.run import Pace


@pytest.mark.parametrize(
    ("work", "tried", "chosen"),
    [(1e8, [1, 1], 1), (9.9e8, [1, 1], 1), (1e9, [1, 1, 2, 2], 1), (9e10, [1, 1, 2, 2], 1), (1e11, [2, 2], 2), (1e13, [2, 2], 2)],
)
def test_threads_are_measured_between_steps_that_are_too_small_and_those_that_are_surely_large(
    monkeypatch: pytest.MonkeyPatch, work: float, tried: list[int], chosen: int
):
    looked: list[int] = []

    def pace(d: object, seconds: float) -> Pace:
        looked.append(torch.get_num_threads())
        took = 1e-3 * torch.get_num_threads()  # two threads are slower here
        return Pace(took, took, 0.0)

    before = torch.get_num_threads()
    monkeypatch.setattr(opening, "_cores", lambda: 2)
    monkeypatch.setattr(opening, "_scratch", lambda task, plan: plan)
    monkeypatch.setattr(opening, "build", lambda task, plan: None)
    monkeypatch.setattr(opening, "choose_program", lambda d, plan, steps, left: None)
    monkeypatch.setattr(opening, "pace_of", pace)
    try:
        plan = Plan()
        opening._pace(SimpleNamespace(work=lambda: work), plan, 100.0)  # pyright: ignore[reportArgumentType]
    finally:
        torch.set_num_threads(before)
    assert looked == tried
    assert plan["threads"] == chosen


def test_twenty_epochs_are_twenty_though_steps_are_whole(monkeypatch: pytest.MonkeyPatch):
    """7,031 steps of 128 are 19.9993 epochs of 45,000 examples."""
    told: list[float] = []
    task = SimpleNamespace(
        n=45_000, work=lambda: 1e8, choose_size=lambda: None, suggested_epochs=lambda n: 8, choose_augmentation=told.append
    )
    monkeypatch.setattr(opening, "built", lambda task, plan: None)
    monkeypatch.setattr(opening, "choose_program", lambda d, plan, steps: None)
    plan = Plan({"epochs": 20, "batch": 128})
    opening.planned(task, plan, 0.0, lambda line: None)  # pyright: ignore[reportArgumentType]
    assert plan["steps"] == 7031
    assert told == [20.0]


def test_each_narrower_network_is_measured_itself_and_the_last_ones_pace_holds(monkeypatch: pytest.MonkeyPatch):
    plan, epochs = Plan({"batch": 100, "looks": 0}), list[float]()
    seconds = {32: 0.1, 96: 0.8, 80: 0.5, 64: 0.4}  # of a step, by width

    def reduced(left: float, pace: float) -> bool:
        assert pace == pytest.approx(seconds[plan["width"]] / 100)
        if plan["width"] == 64:
            return False
        plan.replace("width", {96: 80, 80: 64}[plan["width"]], "too slow")
        return True

    def pace(task: object, plan: Plan, left: float) -> Pace:
        took = seconds[plan.get("width", 32)]
        return Pace(took, took, 0.0)

    task = SimpleNamespace(
        n=1000,
        usual={"width": 32},
        choose_size_in=lambda left, pace: plan.choose("width", 96, "as expected", "measured"),
        reduce_size_in=reduced,
        choose_augmentation=epochs.append,
        held=lambda split: None,
        seconds_after=lambda: 0.0,
    )
    for name, stub in {
        "_pace": pace,
        "_scratch": lambda task, plan: plan,
        "build": lambda *about, **held: SimpleNamespace(valid=None, test=None, sample=None),
        "measure_score": lambda d, data: 0.0,
        "_looks": lambda task, plan: None,
    }.items():
        monkeypatch.setattr(opening, name, stub)
    found, _, _ = opening._measure(task, plan, 400.0)  # pyright: ignore[reportArgumentType]
    assert plan["width"] == 64
    assert found.mean == pytest.approx(0.4)
    assert epochs == pytest.approx([400 / 0.4 * 100 / 1000])
