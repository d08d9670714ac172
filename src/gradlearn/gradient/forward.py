"""Forward gradient: the slope along random directions, without a backward pass and without its memory.

    g = 1/k sum_k (v_k . grad L) v_k,   v ~ N(0, I);        basis: g_j = e_j . grad L, exact

Baydin et al., "Gradients without backpropagation", 2022. Unbiased; its variance grows with the size of theta, (n + 1)
||grad L||^2 for one direction, so it wants a small rate and a small theta. Use it where the backward pass does not fit the
memory, and `basis` to have the exact gradient of a small theta, one pass for each parameter. A layer without forward mode is said
in `note`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.curvature import Landscape, LossFunction, slope
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Batch, Estimate, Objective
from gradlearn.theta import Theta

__all__ = ["Forward"]


class Forward:
    """Gradient by forward-mode differentiation.

    Attributes:
        note: what a layer refused and what was done instead; "" where nothing was.

    Args:
        directions: random directions in each step, at least 1.
        basis: every parameter in turn instead: exact.
    """

    exact, unbiased = False, True

    def __init__(self, *, directions: int = 1, basis: bool = False) -> None:
        if directions < 1:
            raise InputTrouble(f"--forward.directions {directions}: must be at least 1")
        self.directions, self.basis = directions, basis
        self.note = ""

    def __call__(self, objective: Objective, theta: Theta, batch: Batch) -> Estimate:
        """Leave g in `.grad`; return the loss of the batch and ||g||."""
        with Landscape(objective, theta, batch) as land:
            f = LossFunction(objective, batch)
            g = torch.zeros_like(f.start)
            for k in range(len(g) if self.basis else self.directions):
                v = self._direction(g, batch.draw, k)
                _, along, note = slope(f, f.start, v)
                self.note = self.note or note
                g.add_(v * along if self.basis else v * (along / self.directions))
            f.spread(theta, g)
            return land.told()

    def _direction(self, like: Tensor, draw: int, k: int) -> Tensor:
        if self.basis:
            v = torch.zeros_like(like)
            v[k] = 1.0
            return v
        generator = torch.Generator().manual_seed(chance.key(draw, "forward", k))
        return torch.randn(len(like), generator=generator, dtype=like.dtype).to(like.device)
