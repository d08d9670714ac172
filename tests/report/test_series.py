from __future__ import annotations

import time
from itertools import pairwise
from statistics import median

from hypothesis import given, settings
from hypothesis import strategies as st

from gradlearn.report import series

NUMBERS = st.floats(-1e9, 1e9)


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.lists(NUMBERS, max_size=300), st.integers(4, 60))
def test_thinning_keeps_ends_and_extremes_in_order_within_the_limit(y: list[float], limit: int) -> None:
    x = [float(i) for i in range(len(y))]
    a, b = series.thin(x, y, limit)
    assert len(a) == len(b) <= max(limit, 0)
    assert all(p < q for p, q in pairwise(a))
    assert set(zip(a, b, strict=True)) <= set(zip(x, y, strict=True))
    if y:
        assert (a[0], a[-1], min(b), max(b)) == (x[0], x[-1], min(y), max(y))


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.lists(st.tuples(NUMBERS | st.none(), NUMBERS | st.none()), max_size=60))
def test_points_are_there_and_go_forward(pairs: list[tuple[float | None, float | None]]) -> None:
    x, y = series.points([a for a, _ in pairs], [b for _, b in pairs])
    assert all(p < q for p, q in pairwise(x))
    assert set(zip(x, y, strict=True)) <= {(a, b) for a, b in pairs if a is not None and b is not None}


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.lists(NUMBERS, min_size=1, max_size=400))
def test_the_running_median_stays_within_the_data(y: list[float]) -> None:
    x = [float(i) for i in range(len(y))]
    a, b = series.smooth(x, y, share=0.1, most=50)
    assert len(a) == len(b) == min(len(y), 50)
    assert min(y) <= min(b) <= max(b) <= max(y)
    assert b[0] == y[0]


def test_the_running_median_against_the_definition() -> None:
    y = [float((i * 7919) % 101) for i in range(200)]
    _, b = series.smooth([float(i) for i in range(200)], y, share=0.1)
    assert b[100] == median(y[90:111])


def test_one_spike_does_not_move_the_running_median() -> None:
    y = [1.0] * 500
    y[250] = 1e6
    assert set(series.smooth([float(i) for i in range(500)], y)[1]) == {1.0}


def test_a_spike_in_100_000_steps_is_drawn_and_the_curve_stays_small() -> None:
    n = 100_000
    y = [1.0 + (i % 7) for i in range(n)]
    y[61_803] = 99.0
    begin = time.process_time()
    s = series.curve("loss", [float(i) for i in range(n)], y)
    assert time.process_time() - begin < 1.0
    assert max(s.y) == 99.0
    assert s.x[s.y.index(99.0)] == 61_803
    assert len(s.x) <= series.LIMIT
