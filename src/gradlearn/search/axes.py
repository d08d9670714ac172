"""Axes: the best of many points along every direction of a basis, all directions in one evaluation, then the directions together.

    t_i = argmin_t f(x + t d_i),   x <- x + sum_i t_i d_i     where that is lower (a sum over the d_i), else the best t_i by turns

The basis is the coordinates, then the eigenvectors of a Hessian: for a sum of functions of single
coordinates, rotated in whatever way, those are its axes, whatever the functions are, and one sweep finds the minimum of all its
valleys. Elsewhere it is a search along lines that leaves a valley through its walls (Loshchilov, Schoenauer, Sebag, "Adaptive
coordinate descent", GECCO 2011, has the idea with the covariance of CMA-ES in place of the Hessian). For functions that take
rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gradlearn.minimum.terrain import Terrain

__all__ = ["Axes"]

VALLEYS, AROUND = 5, 9  # places on a line that are looked at closely, and points around each
LEVELS = 10  # how often the points move four times closer: to a millionth of the first gap, where no slope leads there


class Axes:
    """A global search along lines.

    Args:
        points: on each line in the first round; doubled every second round, up to 16 times.
        sweeps: over all directions at most.
    """

    opening = 2  # rounds that are cheap and go first: the coordinates, then the eigenvectors

    def __init__(self, *, points: int = 64, sweeps: int = 8) -> None:
        self.points, self.sweeps = points, sweeps

    def __call__(self, terrain: Terrain, round: int) -> Iterator[float]:
        """One round: one basis, from the best point so far, a random one or the middle, by turns."""
        draws = terrain.draws("axes", round)
        n, pair = terrain.n, round // 2
        m = self.points * 2 ** min(pair, 4) if terrain.batched else 16
        basis = torch.eye(n, dtype=torch.float64)
        if round % 2 and n > 1:
            yield terrain.least
            near = terrain.best + torch.tensor([[0.03], [0.1]], dtype=torch.float64) * draws.normal(2, n)
            basis = curved(terrain, torch.cat([near, draws.uniform(2, n)]))
            yield terrain.least
        x = terrain.best if pair % 3 < 2 else draws.uniform(n)
        if round % 2 and pair % 2 == 0:
            x = torch.full((n,), 0.5, dtype=torch.float64)  # from the middle, lines that are aslant are longest
        value, turned = float(terrain.values(x[None])[0]), False  # turned: to the best point, once
        for _ in range(self.sweeps):
            before = value
            ends, falls = self._scan(terrain, x, value, basis, m, draws.uniform(n))
            yield value
            x, value = together(terrain, x, value, ends, falls)
            places, values = terrain.descend(x[None], 30)
            if float(values[0]) < value:
                x, value = places[0], float(values[0])
            yield value
            if value > terrain.least:
                x, value, before = terrain.best, terrain.least, max(before, value)
                if turned:
                    return
                turned = True
            elif not value < before - 1e-9 * max(abs(before), 1e-3):
                return

    @staticmethod
    def _scan(terrain: Terrain, x: Tensor, value: float, basis: Tensor, m: int, offset: Tensor) -> tuple[Tensor, Tensor]:
        """The best step along each direction (n, n), a row each, and by how much it falls (n,)."""
        n = terrain.n
        first, last = chord(x, basis)
        gap = (last - first) / m
        t = first[:, None] + (torch.arange(m, dtype=torch.float64) + offset[:, None]) * gap[:, None]

        def falls_at(t: Tensor) -> Tensor:
            rows = x + t[:, :, None] * basis[:, None, :]
            return value - terrain.values(rows.clamp(0.0, 1.0).reshape(-1, n)).reshape(t.shape)

        falls = falls_at(t)
        places = t.gather(1, promising(falls))  # (n, VALLEYS)
        step, fall = best_of(t, falls, torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64))
        for level in range(LEVELS):  # around the best places on each line, then ever closer around the best one
            if level >= 2:
                places = step[:, None]
            t = places[:, :, None] + gap[:, None, None] * torch.linspace(-1.0, 1.0, AROUND, dtype=torch.float64)
            t = torch.minimum(torch.maximum(t, first[:, None, None]), last[:, None, None]).reshape(n, -1)
            falls = falls_at(t)
            step, fall = best_of(t, falls, step, fall)
            inner = falls.reshape(n, -1, AROUND).argmax(2)
            places = t.reshape(n, -1, AROUND).gather(2, inner[:, :, None])[:, :, 0]
            gap = gap / 4.0
        return step[:, None] * basis, fall


def best_of(t: Tensor, falls: Tensor, step: Tensor, fall: Tensor) -> tuple[Tensor, Tensor]:
    """The better of what is known of each line, (n,) and (n,), and of these points on it, (n, m)."""
    most, index = falls.max(1)
    better = most > fall
    return torch.where(better, t.gather(1, index[:, None])[:, 0], step), torch.where(better, most, fall)


def promising(falls: Tensor) -> Tensor:
    """The places on each line (n, m) under which the parabola through three points is lowest: (n, VALLEYS) indices."""
    m = falls.shape[1]
    before, here, after = falls[:, :-2], falls[:, 1:-1], falls[:, 2:]
    bend = (2.0 * here - before - after).clamp_min(1e-300)
    peak = here + (after - before).square() / (8.0 * bend)
    peak = torch.where((here >= before) & (here >= after), peak, -torch.inf)
    ends = torch.stack([falls[:, 0], falls[:, -1]], 1)
    return torch.cat([ends[:, :1], peak, ends[:, 1:]], 1).topk(min(VALLEYS, m), dim=1).indices


def together(terrain: Terrain, x: Tensor, value: float, ends: Tensor, falls: Tensor) -> tuple[Tensor, float]:
    """The lowest of: the j best directions together, for j = 1 .. n."""
    order = falls.argsort(descending=True)
    rows = (x + ends[order].cumsum(0)).clamp(0.0, 1.0)
    values = terrain.values(rows)
    index = int(values.argmin())
    return (rows[index], float(values[index])) if float(values[index]) < value else (x, value)


def chord(x: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """How far each direction may be followed, back and forth, before the cube ends: (n,), (n,)."""
    to_low, to_high = -x / basis, (1.0 - x) / basis
    back = torch.where(basis > 0, to_low, torch.where(basis < 0, to_high, -torch.inf)).max(1).values
    forth = torch.where(basis > 0, to_high, torch.where(basis < 0, to_low, torch.inf)).min(1).values
    return back.clamp_max(0.0), forth.clamp_min(0.0)


def curved(terrain: Terrain, points: Tensor) -> Tensor:
    """Eigenvectors of a Hessian, from differences of gradients: (n, n), a row each, orthogonal in real coordinates.

    Of the Hessians at these points (p, n) the one whose eigenvalues lie furthest apart: equal ones have no directions of their own.
    """
    n, h = terrain.n, 1e-5
    points = points.clamp(0.01, 0.99)
    moves = h * torch.cat([torch.eye(n, dtype=torch.float64), -torch.eye(n, dtype=torch.float64)])
    _, g = terrain.gradients((points[:, None] + moves).reshape(-1, n))
    g = g.reshape(-1, 2 * n, n)
    scale = terrain.width
    hessians = (g[:, :n] - g[:, n:]) / (2.0 * h) / scale[:, None] / scale[None, :]
    hessians = 0.5 * (hessians + hessians.mT)
    hessians = hessians[torch.isfinite(hessians).all(2).all(1)]
    if hessians.shape[0] == 0:
        return torch.eye(n, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(hessians)
    apart = values.diff(dim=1).clamp_min(1e-9).log().mean(1) - (values[:, -1] - values[:, 0]).clamp_min(1e-9).log()
    basis = vectors[int(apart.argmax())].T / scale
    return basis / basis.norm(dim=1, keepdim=True)
