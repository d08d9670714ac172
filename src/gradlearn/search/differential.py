"""Differential evolution that sets its own rates (L-SHADE): steps are differences between members, kept where they were good.

    v_i = x_i + F_i (x_pbest - x_i) + F_i (x_a - x_b);   some coordinates of v_i into x_i;   kept if it is not worse

Tanabe, Fukunaga, "Improving the search performance of SHADE using linear population size reduction", CEC 2014. Needs no gradient.
Strong where valleys are many, far apart and without a common slope (Schwefel), and where coordinates matter one by one; slow
where they must move together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gradlearn.minimum.terrain import Draws, Terrain

__all__ = ["Differential"]

MEMORY = 6


class Differential:
    """L-SHADE with restarts, each with a population half as large again.

    Args:
        population: members for each dimension in the first round.
        generations: in which the population shrinks from its first size to 8; a quarter as many more follow.
        greed: share of the members that are led by; smaller is greedier.
    """

    def __init__(self, *, population: int = 8, generations: int = 500, greed: float = 0.11) -> None:
        self.population, self.generations, self.greed = population, generations, greed

    def __call__(self, terrain: Terrain, round: int) -> Iterator[float]:
        """One run until its population has shrunk, or is one point."""
        draws, n = terrain.draws("differential", round), terrain.n
        growth = 1.5 ** min(round, 6)
        first, end = int(max(self.population * n, 40) * growth), int(self.generations * growth)
        x = draws.spread(first, n)
        values = terrain.values(x)
        archive = x[:0]
        rates = torch.full((2, MEMORY), 0.5, dtype=torch.float64)
        for generation in range(end + end // 4):
            yield float(values.median())
            k = x.shape[0]
            f, cr = drawn_rates(rates, k, draws)
            trial = self._trial(x, values, archive, f, cr, draws)
            new = terrain.values(trial)
            better = new < values
            if bool(better.any()):
                archive = torch.cat([archive, x[better]])[-int(2.0 * k) :]
                gain = (values - new)[better].clamp_max(1e300)
                rates[:, generation % MEMORY] = learnt(f[better], cr[better], gain)
            x = torch.where((new <= values)[:, None], trial, x)
            values = torch.minimum(values, new)
            wanted = max(round_to(first + (8 - first) * generation / end), 8)
            if wanted < k:
                keep = values.argsort()[:wanted]
                x, values = x[keep], values[keep]
            if generation % 10 == 0 and float((x.max(0).values - x.min(0).values).max()) < 1e-9:
                return

    def _trial(self, x: Tensor, values: Tensor, archive: Tensor, f: Tensor, cr: Tensor, draws: Draws) -> Tensor:
        k, n = x.shape
        leaders = values.argsort()[: max(int(self.greed * k), 2)]
        lead = x[leaders[draws.whole(leaders.shape[0], k)]]
        a = x[(torch.arange(k) + 1 + draws.whole(k - 1, k)) % k]
        pool = torch.cat([x, archive])
        b = pool[draws.whole(pool.shape[0], k)]
        v = x + f[:, None] * (lead - x) + f[:, None] * (a - b)
        v = torch.where(v < 0.0, 0.5 * x, torch.where(v > 1.0, 0.5 * (1.0 + x), v))  # half way to the bound that was passed
        cross = draws.uniform(k, n) < cr[:, None]
        cross[torch.arange(k), draws.whole(n, k)] = True
        return torch.where(cross, v, x)


def round_to(value: float) -> int:
    """The nearest whole number."""
    return int(value + 0.5)


def drawn_rates(rates: Tensor, k: int, draws: Draws) -> tuple[Tensor, Tensor]:
    """Step factors F in (0, 1] and crossover rates in [0, 1], around what has worked: (k,), (k,)."""
    which = draws.whole(MEMORY, k)
    f = rates[0, which] + 0.1 * draws.cauchy(k)
    f = torch.where(f <= 0.0, 0.1 + 0.4 * draws.uniform(k), f).clamp_max(1.0)
    return f, (rates[1, which] + 0.1 * draws.normal(k)).clamp(0.0, 1.0)


def learnt(f: Tensor, cr: Tensor, gain: Tensor) -> Tensor:
    """Weighted Lehmer means of the rates that brought gains: (2,)."""
    w = gain / gain.sum().clamp_min(1e-300)
    return torch.stack([(w * f * f).sum() / (w * f).sum(), (w * cr * cr).sum() / (w * cr).sum().clamp_min(1e-12)])
