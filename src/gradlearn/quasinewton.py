"""One descent of a smooth function: BFGS with strong Wolfe steps; its memory is all steps in small problems, the last 20 in large ones.

    x <- x - a H g,     H y = s for the steps s and the changes of gradient y that are remembered

Liu, Nocedal, "On the limited memory BFGS method for large scale optimization", Math. Programming 45, 1989. Up to 200 numbers H is kept as
a matrix (BFGS, no step forgotten), beyond as the last 20 pairs. Bounds: coordinates held at a bound rest, steps are cut or bent along
the bounds (Bertsekas, SIAM J. Control Optim. 20, 1982). For smooth, deterministic functions; noise wants `search/stochastic.py`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gradlearn.function import Function
from gradlearn.linesearch import ENOUGH, ROUNDING, Point, wolfe

DENSE = 200  # numbers up to which H is a matrix
PAIRS = 20
FAR = 1e15  # a point beyond has left every box


class Local(NamedTuple):
    """Where a descent ended."""

    x: Tensor  # (n,)
    f: float
    g: Tensor  # (n,)
    why: str  # "gradient", "rounding", "steps", "stuck" or "unbounded"
    steps: int


class Matrix:
    """H in full: every step is remembered."""

    def __init__(self, n: int) -> None:
        self.h, self.fresh = torch.eye(n, dtype=torch.float64), True

    def learn(self, s: Tensor, y: Tensor, sy: float) -> None:
        """H y = s from now on."""
        if self.fresh:
            self.h *= sy / float(y @ y)
            self.fresh = False
        hy = self.h @ y
        self.h.addr_(s, s, alpha=(1.0 + float(y @ hy) / sy) / sy)
        self.h.addr_(hy, s, alpha=-1.0 / sy).addr_(s, hy, alpha=-1.0 / sy)

    def times(self, g: Tensor) -> Tensor:
        """H g."""
        return self.h @ g

    def forget(self) -> None:
        """H = 1 again."""
        self.h, self.fresh = torch.eye(self.h.shape[0], dtype=torch.float64), True


class Pairs:
    """H from the last steps: two loops over them."""

    def __init__(self) -> None:
        self.kept: list[tuple[Tensor, Tensor, float]] = []

    @property
    def fresh(self) -> bool:
        """Whether nothing is remembered."""
        return not self.kept

    def learn(self, s: Tensor, y: Tensor, sy: float) -> None:
        """One more pair; the oldest goes."""
        self.kept = [*self.kept[1 - PAIRS :], (s, y, sy)]

    def times(self, g: Tensor) -> Tensor:
        """H g."""
        q, shares = g.clone(), []
        for s, y, sy in reversed(self.kept):
            shares.append(float(s @ q) / sy)
            q.sub_(y, alpha=shares[-1])
        if self.kept:
            _, y, sy = self.kept[-1]
            q *= sy / float(y @ y)
        for (s, y, sy), share in zip(self.kept, reversed(shares), strict=True):
            q.add_(s, alpha=share - float(y @ q) / sy)
        return q

    def forget(self) -> None:
        """H = 1 again."""
        self.kept = []


def descend(function: Function, x: Tensor, tol: float = 1e-9, steps: int = 100_000) -> Local:
    """Down from x to where the largest entry of the (projected) gradient is at most tol * max(1, |f|), or values differ by rounding only.

    Args:
        function: counted; Spent passes through.
        x: (n,) float64, within the bounds.
        tol: of the gradient.
        steps: at most so many.
    """
    f, g = function.value_and_gradient(x)
    memory = Matrix(function.n) if function.n <= DENSE else Pairs()
    idle, why, step = 0, "steps", 0
    for step in range(steps):
        free = free_of(function, x, g)
        size = float((g * free).abs().max())
        if f == -math.inf or float(x.abs().max()) > FAR:
            why = "unbounded"
            break
        if size <= tol * max(1.0, abs(f)):
            why = "gradient"
            break
        p = _step(function, x, f, g, free, memory)
        if p is None and not memory.fresh:
            memory.forget()
            p = _step(function, x, f, g, free, memory)
        if p is None:
            why = "stuck"
            break
        s, y = p.x - x, p.g - g
        sy = float(s @ y)
        if sy > 1e-12 * float(s.norm()) * float(y.norm()):
            memory.learn(s, y, sy)
        idle = idle + 1 if f - p.f <= ROUNDING * abs(f) else 0
        x, f, g = p.x, p.f, p.g
        if idle >= 3:
            why = "rounding"
            break
    return Local(x, f, g, why, step)


def free_of(function: Function, x: Tensor, g: Tensor) -> Tensor:
    """1 where x may move against g, 0 where a bound is in the way: (n,)."""
    if not function.bounded:
        return torch.ones_like(x)
    return 1.0 - (((x <= function.low) & (g > 0.0)) | ((x >= function.high) & (g < 0.0))).double()


def _step(function: Function, x: Tensor, f: float, g: Tensor, free: Tensor, memory: Matrix | Pairs) -> Point | None:
    """One line search along -H g, over the coordinates that are free."""
    g = g * free
    d = -memory.times(g) * free
    slope = float(d @ g)
    if not slope < -1e-14 * float(d.norm()) * float(g.norm()):
        memory.forget()
        d, slope = -g, -float(g @ g)
    first = min(1.0, 1.0 / float(g.norm())) if memory.fresh else 1.0
    zero = Point(0.0, f, slope, x, g)
    if function.bounded:
        room = torch.where(d > 0.0, (function.high - x) / d, torch.where(d < 0.0, (function.low - x) / d, math.inf))
        most = float(room.min())
        if most < first:
            return _bent(function, zero, g, d, first)
    else:
        most = math.inf

    def at(a: float) -> Point:
        place = x + a * d
        if function.bounded:
            place = torch.minimum(torch.maximum(place, function.low), function.high)
        value, gradient = function.value_and_gradient(place)
        return Point(a, value, float(gradient @ d), place, gradient)

    return wolfe(at, zero, first, most)


def _bent(function: Function, zero: Point, g: Tensor, d: Tensor, a: float) -> Point | None:
    """A step that is bent along the bounds it meets: halved until the value falls enough."""
    for _ in range(40):
        place = torch.minimum(torch.maximum(zero.x + a * d, function.low), function.high)
        value, gradient = function.value_and_gradient(place)
        fall = float(g @ (place - zero.x))
        if math.isfinite(value) and value <= zero.f + ENOUGH * min(fall, 0.0) and value < zero.f:
            return Point(a, value, float(gradient @ d), place, gradient)
        a *= 0.5 if math.isfinite(value) else 0.1
    return None
