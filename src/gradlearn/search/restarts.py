"""Restarts: descents from points spread over the box, a whole population in each evaluation.

    x_i <- descend(u_i),   u_1 .. u_k a Latin hypercube; the next round with other points

Best where there are few valleys, or where a wide valley leads down: Rosenbrock, Griewank in many dimensions, a small network. Where
valleys are many and alike, the strategies that learn from where they have been find more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradlearn.minimum.terrain import Terrain

__all__ = ["Restarts"]


class Restarts:
    """Descents from everywhere.

    Args:
        walkers: descents at once; an eighth of it where the function takes no rows.
        steps: evaluations of each walker at most; of a sixteenth of them five times as many.
    """

    def __init__(self, *, walkers: int = 32, steps: int = 150) -> None:
        self.walkers, self.steps = walkers, steps

    def __call__(self, terrain: Terrain, round: int) -> Iterator[float]:
        """One round: descents from so many new points."""
        k = self.walkers if terrain.batched else max(self.walkers // 8, 1)
        points = terrain.draws("restarts", round).spread(k, terrain.n)
        if not terrain.batched:  # together, those that seem behind cost next to nothing, and one of them may be the one
            points, values = yield from terrain.falling(points, min(self.steps, 30))
            points = points[values.argsort()[: max(k // 4, 1)]]
        points, values = yield from terrain.falling(points, self.steps)
        yield float(values.min())
        last = values.argsort()[: max(k // 16, 1)]
        _, values = yield from terrain.falling(points[last], 4 * self.steps)  # a long bent valley; elsewhere a few steps
        yield float(values.min())
