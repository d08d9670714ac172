from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gradlearn.report import scale

POSITIVE = st.floats(1e-9, 1e9)


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=9), st.booleans(), st.integers(3, 8))
def test_linear_room_holds_all_values_between_round_numbers(values: list[float], zero: bool, most: int) -> None:
    low, high = scale.room(values, False, zero, most)
    slack = 1e-5 * (high - low)
    assert low - slack <= min(values) <= max(values) <= high + slack
    assert low < high
    if zero:
        assert low <= 0.0 <= high
    marks = scale.ticks(low, high, most + 2)
    assert 2 <= len(marks) <= most + 3


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.lists(POSITIVE, min_size=1, max_size=9))
def test_log_room_holds_all_values_and_has_marks(values: list[float]) -> None:
    low, high = scale.room(values, True)
    assert 0.0 < low <= min(values) <= max(values) <= high
    marks = scale.log_ticks(low, high)
    assert len(marks) <= 7
    assert all(low * 0.999 <= m <= high * 1.001 for m in marks)


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 9))
def test_ticks_are_evenly_spaced_round_numbers_inside(low: float, width: float, most: int) -> None:
    assume(width > 1e-9 * abs(low))
    high = low + width
    marks = scale.ticks(low, high, most)
    step = scale.stride(high - low, most)
    assert len(marks) <= most + 1
    assert step / 10.0 ** math.floor(math.log10(step) + 1e-9) == pytest.approx(1) or any(
        step / 10.0 ** math.floor(math.log10(step) + 1e-9) == pytest.approx(k) for k in (2, 5)
    )
    assert all(b - a == pytest.approx(step, rel=1e-3) for a, b in pairwise(marks))


@pytest.mark.parametrize("log", [False, True])
def test_an_axis_maps_ends_to_ends_and_keeps_order(log: bool) -> None:
    axis = scale.Scale(0.01, 100.0, 200.0, 8.0, log)
    assert axis.place(0.01) == 200.0
    assert axis.place(100.0) == 8.0
    assert axis.place(1.0) == pytest.approx(104.0 if log else 198.09, abs=0.01)
    assert axis.place(1e9) == 8.0
    assert axis.place(-5.0) == 200.0


def test_labels_have_the_decimals_that_the_gap_needs() -> None:
    assert scale.labels([0.0, 0.002, 0.004], False, False) == ["0", "0.002", "0.004"]
    assert scale.labels([0.0, 0.5, 1.0], False, True) == ["0%", "50%", "100%"]
    assert scale.labels([0.985, 0.99, 0.995], False, True) == ["98.5%", "99.0%", "99.5%"]
    assert scale.labels([0.0, 5000.0, 10000.0], False, False) == ["0", "5,000", "10,000"]
    assert scale.labels([1e-7, 2e-7], False, False) == ["1e-7", "2e-7"]


def test_log_only_where_it_shows_more() -> None:
    assert scale.wants_log([0.01, 2.3])
    assert not scale.wants_log([1.0, 2.3])
    assert not scale.wants_log([0.0, 2.3])
    assert not scale.wants_log([])
