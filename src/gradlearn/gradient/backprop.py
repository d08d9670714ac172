"""Backprop: the exact gradient of a batch by reverse-mode differentiation, whole or in parts that add up to it.

    g = sum_i grad total_i / sum_i count_i

Rumelhart, Hinton, Williams, Nature 1986. With `part` the batch passes in pieces of so many examples: the pieces' sums are added
and divided once by the count of the whole batch, so uneven tails and token counts weigh what they weigh in the big batch. (A
BatchNorm still sees the pieces.) Use parts where the batch does not fit memory or cache, a full batch most of all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Batch, Estimate, Objective
from gradlearn.theta import Theta

__all__ = ["Backprop"]

# total.backward(seed) ends here too, after 30 us of checks and, the first time, a second of importing symbolic algebra
_engine = torch.autograd.Variable._execution_engine


class Backprop:
    """Reverse-mode gradient of one batch.

    Args:
        part: examples in one forward and backward pass; 0 = the whole batch at once.
    """

    def __init__(self, *, part: int = 0) -> None:
        if part < 0:
            raise InputTrouble(f"--backprop.part {part}: must be 0 (the whole batch) or a number of examples")
        self.part = part
        self._seed = (torch.empty(0), 0.0)
        self._counted = (torch.empty(0), 0, 0.0)

    def __call__(self, objective: Objective, theta: Theta, batch: Batch) -> Estimate:
        """Leave g in `.grad`; return the loss of the whole batch and ||g||."""
        theta.zero()
        whole = self.part == 0 or batch.n <= self.part
        with chance.preserved():
            loss, totals = self._whole(objective, batch) if whole else self._in_parts(objective, theta, batch)
        theta.gather()
        suspects = None if loss - loss == 0.0 else batch.index[~torch.isfinite(totals).cpu()]
        return Estimate(loss, theta.norm(), batch.n, suspects)

    def _whole(self, objective: Objective, batch: Batch) -> tuple[float, Tensor]:
        """The loss of the batch, and each example's total."""
        chance.reseed(batch.draw)
        losses = objective(batch)
        count = self._count(losses.count) or math.nan  # a batch of nothing but ignored terms has no loss: its step is blocked
        self._backward(losses.total, 1.0 / count)
        totals = losses.total.detach()
        return totals.sum().item() / count, totals

    def _in_parts(self, objective: Objective, theta: Theta, batch: Batch) -> tuple[float, Tensor]:
        total = count = 0.0
        totals: list[Tensor] = []
        for k, piece in enumerate(batch.pieces(self.part)):
            chance.reseed(batch.draw, k)
            losses = objective(piece)
            self._backward(losses.total, 1.0)
            totals.append(losses.total.detach())
            total += totals[-1].double().sum().item()
            count += losses.count.sum().item()
        theta.gather()
        theta.scale_grad(1.0 / (count or math.nan))
        return total / (count or math.nan), torch.cat(totals)

    def _count(self, count: Tensor) -> float:
        """sum(count); a loss that hands out the same tensor of counts again is not asked twice."""
        if count is not self._counted[0] or count._version != self._counted[1]:
            self._counted = (count, count._version, count.sum().item())
        return self._counted[2]

    def _backward(self, total: Tensor, weight: float) -> None:
        """d(weight * sum(total)) / d theta: the weight enters as autograd's own seed, so no mean is built into the graph."""
        if not total.requires_grad:
            raise InputTrouble("loss: does not depend on any parameter of the model; compute it from the model's output")
        seed, value = self._seed
        if seed.shape != total.shape or value != weight or seed.dtype != total.dtype or seed.device != total.device:
            seed = torch.full_like(total, weight, requires_grad=False)
            self._seed = (seed, weight)
        _engine.run_backward((total,), (seed,), False, False, (), allow_unreachable=True, accumulate_grad=True)
