"""Evolution strategies: a population around theta, each member weighed by its loss.

    g = 1/(2 k sigma) sum_k (L(theta + sigma v_k) - L(theta - sigma v_k)) v_k,     v ~ N(0, I)

The gradient of the loss blurred by sigma: bias O(sigma^2). Antithetic pairs; Salimans et al., "Evolution strategies as a scalable
alternative", 2017. With `shape` "rank" losses count by their rank among the population, in [-1/2, 1/2]: outliers lose their
weight, and g is no longer the gradient of the loss, only a way down. For losses with steps, cliffs and noise, where a blurred loss
is the better one; for smooth ones `spsa` does the same with less.
"""

from __future__ import annotations

import torch

from gradlearn.curvature import Landscape, directions
from gradlearn.errors import InputTrouble, nearest
from gradlearn.symbols import Batch, Estimate, Objective
from gradlearn.theta import Theta

__all__ = ["Evolution"]
SHAPES = ("value", "rank")


class Evolution:
    """Blurred gradient from antithetic pairs.

    Args:
        sigma: standard deviation of the population around each parameter, above 0.
        pairs: antithetic pairs, two values of the loss each.
        shape: "value" or "rank": what a member counts.
    """

    exact, order, by = False, 2, "sigma"

    def __init__(self, *, sigma: float = 0.02, pairs: int = 8, shape: str = "value") -> None:
        if not sigma > 0:
            raise InputTrouble(f"--evolution.sigma {sigma}: must be above 0")
        if pairs < 1:
            raise InputTrouble(f"--evolution.pairs {pairs}: must be at least 1")
        if shape not in SHAPES:
            raise InputTrouble(f"--evolution.shape {shape!r}{nearest(shape, SHAPES)}")
        self.sigma, self.pairs, self.shape = sigma, pairs, shape

    def __call__(self, objective: Objective, theta: Theta, batch: Batch) -> Estimate:
        """Leave g in `.grad`; return the loss of the batch and ||g||."""
        with Landscape(objective, theta, batch) as land:
            values = []
            for k in range(self.pairs):
                v = directions(theta, batch.draw, "evolution", k)
                values.append((land(v, self.sigma), land(v, -self.sigma)))
            losses = torch.tensor(values, dtype=torch.float64)  # (pairs, 2)
            weights = losses if self.shape == "value" else ranks(losses)
            g = [torch.zeros_like(b.flat) for b in theta.blocks]
            for k, (up, down) in enumerate(weights.tolist()):
                for total, v in zip(g, directions(theta, batch.draw, "evolution", k), strict=True):
                    total.add_(v, alpha=(up - down) / (2 * self.sigma * self.pairs))
            return land.estimate(g)


def ranks(losses: torch.Tensor) -> torch.Tensor:
    """Each value's rank among all, from -1/2 for the lowest to 1/2; equal values share their mean rank."""
    flat = losses.flatten()
    below = (flat[:, None] > flat).sum(1) + 0.5 * ((flat[:, None] == flat).sum(1) - 1)
    return (below / max(len(flat) - 1, 1) - 0.5).view(losses.shape)
