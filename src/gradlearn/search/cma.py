"""CMA-ES: a Gaussian population that learns the shape of the valley; each restart is larger, and small ones lie between (BIPOP).

    x_i = m + s C^1/2 z_i;   m <- sum w_i x_(i);   C, s learn from the steps that were good

Hansen, "The CMA evolution strategy: a tutorial", arXiv:1604.00772; restarts after Hansen, "Benchmarking a BI-population CMA-ES on
the BBOB-2009 function testbed". Indifferent to rotation, scale and monotone changes of f, needs no gradient; a large population
sees through ripples. A descent from the mean, now and then, tells early which valley it is in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gradlearn.minimum.terrain import Terrain

__all__ = ["CMA"]


class CMA:
    """CMA-ES with restarts.

    Args:
        population: of the first round; 0 is 4 + 3 ln n, and at least 32 where rows go in one call.
        growth: of the population from one large round to the next.
        sigma: the first standard deviation, as a share of the box.
        most: the largest population.
    """

    def __init__(self, *, population: int = 0, growth: float = 3.0, sigma: float = 0.3, most: int = 8192) -> None:
        self.population, self.growth, self.sigma, self.most = population, growth, sigma, most

    def __call__(self, terrain: Terrain, round: int) -> Iterator[float]:
        """One run until it has converged."""
        draws, n = terrain.draws("cma", round), terrain.n
        small = round % 3 == 2
        base = self.population or max(4 + int(3 * math.log(n)), 32 if terrain.batched else 0)
        size = base if small else int(base * self.growth ** (round - round // 3))
        sigma = self.sigma * (10.0 ** -float(2 * draws.uniform(1)) if small else 1.0)
        mean = terrain.best if small and round % 2 else draws.uniform(n) * 0.8 + 0.1
        state = Gaussian(mean, sigma, min(size, self.most))
        looked, settled, last = 0, 0, math.inf
        for generation in range(100 + int(50 * (n + 3) ** 2 / math.sqrt(state.size))):
            rows = terrain.fold(state.sample(draws.normal(state.size, n)))
            values = terrain.values(rows)
            order = values.argsort()
            state.learn(rows[order], generation)
            yield float(values[order[state.size // 2]])
            if state.over(values[order]):
                return
            looked += state.size
            if terrain.differentiable and looked >= max(30 * state.size, 400):
                looked = 0
                _, ends = terrain.descend(torch.stack([terrain.fold(state.mean), rows[order[0]]]), 30)
                value = float(ends.min())
                settled = settled + 1 if abs(value - last) <= 1e-6 * max(abs(value), 1e-3) else 0
                last = value
                if settled >= 3:
                    return


class Gaussian:
    """Mean, step size and covariance, and how they learn."""

    def __init__(self, mean: Tensor, sigma: float, size: int) -> None:
        n = mean.shape[0]
        self.n, self.size, self.mean, self.sigma = n, size, mean, sigma
        parents = size // 2
        w = math.log((size + 1) / 2) - torch.arange(1, parents + 1, dtype=torch.float64).log()
        self.w = w / w.sum()
        self.mu = 1.0 / float((self.w**2).sum())
        self.c_sigma = (self.mu + 2) / (n + self.mu + 5)
        self.damp = 1 + 2 * max(0.0, math.sqrt((self.mu - 1) / (n + 1)) - 1) + self.c_sigma
        self.c_c = (4 + self.mu / n) / (n + 4 + 2 * self.mu / n)
        self.c_1 = 2 / ((n + 1.3) ** 2 + self.mu)
        self.c_mu = min(1 - self.c_1, 2 * (self.mu - 2 + 1 / self.mu) / ((n + 2) ** 2 + self.mu))
        self.usual = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))  # E ||N(0, 1)||
        self.p_sigma, self.p_c = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        self.c, self.b, self.d = (
            torch.eye(n, dtype=torch.float64),
            torch.eye(n, dtype=torch.float64),
            torch.ones(n, dtype=torch.float64),
        )
        self.every = max(int(1 / (10 * n * (self.c_1 + self.c_mu))), 1)
        self.history: list[float] = []

    def sample(self, z: Tensor) -> Tensor:
        """Points from standard normal rows."""
        return torch.addmm(self.mean, z, (self.b * self.d).T, alpha=self.sigma)

    def learn(self, ordered: Tensor, generation: int) -> None:
        """From the points, best first, as they were evaluated."""
        y = (ordered[: self.w.shape[0]] - self.mean) / self.sigma
        step = self.w @ y
        self.mean = self.mean + self.sigma * step
        self.p_sigma = (1 - self.c_sigma) * self.p_sigma + math.sqrt(self.c_sigma * (2 - self.c_sigma) * self.mu) * (
            self.b @ ((self.b.T @ step) / self.d)
        )
        long = float(self.p_sigma.norm())
        usual = math.sqrt(1 - (1 - self.c_sigma) ** (2 * (generation + 1))) * self.usual
        calm = 1.0 if long < (1.4 + 2 / (self.n + 1)) * usual else 0.0
        self.p_c = (1 - self.c_c) * self.p_c + calm * math.sqrt(self.c_c * (2 - self.c_c) * self.mu) * step
        keep = 1 - self.c_1 - self.c_mu + (1 - calm) * self.c_1 * self.c_c * (2 - self.c_c)
        self.c.mul_(keep).addr_(self.p_c, self.p_c, alpha=self.c_1).addmm_((y * self.w[:, None]).T, y, alpha=self.c_mu)
        self.sigma *= math.exp(min((self.c_sigma / self.damp) * (long / self.usual - 1), 1.0))
        if generation % self.every == 0:
            values, self.b = torch.linalg.eigh(0.5 * (self.c + self.c.T))
            self.d = values.clamp_min(1e-30).sqrt()

    def over(self, ordered: Tensor) -> bool:
        """Whether this run has converged or is lost."""
        best = float(ordered[0])
        self.history.append(best)
        recent = self.history[-(10 + 30 * self.n // self.size) :]
        spread = float(ordered[self.size // 2]) - best
        flat = len(self.history) > len(recent) and max(recent) - min(recent) <= 1e-12 * max(abs(best), 1e-6)
        if flat and spread <= 1e-12 * max(abs(best), 1e-6):
            return True
        wide = float(self.d.max())
        return (
            not math.isfinite(self.sigma * wide)
            or self.sigma * wide < 1e-13
            or wide > 1e7 * float(self.d.min())
            or self.sigma > 1e4
        )
