"""A step meets both conditions of Wolfe, or says that there is none."""

from __future__ import annotations

import math

import pytest
import torch

from gradlearn.minimum.linesearch import ENOUGH, FLAT, Point, wolfe

NONE = torch.zeros(0)


def line(f, slope):
    count = [0]

    def at(a):
        count[0] += 1
        return Point(a, f(a), slope(a), NONE, NONE)

    return at, count


@pytest.mark.parametrize("first", [1e-6, 1e-2, 1.0, 50.0, 1e4])
@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (lambda a: (a - 3) ** 2, lambda a: 2 * (a - 3)),
        (lambda a: -a / (a * a + 2), lambda a: (a * a - 2) / (a * a + 2) ** 2),  # More, Thuente 1994, (5.1) with beta = 2
        (lambda a: (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4, lambda a: 5 * (a + 0.004) ** 4 - 8 * (a + 0.004) ** 3),  # their (5.2)
        (lambda a: math.cosh(min(a - 2, 300)), lambda a: math.sinh(min(a - 2, 300))),
    ],
)
def test_both_conditions_hold(f, slope, first):
    at, count = line(f, slope)
    zero = Point(0.0, f(0.0), slope(0.0), NONE, NONE)
    p = wolfe(at, zero, first)
    assert p is not None
    assert p.f <= zero.f + ENOUGH * p.a * zero.slope + 1e-14
    assert abs(p.slope) <= FLAT * abs(zero.slope)
    assert count[0] <= 25


def test_a_value_that_is_not_finite_is_a_wall():
    at, _ = line(lambda a: -math.log(1 - a) - 2 * a if a < 1 else math.inf, lambda a: 1 / (1 - a) - 2 if a < 1 else math.nan)
    p = wolfe(at, Point(0.0, 0.0, -1.0, NONE, NONE), 10.0)
    assert p is not None
    assert 0 < p.a < 1


def test_the_longest_step_is_taken_where_it_still_falls():
    at, _ = line(lambda a: -a, lambda a: -1.0)
    p = wolfe(at, Point(0.0, 0.0, -1.0, NONE, NONE), 1.0, most=7.0)
    assert p is not None
    assert p.a == 7.0


def test_no_step_where_nothing_is_lower():
    at, _ = line(lambda a: a, lambda a: 1.0)
    assert wolfe(at, Point(0.0, 0.0, -1.0, NONE, NONE), 1.0) is None
