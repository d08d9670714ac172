"""Finite differences: every parameter moved up and down by a step; needs values of the loss only.

    g_j = (L(theta + h e_j) - L(theta - h e_j)) / 2h                       error h^2 / 6 L''' + eps L / h     (points 2)
    g_j = (8 (L(+h) - L(-h)) - (L(+2h) - L(-2h))) / 12h                    error h^4 / 30 L'''''              (points 4)

Central differences; h is `step` times max(1, |theta_j|), rounded so that theta + h and theta - h are that far apart. 2n or 4n
passes a step: for small models, for losses that autograd cannot see through, and to check any other gradient. In float32 expect
three right digits, in float64 ten.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradlearn.curvature import Landscape
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Batch, Estimate, Objective
from gradlearn.theta import Theta

__all__ = ["FiniteDifference"]


class FiniteDifference:
    """Gradient of one batch by central differences.

    Args:
        step: relative step; 0 = the cube root of the machine's precision (the fifth root with 4 points).
        points: 2 or 4 values for each parameter.
    """

    exact, order, by = False, 2, "step"

    def __init__(self, *, step: float = 0.0, points: int = 2) -> None:
        if step < 0:
            raise InputTrouble(f"--finite_difference.step {step}: must be 0 (by precision) or above")
        if points not in (2, 4):
            raise InputTrouble(f"--finite_difference.points {points}: must be 2 or 4")
        self.step, self.points = step, points

    def __call__(self, objective: Objective, theta: Theta, batch: Batch) -> Estimate:
        """Leave g in `.grad`; return the loss of the batch and ||g||."""
        with Landscape(objective, theta, batch) as land:
            g = [torch.zeros_like(b.flat) for b in theta.blocks]
            for block, grad in zip(theta.blocks, g, strict=True):
                step = self.step or torch.finfo(block.flat.dtype).eps ** (1 / 3 if self.points == 2 else 1 / 5)
                for m in block.members:
                    for i in range(m.start, m.start + m.param.numel()):
                        grad[i] = self._slope(land, block.flat, i, step)
            return land.estimate(g)

    def _slope(self, land: Landscape, flat: Tensor, i: int, step: float) -> float:
        x = flat[i].clone()
        h = step * max(1.0, abs(float(x)))

        def odd(h: float) -> tuple[float, float]:
            """L(x + h) - L(x - h), and how far apart the two really are."""
            high, low = x + h, x - h
            flat[i] = high
            above = land.here()
            flat[i] = low
            below = land.here()
            flat[i] = x
            return above - below, float(high) - float(low)

        one, width = odd(h)
        if self.points == 2:
            return one / width
        two, double = odd(2 * h)
        return (4 * one / width - two / double) / 3
