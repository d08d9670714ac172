"""Basin hopping with many walkers: a jump, a descent, kept where it is lower; jumps learn which kind and size pays.

    y_i = descend(x_i + jump_i),   x_i <- y_i  if f(y_i) < f(x_i)

Wales, Doye, "Global optimization by basin-hopping", J. Phys. Chem. A 101, 1997, with a population of walkers. A jump is a
Gaussian step, a few coordinates drawn anew, or the difference of two other walkers (their valleys repeat), by turns as they have
paid. Strong where valleys are many and lead down to each other; needs gradients or few dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gradlearn.minimum.terrain import Draws, Terrain

__all__ = ["Hopping"]

KINDS = 4


class Hopping:
    """Basin hopping.

    Args:
        walkers: how many jump at once; an eighth of it where the function takes no rows.
        steps: evaluations of each descent at most.
        hops: jumps of each walker in one round.
        size: of the first Gaussian jumps, as a share of the box.
    """

    def __init__(self, *, walkers: int = 32, steps: int = 30, hops: int = 60, size: float = 0.1) -> None:
        self.walkers, self.steps, self.hops, self.size = walkers, steps, hops, size

    def __call__(self, terrain: Terrain, round: int) -> Iterator[float]:
        """One round: walkers from everywhere, the best point so far among them every second round."""
        draws, n = terrain.draws("hopping", round), terrain.n
        k = self.walkers if terrain.batched else max(self.walkers // 8, 4)
        points = draws.spread(k, n)
        if round % 2 == 0:
            points[0] = terrain.best
        x, values = yield from terrain.falling(points, self.steps)
        yield float(values.min())
        size, paid = torch.full((k,), self.size, dtype=torch.float64), torch.ones(KINDS, dtype=torch.float64)
        idle = 0
        for _ in range(self.hops):
            kind = torch.bucketize(draws.uniform(k), (paid / paid.sum()).cumsum(0)).clamp_max(KINDS - 1)
            y, new = yield from terrain.falling(terrain.fold(jumped(x, values, kind, size, draws)), self.steps)
            margin = 1e-9 * values.abs().clamp_min(1e-3)
            better = new < values - margin
            idle = 0 if bool((better & (new < values.min() - margin.min())).any()) else idle + 1
            for i in range(KINDS):
                of_kind = kind == i
                if bool(of_kind.any()):
                    paid[i] = (0.9 * paid[i] + 0.1 * float(better[of_kind].double().mean())).clamp_min(0.02)
            gaussian = kind == 0
            same = (y - x).norm(dim=1) < 1e-6 * n**0.5
            size = torch.where(gaussian & same, size * 1.3, torch.where(gaussian & ~better, size * 0.95, size)).clamp(1e-3, 0.5)
            x, values = torch.where(better[:, None], y, x), torch.where(better, new, values)
            worst, best = int(values.argmax()), int(values.argmin())
            if k > 4 and float(draws.uniform(1)) < 0.2:  # the last in line goes on from the first
                x[worst], values[worst] = x[best], values[best]
            yield float(values.min())
            if idle >= 25:
                return


def jumped(x: Tensor, values: Tensor, kind: Tensor, size: Tensor, draws: Draws) -> Tensor:
    """Where each walker lands: (k, n)."""
    k, n = x.shape
    step = x + size[:, None] * draws.normal(k, n)
    few = draws.uniform(k, n) < 1.5 / n
    few[torch.arange(k), draws.whole(n, k)] = True
    redrawn = torch.where(few, draws.uniform(k, n), x)
    first, second = draws.whole(k, k), draws.whole(k, k)
    difference = x + x[first] - x[second]
    mixed = torch.where(draws.uniform(k, n) < 0.5, x, x[first])
    choice = torch.stack([step, redrawn, difference, mixed])
    landed = choice[kind, torch.arange(k)]
    still = (landed == x).all(1)
    return torch.where(still[:, None], step, landed)
