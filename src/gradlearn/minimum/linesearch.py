"""How far along a direction: a step that lowers the value enough and flattens the slope enough (strong Wolfe).

    f(a) <= f(0) + c1 a f'(0)   and   |f'(a)| <= c2 |f'(0)|

Nocedal, Wright, "Numerical Optimization", 2nd edition, algorithms 3.5 and 3.6, with cubic interpolation. Near a minimum values
differ by rounding only; a value within rounding of f(0) counts as no higher (Hager, Zhang, SIAM J. Optim. 16, 2005), so that
slopes decide. Use it for deterministic functions; noise breaks both conditions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

ENOUGH, FLAT = 1e-4, 0.9  # c1, c2
ROUNDING = 4e-15  # of a value, relative to its size


class Point(NamedTuple):
    """A place on the line: step, value, slope, and the point with its gradient."""

    a: float
    f: float
    slope: float
    x: Any  # (n,)
    g: Any


def wolfe(at: Callable[[float], Point], zero: Point, a: float, most: float = math.inf, tries: int = 30) -> Point | None:
    """A point that meets both conditions; else the lowest one seen below f(0); else None.

    Args:
        at: evaluates f at a step.
        zero: a = 0, with a slope below 0.
        a: the first step to try, above 0.
        most: the longest step allowed; there the second condition need not hold.
        tries: evaluations at most.
    """
    slack = ROUNDING * abs(zero.f)
    low, high = zero, None  # low: the best so far; high: the other end of a bracket
    a = min(a, most)
    for _ in range(tries):
        p = at(a)
        if not math.isfinite(p.f + p.slope):
            if p.f == -math.inf:
                return p
            high = p._replace(f=math.inf)
        elif p.f > zero.f + ENOUGH * a * zero.slope + slack or p.f > low.f + slack:
            high = p
        elif abs(p.slope) <= -FLAT * zero.slope or (a >= most and p.slope < 0.0):
            return p
        else:
            if p.slope * ((math.inf if high is None else high.a) - low.a) >= 0.0:
                high = low
            previous, low = low, p
            if high is None:
                a = min(_beyond(previous, p), most)
                continue
        a = _between(low, high)
        if abs(a - low.a) <= 1e-14 * max(abs(a), abs(low.a)):
            break
    return low if low.a > 0.0 and low.f < zero.f else None


def _beyond(before: Point, p: Point) -> float:
    """Further out, where the slope would vanish if it went on as it has; two to twenty times as far."""
    gain = p.slope - before.slope
    a = p.a - p.slope * (p.a - before.a) / gain if gain > 0.0 else math.inf
    return min(max(a, 2.0 * p.a), 20.0 * p.a)


def _between(low: Point, high: Point) -> float:
    """The minimum of the cubic through both ends, a tenth away from either at least; nearer to low where high is not finite."""
    width = high.a - low.a
    if not math.isfinite(high.f + high.slope):
        return low.a + 0.1 * width
    d = low.slope + high.slope - 3.0 * (low.f - high.f) / (low.a - high.a)
    inside = d * d - low.slope * high.slope
    share = 0.5
    if inside >= 0.0:
        root = math.copysign(math.sqrt(inside), width)
        bottom = high.slope - low.slope + 2.0 * root
        if bottom != 0.0:
            share = 1.0 - (high.slope + root - d) / bottom
    return low.a + min(max(share, 0.1), 0.9) * width
