from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from gradlearn.run import Clock, Pace
from gradlearn.symbols import Controls


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
    d = SimpleNamespace(t=730, controls=Controls(end=1000))
    clock = Clock(deadline=145.0 + 20.0, span=100.0, pace=Pace(0.05, 0.1, until))
    assert clock(d) is None
    now[0], d.t = 20.0, 750  # a quarter of a second a step, 145 s left: time for 580 more
    clock.looked, clock.at = 10.0, 710
    found = clock(d)
    assert found is not None
    assert found.after == end
