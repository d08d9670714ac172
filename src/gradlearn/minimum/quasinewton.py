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
from typing import NamedTuple

import torch
from torch import Tensor

from gradlearn.minimum.function import Function
from gradlearn.minimum.linesearch import ENOUGH, ROUNDING, Point, wolfe

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
        self.s, self.y = torch.zeros(0, n, dtype=torch.float64), torch.zeros(0, n, dtype=torch.float64)
        self.sy, self.yy = torch.zeros(0, 0, dtype=torch.float64), torch.zeros(0, 0, dtype=torch.float64)

    @property
    def fresh(self) -> bool:
        """Whether nothing is remembered."""
        return self.s.shape[0] == 0

    def learn(self, s: Tensor, y: Tensor) -> None:
        """One more pair; the oldest goes."""
        first = 1 if self.s.shape[0] == PAIRS else 0
        self.s, self.y = torch.cat([self.s[first:], s[None]]), torch.cat([self.y[first:], y[None]])
        k = self.s.shape[0]
        sy, yy = torch.zeros(k, k, dtype=torch.float64), torch.zeros(k, k, dtype=torch.float64)
        sy[:-1, :-1], yy[:-1, :-1] = self.sy[first:, first:], self.yy[first:, first:]
        sy[:, -1] = self.s @ y  # of this column only the upper triangle is used
        yy[-1] = yy[:, -1] = self.y @ y
        self.sy, self.yy = sy, yy

    def times(self, g: Tensor) -> Tensor:
        """H g."""
        if self.fresh:
            return g
        c = float(self.sy[-1, -1] / self.yy[-1, -1])
        sg, yg = self.s @ g, self.y @ g
        u = torch.linalg.solve_triangular(self.sy, sg[:, None], upper=True)[:, 0]
        right = self.sy.diagonal() * u + c * (self.yy @ u - yg)
        v = torch.linalg.solve_triangular(self.sy.T, right[:, None], upper=False)[:, 0]
        return (c * g).addmv_(self.s.T, v).addmv_(self.y.T, u, alpha=-c)

    def forget(self) -> None:
        """H = 1 again."""
        self.__init__(self.s.shape[1])


def descend(
    function: Function,
    x: Tensor,
    tol: float = 1e-9,
    steps: int = 100_000,
    known: tuple[float, Tensor] | None = None,
    halt: Callable[[], bool] | None = None,
) -> Local:
    """Down from x to where no free entry of the gradient exceeds tol * max(1, |f|), or values differ by rounding only.

    Args:
        function: counted; Spent passes through.
        x: (n,) float64, within the bounds.
        tol: of the gradient.
        steps: at most so many.
        known: value and gradient at x, where they have been evaluated.
        halt: asked before each step; true ends it.
    """
    f, g = known or function.value_and_gradient(x)
    memory = Memory(function.n)
    idle, why, taken = 0, "steps", 0
    while taken < steps and not (halt is not None and halt()):
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
            memory.learn(s, y)
        idle = idle + 1 if f - p.f <= ROUNDING * abs(f) else 0
        x, f, g = p.x, p.f, p.g
        taken += 1
        if idle >= 3:
            why = "rounding"
            break
    return Local(x, f, g, why, taken)


def free_of(function: Function, x: Tensor, g: Tensor) -> Tensor:
    """1 where x may move against g, 0 where a bound is in the way: (n,)."""
    if not function.bounded:
        return torch.ones_like(x)
    return 1.0 - (((x <= function.low) & (g > 0.0)) | ((x >= function.high) & (g < 0.0))).double()


def _step(function: Function, x: Tensor, f: float, g: Tensor, free: Tensor, memory: Memory) -> Point | None:
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
