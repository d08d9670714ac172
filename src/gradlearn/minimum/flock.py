"""Many descents at once: L-BFGS from each row of (k, n), one evaluation of all rows a step, each row with its own step size.

    x_i <- P(x_i - a_i H_i g_i),    a_i halved until f(x_i) falls enough, 1 again after each success

Liu, Nocedal, Math. Programming 45, 1989, with steps bent along the bounds (Bertsekas, SIAM J. Control Optim. 20, 1982). A step of a
hundred rows costs about what a step of one costs, so many starts are nearly free. Rows that no longer fall are taken out. For
the last digits, and for one start, use `quasinewton.py`.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from gradlearn.minimum import quasinewton
from gradlearn.minimum.function import Function
from gradlearn.minimum.linesearch import ENOUGH

PAIRS = 8
FEW = 3  # rows that take no longer one by one, where each has its own way of searching along its line


class Flock:
    """The rows that still fall, and what each remembers of its last steps."""

    def __init__(self, x: Tensor, f: Tensor, g: Tensor) -> None:
        k, n = x.shape
        self.x, self.f, self.g = x, f, g
        self.index = torch.arange(k)  # where each row belongs among all
        self.s, self.y = torch.zeros(PAIRS, k, n, dtype=x.dtype), torch.zeros(PAIRS, k, n, dtype=x.dtype)
        self.rho, self.scale = torch.zeros(PAIRS, k, dtype=x.dtype), 1.0 / g.norm(dim=1).clamp_min(1e-300)
        self.step, self.idle = torch.ones(k, dtype=x.dtype), torch.zeros(k, dtype=torch.int64)
        self.at = 0

    def direction(self, g: Tensor) -> Tensor:
        """-H g of each row."""
        q, shares = g.clone(), []
        order = [(self.at - 1 - i) % PAIRS for i in range(min(self.at, PAIRS))]
        for i in order:
            share = self.rho[i] * (self.s[i] * q).sum(1)
            shares.append(share)
            q = torch.addcmul(q, share[:, None], self.y[i], value=-1.0)
        q *= self.scale[:, None]
        for i, share in zip(reversed(order), reversed(shares), strict=True):
            q = torch.addcmul(q, (share - self.rho[i] * (self.y[i] * q).sum(1))[:, None], self.s[i])
        return q.neg_()

    def learn(self, s: Tensor, y: Tensor, moved: Tensor) -> None:
        """Remember a step of the rows that moved; for the others this place stays empty."""
        i = self.at % PAIRS
        sy, yy = (s * y).sum(1), (y * y).sum(1)
        good = moved & (sy > 1e-10 * (yy * (s * s).sum(1)).sqrt()) & (sy > 0.0)
        self.s[i], self.y[i] = s, y
        self.rho[i] = torch.where(good, 1.0 / sy, 0.0)
        self.scale = torch.where(good, sy / yy, self.scale)
        self.at += 1

    def keep(self, rows: Tensor) -> None:
        """Only these rows go on."""
        for name in ("x", "f", "g", "index", "scale", "step", "idle"):
            setattr(self, name, getattr(self, name)[rows])
        self.s, self.y, self.rho = self.s[:, rows], self.y[:, rows], self.rho[:, rows]


def descend(function: Function, rows: Tensor, steps: int = 60, fall: float = 1e-7) -> tuple[Tensor, Tensor]:
    """Where each row comes to: (k, n), and its value (k,). Arguments as for `falling`; a few go one by one, which is quicker."""
    if rows.shape[0] <= FEW:
        ends = [quasinewton.descend(function, row, 1e-7, steps) for row in rows]
        return torch.stack([end.x for end in ends]), torch.tensor([end.f for end in ends], dtype=rows.dtype)
    work = falling(function, rows, steps, fall)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def falling(function: Function, rows: Tensor, steps: int = 60, fall: float = 1e-7) -> Generator[float, None, tuple[Tensor, Tensor]]:
    """The same in pieces: yields the lowest value so far after every five steps, and returns rows and values at the end.

    Args:
        function: counted; Spent passes through, and its best point is kept there.
        rows: (k, n) starts within the bounds.
        steps: evaluations of each row at most.
        fall: a row is done when its value has fallen by less than this share of its size (or of 1e-3) in three steps running.
    """
    f, g = function.values_and_gradients(rows)
    flock, end_x, end_f = Flock(rows.clone(), f, g), rows.clone(), f.clone()
    low, high = function.low, function.high
    for step in range(steps):
        going = _advance(function, flock, low, high, fall)
        if not bool(going.all()) and int(going.sum()) <= 0.75 * going.shape[0]:
            done = ~going
            end_x[flock.index[done]], end_f[flock.index[done]] = flock.x[done], flock.f[done]
            flock.keep(going)
            if flock.x.shape[0] == 0:
                return end_x, end_f
        if step % 5 == 4:
            yield float(flock.f.min())
    end_x[flock.index], end_f[flock.index] = flock.x, flock.f
    return end_x, end_f


def _advance(function: Function, flock: Flock, low: Tensor, high: Tensor, fall: float) -> Tensor:
    """One evaluation of all rows; returns which of them still fall: (k,) bool."""
    x, f, g = flock.x, flock.f, flock.g
    if function.bounded:
        free = ~(((x <= low) & (g > 0.0)) | ((x >= high) & (g < 0.0)))
        g = g * free
        d = flock.direction(g) * free
    else:
        d = flock.direction(g)
    uphill = (d * g).sum(1) >= 0.0
    if bool(uphill.any()):
        d = torch.where(uphill[:, None], -g * flock.scale.abs()[:, None], d)
    trial = x + flock.step[:, None] * d
    if function.bounded:
        trial = torch.minimum(torch.maximum(trial, low), high)
    value, gradient = function.values_and_gradients(trial)
    s = trial - x
    promised = (g * s).sum(1)
    moved = (value <= f + ENOUGH * promised.clamp_max(0.0)) & torch.isfinite(value) & torch.isfinite(gradient).all(1)
    gain = torch.where(moved, f - value, 0.0)
    flock.learn(torch.where(moved[:, None], s, 0.0), torch.where(moved[:, None], gradient - flock.g, 0.0), moved)
    curve = value - f - promised
    shrink = torch.where(curve > 0.0, -0.5 * promised / curve, 0.1).nan_to_num(0.1, 0.1, 0.1).clamp(0.1, 0.5)
    flock.step = torch.where(moved, 1.0, flock.step * shrink)
    small = gain <= fall * f.abs().clamp_min(1e-3)
    flock.idle = torch.where(small, flock.idle + 1, 0)
    flock.x, flock.f = torch.where(moved[:, None], trial, x), torch.where(moved, value, f)
    flock.g = torch.where(moved[:, None], gradient, flock.g)
    return (flock.idle < 3) | (~moved & (flock.idle < 12))
