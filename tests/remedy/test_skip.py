"""Skip: two in a row, and two again after a rewind; not for ever."""

from __future__ import annotations

import pytest

from gradlearn.loop import Cadence, train
from gradlearn.remedy.skip import Skip
from gradlearn.symbols import Action, Controls, Finding, History, Step
from toys import Line, Poisoned, descent


def blocked(t: int, row: int) -> Finding:
    return Finding(t, "non-finite", "alarm", "what", "why", "do", {"in_a_row": row, "examples": [3]})


@pytest.mark.parametrize(
    ("t", "row", "skips"), [(50, 1, True), (51, 2, True), (52, 3, False), (53, 4, True), (54, 5, True), (55, 6, False)]
)
def test_the_row_begins_anew_after_a_rewind(t: int, row: int, skips: bool):
    history = History()
    for k in range(t + 1):
        history.add(Step(k, 1.0, 1.0, 0.1, 8, 0.0, k < 50, 0.0))
    if t > 52:
        history.actions.append(Action(52, "rewind", "why", "t", 53.0, 50.0))
    assert (Skip()(blocked(t, row), history, Controls()) is not None) == skips


def test_in_a_run_that_has_never_seen_a_number_it_does_not():
    history = History()
    for k in range(5):
        history.add(Step(k, float("nan"), 1.0, 0.1, 8, 0.0, False, 0.0))
    history.actions.append(Action(2, "rewind", "why", "t", 3.0, 0.0))
    assert Skip()(blocked(4, 5), history, Controls()) is None


def test_ten_steps_of_data_that_are_no_numbers_cost_ten_steps_and_no_rate():
    d = descent(Line(), 120, cadence=Cadence(snapshot=10))
    d.data = Poisoned(d.data, 0, tuple(range(60, 70)))
    list(train(d))
    assert d.controls.stop == -1
    assert d.history.applied.count(False) == 10
    assert d.history.actions[-1].name in ("rewind", "turn", "skip", "recover")
    assert d.controls.rate >= 0.5
