"""Per-example gradients: the exact gradient as the mean of one gradient for each example, with their norms and their variance.

    g = 1/n sum_i min(1, clip / ||g_i||) g_i,     g_i = n grad total_i / sum_j count_j
    variance = sum_i ||g_i - g||^2 / (n - 1),     noise scale B = variance / ||grad L||^2

Noise scale: McCandlish et al., "An empirical model of large-batch training", 2018; clipping per example: Abadi et al., CCS 2016. By
vmap, or one by one where a layer refuses (said in `note`). Use it where the noise or the outliers of a batch matter: it costs as
much as one to three plain gradients, and memory for a gradient per example in each piece.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.curvature import ExampleGrads, still, told
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Batch, Estimate, Objective
from gradlearn.theta import Theta

__all__ = ["PerExample"]


class PerExample:
    """The gradient of one batch from the gradients of its examples.

    Attributes:
        note: why it was not done by vmap; "" where it was.

    Args:
        clip: bound on the norm of each example's gradient; 0 = none, and g is exact.
        part: examples at once; 0 = as many as 64 MiB of gradients hold.
    """

    def __init__(self, *, clip: float = 0.0, part: int = 0) -> None:
        if clip < 0:
            raise InputTrouble(f"--per_example.clip {clip}: must be 0 (none) or a bound above 0")
        if part < 0:
            raise InputTrouble(f"--per_example.part {part}: must be 0 (found out) or a number of examples")
        self.clip, self.part = clip, part
        self._grads = ExampleGrads(part)

    @property
    def note(self) -> str:
        """What a layer refused and what is done instead."""
        return self._grads.note

    def __call__(self, objective: Objective, theta: Theta, batch: Batch) -> Estimate:
        """Leave g in `.grad`; the estimate has `norms` (n,) and `variance` of the gradients before clipping."""
        theta.zero()
        g: Tensor | None = None
        clipped: Tensor | None = None
        totals, counts, norms = [], [], []
        with chance.preserved():
            weight = batch.n / self._terms(objective, batch) if self.clip else 1.0
            for G, losses in self._grads(objective, theta, batch):
                totals.append(losses.total)
                counts.append(losses.count)
                norms.append(torch.linalg.vector_norm(G, dim=1))
                g = G.sum(0) if g is None else g + G.sum(0)
                if self.clip:
                    part = (self.clip / (weight * norms[-1])).clamp(max=1.0) @ G
                    clipped = part if clipped is None else clipped + part
        total, n = torch.cat(totals), batch.n
        count = torch.cat(counts).double().sum().item() or math.nan
        norm = torch.cat(norms) * (n / count)
        assert g is not None
        mean = torch.linalg.vector_norm(g.double()).item() / count
        variance = max((norm.double().square().sum().item() - n * mean * mean) / (n - 1), 0.0) if n > 1 else None
        sizes = [m.param.numel() for m in theta.members]
        for m, piece in zip(theta.members, (g if clipped is None else clipped).split(sizes), strict=True):
            m.grad.copy_(piece.view(m.grad.shape))
        theta.gather()
        theta.scale_grad(1.0 / count)
        return told(theta, batch, total.double().sum().item() / count, total, variance=variance, norms=norm)

    def _terms(self, objective: Objective, batch: Batch) -> float:
        """How many terms the batch has, without a trace: the bound is on gradients of the mean."""
        chance.reseed(batch.draw)
        with torch.no_grad(), still(objective.model):
            return objective(batch).count.double().sum().item() or math.nan


def noise_scale(estimate: Estimate) -> float:
    """Examples at which noise and gradient are of one size, of an estimate without clipping; inf where the gradient is all noise.

    ||grad L||^2 is estimated as ||g||^2 - variance / n, which is unbiased.
    """
    if estimate.variance is None:
        raise InputTrouble("noise_scale: the estimate has no variance; use --gradient per_example and at least 2 examples")
    true = estimate.norm**2 - estimate.variance / estimate.n
    return estimate.variance / true if true > 0 else math.inf
