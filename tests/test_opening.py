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
