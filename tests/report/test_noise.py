from __future__ import annotations

import random
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlearn.report import noise

COUNTS = st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(COUNTS)
def test_wilson_ends_are_the_shares_that_the_score_test_just_rejects(counts: tuple[int, int]) -> None:
    """By definition: |p - x| = z sqrt(x (1 - x) / n) at both ends x."""
    right, n = counts
    p = right / n
    for x in noise.wilson(p, n):
        assert 0.0 <= x <= 1.0
        assert abs(p - x) == pytest.approx(noise.Z95 * noise.error(x, n), abs=1e-7)


def test_wilson_covers_the_truth_95_times_in_100() -> None:
    draw, hits = random.Random(0), 0
    for _ in range(4000):
        low, high = noise.wilson(sum(draw.random() < 0.9 for _ in range(100)) / 100, 100)
        hits += low <= 0.9 <= high
    assert 0.93 < hits / 4000 < 0.97


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(COUNTS, COUNTS)
def test_difference_is_antisymmetric(a: tuple[int, int], b: tuple[int, int]) -> None:
    one = noise.difference(a[0] / a[1], a[1], b[0] / b[1], b[1])
    two = noise.difference(b[0] / b[1], b[1], a[0] / a[1], a[1])
    assert one.gap == -two.gap
    assert one.p == pytest.approx(two.p)
    assert 0.0 <= one.p <= 1.0


def test_difference_against_the_normal_distribution_by_hand() -> None:
    """355 and 341 of 360: pooled 696 / 720, worked out step by step."""
    got = noise.difference(355 / 360, 360, 341 / 360, 360)
    pooled = 696 / 720
    z = (14 / 360) / (pooled * (1 - pooled) * 2 / 360) ** 0.5
    assert got.z == pytest.approx(z)
    assert got.p == pytest.approx(2 * (1 - NormalDist().cdf(z)))
    assert not got.rough


def test_without_a_mistake_there_is_no_evidence() -> None:
    assert noise.difference(1.0, 50, 1.0, 70) == (0.0, 0.0, 0.0, 1.0, True)


def test_equal_runs_are_called_different_5_times_in_100() -> None:
    draw, calls = random.Random(1), 0
    for _ in range(3000):
        a, b = (sum(draw.random() < 0.8 for _ in range(120)) / 120 for _ in range(2))
        calls += noise.difference(a, 120, b, 120).p < 0.05
    assert 0.035 < calls / 3000 < 0.065
