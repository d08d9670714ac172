"""One descent of a smooth function: L-BFGS with strong Wolfe steps and a long memory.

    x <- x - a H g,     H y = s for the steps s and the changes of gradient y that are remembered

Liu, Nocedal, "On the limited memory BFGS method for large scale optimization", Math. Programming 45, 1989. The last 30 pairs,
scaled anew in each step: fewer evaluations than BFGS with its whole matrix on the More-Garbow-Hillstrom set. Bounds: coordinates
held at a bound rest, steps are cut or bent along the bounds (Bertsekas, SIAM J. Control Optim. 20, 1982). For smooth,
deterministic functions; noise wants `search/stochastic.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradlearn.minimum.function import Function
from gradlearn.minimum.linesearch import ENOUGH, ROUNDING, Point, wolfe

Vector = np.ndarray[Any, np.dtype[np.float64]]

PAIRS = 30
FAR = 1e15  # a point beyond has left every box


class Local(NamedTuple):
    """Where a descent ended."""

    x: Tensor  # (n,)
    f: float
    g: Tensor  # (n,)
    why: str  # "gradient", "rounding", "steps", "stuck" or "unbounded"
    steps: int


class Memory:
    """H from the last steps s and changes of gradient y, as products of matrices (Byrd, Nocedal, Schnabel, Math. Prog. 63, 1994).

    H = c + S' v - c Y' u with R u = S g, R' v = (D + c Y Y') u - c Y g; R the upper triangle of S Y', D its diagonal, c = s'y / y'y
    """

    def __init__(self, n: int) -> None:
        self.k = 0
        self._s, self._y = np.zeros((PAIRS, n)), np.zeros((PAIRS, n))
        self._sy, self._yy = np.zeros((PAIRS, PAIRS)), np.zeros((PAIRS, PAIRS))

    @property
    def fresh(self) -> bool:
        """Whether nothing is remembered."""
        return self.k == 0

    def learn(self, s: Vector, y: Vector) -> None:
        """One more pair; the oldest goes."""
        if self.k == PAIRS:
            self._s[:-1], self._y[:-1] = self._s[1:].copy(), self._y[1:].copy()
            self._sy[:-1, :-1], self._yy[:-1, :-1] = self._sy[1:, 1:].copy(), self._yy[1:, 1:].copy()
            self.k -= 1
        k = self.k = self.k + 1
        self._s[k - 1], self._y[k - 1] = s, y
        self._sy[:k, k - 1] = self._s[:k] @ y  # only the upper triangle
        self._sy[k - 1, : k - 1] = 0.0
        self._yy[k - 1, :k] = self._yy[:k, k - 1] = self._y[:k] @ y

    def times(self, g: Vector) -> Vector:
        """H g."""
        k = self.k
        if k == 0:
            return g
        s, y, sy = self._s[:k], self._y[:k], self._sy[:k, :k]
        c = sy[-1, -1] / self._yy[k - 1, k - 1]
        u = np.linalg.solve(sy, s @ g)
        right = sy.diagonal() * u + c * (self._yy[:k, :k] @ u - y @ g)
        v = np.linalg.solve(sy.T[::-1, ::-1], right[::-1])[::-1]  # upper triangular too: no rows are exchanged, no digits lost
        return c * (g - u @ y) + v @ s

    def forget(self) -> None:
        """H = 1 again."""
        self.k = 0


def descend(
    function: Function,
    start: Tensor,
    tol: float = 1e-9,
    steps: int = 100_000,
    known: tuple[float, Tensor] | None = None,
    halt: Callable[[], bool] | None = None,
) -> Local:
    """Down from the start to where no free entry of the gradient exceeds tol * max(1, |f|), or values differ by rounding only.

    Args:
        function: counted; Spent passes through.
        start: (n,) float64, within the bounds.
        tol: of the gradient.
        steps: at most so many.
        known: value and gradient at the start, where they have been evaluated.
        halt: asked before each step; true ends it.
    """
    line = Line(function)
    f, slope = known or function.value_and_gradient(start)
    x, g = _array(start), _array(slope)
    memory = Memory(function.n)
    idle, why, taken = 0, "steps", 0
    while taken < steps and not (halt is not None and halt()):
        free = line.free(x, g)
        size = float(np.abs(g * free).max())
        if f == -math.inf or float(np.abs(x).max()) > FAR:
            why = "unbounded"
            break
        if size <= tol * max(1.0, abs(f)):
            why = "gradient"
            break
        p = line.step(x, f, g, free, memory)
        if p is None and not memory.fresh:
            memory.forget()
            p = line.step(x, f, g, free, memory)
        if p is None:
            why = "stuck"
            break
        s, y = p.x - x, p.g - g
        sy = float(s @ y)
        if sy > 1e-12 * length(s) * length(y):
            memory.learn(s, y)
        idle = idle + 1 if f - p.f <= ROUNDING * abs(f) else 0
        x, f, g = p.x, p.f, p.g
        taken += 1
        if idle >= 3:
            why = "rounding"
            break
    return Local(torch.from_numpy(x), f, torch.from_numpy(g), why, taken)


def length(x: Vector) -> float:
    """Euclidean."""
    return math.sqrt(float(x @ x))


def _array(x: Tensor) -> Vector:
    return x.detach().numpy().copy()


class Line:
    """Steps of one function: vectors are numpy's here, whose operations on a few numbers take a third of the time of torch's."""

    def __init__(self, function: Function) -> None:
        self.function, self.bounded = function, function.bounded
        self.low, self.high = function.low.numpy(), function.high.numpy()

    def at(self, place: Vector) -> tuple[float, Vector]:
        """Value and gradient."""
        value, gradient = self.function.value_and_gradient(torch.from_numpy(place))
        return value, gradient.numpy()

    def within(self, place: Vector) -> Vector:
        """The nearest point within the bounds."""
        return np.minimum(np.maximum(place, self.low), self.high) if self.bounded else place

    def free(self, x: Vector, g: Vector) -> Vector:
        """1 where x may move against g, 0 where a bound is in the way: (n,)."""
        if not self.bounded:
            return np.ones_like(x)
        held = ((x <= self.low) & (g > 0.0)) | ((x >= self.high) & (g < 0.0))
        return np.where(held, 0.0, 1.0)

    def step(self, x: Vector, f: float, g: Vector, free: Vector, memory: Memory) -> Point | None:
        """One line search along -H g, over the coordinates that are free."""
        g = g * free
        d = -memory.times(g) * free
        slope = float(d @ g)
        if not slope < -1e-14 * length(d) * length(g):
            memory.forget()
            d, slope = -g, -float(g @ g)
        first = min(1.0, 1.0 / length(g)) if memory.fresh else 1.0
        zero, most = Point(0.0, f, slope, x, g), math.inf
        if self.bounded:
            with np.errstate(divide="ignore", invalid="ignore"):
                room = np.where(d > 0.0, (self.high - x) / d, np.where(d < 0.0, (self.low - x) / d, math.inf))
            most = float(room.min())
            if most < first:
                return self._bent(zero, g, d, first)

        def at(a: float) -> Point:
            place = self.within(x + a * d)
            value, gradient = self.at(place)
            return Point(a, value, float(gradient @ d), place, gradient)

        return wolfe(at, zero, first, most)

    def _bent(self, zero: Point, g: Vector, d: Vector, a: float) -> Point | None:
        """A step that is bent along the bounds it meets: halved until the value falls enough."""
        for _ in range(40):
            place = self.within(zero.x + a * d)
            value, gradient = self.at(place)
            fall = float(g @ (place - zero.x))
            if math.isfinite(value) and value <= zero.f + ENOUGH * min(fall, 0.0) and value < zero.f:
                return Point(a, value, float(gradient @ d), place, gradient)
            a *= 0.5 if math.isfinite(value) else 0.1
        return None
