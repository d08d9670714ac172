from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from gradlearn.run import Clock, Pace
from gradlearn.symbols import Controls, History


def state(t: int, end: int, every: int = 0) -> SimpleNamespace:
    """What a clock looks at."""
    return SimpleNamespace(
        t=t, controls=Controls(end=end), history=History(), cadence=SimpleNamespace(score=every), valid=[1] if every else None
    )


def test_the_mean_pace_is_that_of_both_parts():
    assert Pace(1.0, 3.0, 0.75).mean == pytest.approx(1.5)
    assert Pace(2.0, 2.0, 0.0).mean == 2.0


@pytest.mark.parametrize("until", [0.3, 0.7, 0.9])
@pytest.mark.parametrize("quick", [0.25, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("t", [0, 50, 200])
def test_the_end_is_where_the_steps_of_both_parts_take_the_time_that_is_left(until: float, quick: float, t: int):
    late = 0.1  # seconds
    end = 1000
    early = quick * late
    left = early * max(until * end - t, 0.0) + late * (end - max(until * end, t))
    clock = Clock(0.0, 1.0, Pace(early, late, until))
    first = t < until * end
    assert t + clock.steps(left / (early if first else late), t, first) == pytest.approx(end)


def test_a_run_of_one_pace_is_as_long_as_its_pace_says():
    assert Clock(0.0, 1.0).steps(123.0, 7, False) == 123.0
    assert math.isclose(Clock(0.0, 1.0, Pace(1.0, 1.0, 0.5)).steps(100.0, 10, True), 100.0)


def test_with_little_time_left_the_rest_of_the_run_is_of_late_steps():
    clock = Clock(0.0, 1.0, Pace(0.05, 0.1, 0.7))
    assert clock.steps(1.0 / 0.05, 500, True) == pytest.approx(1.0 / 0.1)


@pytest.mark.parametrize(("until", "end"), [(0.0, 1330), (0.7, 1071)])
def test_a_part_of_a_run_that_is_over_does_not_come_back(until: float, end: int, monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr("gradlearn.run.time.monotonic", lambda: now[0])
    d = state(730, 1000)
    clock = Clock(deadline=145.0 + 20.0, span=100.0, pace=Pace(0.05, 0.1, until))
    assert clock(d) is None
    now[0], d.t = 20.0, 750  # a quarter of a second a step, 145 s left: time for 580 more
    clock.looked, clock.at = 10.0, 710
    found = clock(d)
    assert found is not None
    assert found.after == end


def test_scores_on_the_way_are_no_slower_steps_and_the_time_for_those_to_come_is_kept(monkeypatch: pytest.MonkeyPatch):
    """A tenth of a second a step, a score of 10 s every 100 steps: 1,000 steps and 9 scores take 190 s, whenever one looks."""
    now, d = [0.0], state(1, 1000, 100)
    monkeypatch.setattr("gradlearn.run.time.monotonic", lambda: now[0])
    clock, seen = Clock(deadline=189.9, span=190.0, look=2.0), []
    while d.t < 1000:
        seen.append(clock(d))
        if d.t % 100 == 0:
            d.history.scoring += 10.0
            now[0] += 10.0
        now[0] += 0.1
        d.t += 1
    moved = [action for action in seen if action is not None]
    assert not moved, moved
    assert now[0] == pytest.approx(189.9)


def test_the_first_score_says_how_long_the_others_will_take(monkeypatch: pytest.MonkeyPatch):
    now, d = [0.0], state(101, 1000, 100)
    monkeypatch.setattr("gradlearn.run.time.monotonic", lambda: now[0])
    clock = Clock(deadline=100.55, span=100.0)
    assert clock(d) is None
    now[0], d.t, d.history.scoring = 20.0, 201, 10.0  # 100 steps and a score; seven more to come: 80.55 s less 70
    found = clock(d)
    assert found is not None
    assert found.after == 201 + 105
