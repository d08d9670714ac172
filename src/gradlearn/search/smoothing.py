"""Smoothing: Newton's method on the function blurred by a Gaussian, whose width shrinks: ripples vanish, the large shape is left.

    f_s(x) = E f(x + s z);   grad f(x + s z) ~ b + A s z  by least squares over a cloud;   x <- x - A^-1 b;   s <- 0.7 s

Mobahi, Fisher, "A theoretical analysis of optimization by Gaussian continuation", AAAI 2015; the mean slope of a cloud is the
gradient of f_s, and the slope of the slopes its Hessian (Stein). The cloud of one width is added to until the place it names is
known to a fraction of the width; descents from there find the valley below. Strong where a wide bowl is covered with ripples,
rotated or not (Rastrigin, Griewank, Ackley). Needs gradients and rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gradlearn.minimum.terrain import Terrain

__all__ = ["Smoothing"]


class Smoothing:
    """Graduated smoothing.

    Args:
        cloud: points of one cloud in the first round; doubled each round, up to 16 times.
        width: standard deviation of the first cloud, as a share of the box.
        shrink: of the width from one cloud to the next.
        last: width at which a round ends.
    """

    def __init__(self, *, cloud: int = 1024, width: float = 0.25, shrink: float = 0.5, last: float = 0.005) -> None:
        self.cloud, self.width, self.shrink, self.last = cloud, width, shrink, last

    def __call__(self, terrain: Terrain, round: int) -> Iterator[float]:
        """One round: from wide to narrow."""
        if not (terrain.batched and terrain.differentiable):
            return
        draws, n = terrain.draws("smoothing", round), terrain.n
        k = max(self.cloud, 16 * n) * 2 ** min(round, 4)
        x = torch.full((n,), 0.5, dtype=torch.float64) if round % 2 == 0 else draws.uniform(n)
        width = self.width
        while width > self.last:
            cloud = Cloud(n)
            for _ in range(6):
                cloud.add(terrain, terrain.fold(x + width * draws.normal(k, n)))
                x, error = cloud.lowest(x, 2.0 * width * n**0.5)
                x = x.clamp(0.0, 1.0)
                few = (x + error * draws.normal(4, n)).clamp(0.0, 1.0)
                few[0] = x
                _, values = yield from terrain.falling(few, 30)
                yield float(values.min())
            width *= self.shrink


class Cloud:
    """Gradients seen at one width, and the linear function of x that fits them: g ~ [1, x] W."""

    def __init__(self, n: int) -> None:
        self.gram, self.moment = torch.zeros(n + 1, n + 1, dtype=torch.float64), torch.zeros(n + 1, n, dtype=torch.float64)
        self.square, self.count = torch.zeros(n, dtype=torch.float64), 0

    def add(self, terrain: Terrain, rows: Tensor) -> None:
        """More points."""
        _, g = terrain.gradients(rows)
        g = g.nan_to_num(0.0, 0.0, 0.0)
        design = torch.cat([torch.ones(rows.shape[0], 1, dtype=torch.float64), rows], 1)
        self.gram += design.T @ design
        self.moment += design.T @ g
        self.square += g.square().sum(0)
        self.count += rows.shape[0]

    def lowest(self, x: Tensor, longest: float) -> tuple[Tensor, Tensor]:
        """Where the fitted quadratic is lowest, at most `longest` from x, and the standard error of each coordinate."""
        n = x.shape[0]
        fit = torch.linalg.solve(self.gram + 1e-9 * self.count * torch.eye(n + 1, dtype=torch.float64), self.moment)
        left = (self.square - (fit * self.moment).sum(0)).clamp_min(0.0) / self.count**2  # variance of a mean gradient
        values, vectors = torch.linalg.eigh(0.5 * (fit[1:] + fit[1:].T))
        inverse = 1.0 / values.abs().clamp_min(max(float(values.abs().max()) * 1e-3, 1e-300))
        step = -vectors @ (inverse * (vectors.T @ (fit[0] + x @ fit[1:])))
        error = ((vectors * inverse).square() @ (vectors.T.square() @ left)).sqrt()
        size = float(step.norm())
        return x + (step if size <= longest else step * (longest / size)), error.clamp_max(0.1)
