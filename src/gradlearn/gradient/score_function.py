"""Score function: the gradient of an expected loss from samples alone, where what was sampled has a probability but no derivative.

    g = 1/N sum_i (total_i - b_i) grad logp_i + grad total_i,       b_i = mean of the other totals

REINFORCE: Williams, Machine Learning 8, 1992; the leave-one-out baseline keeps it unbiased: Kool et al., 2019. `Losses.logp` is
the log-probability of what was sampled for each example; a total that is itself differentiable adds its own gradient. Use it where
a loss can only be sampled: discrete choices, rollouts, measurements. N is the sum of the counts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.curvature import told
from gradlearn.errors import InputTrouble, nearest
from gradlearn.symbols import Batch, Estimate, Objective
from gradlearn.theta import Theta

__all__ = ["ScoreFunction"]
BASELINES = ("leave_one_out", "none")


class ScoreFunction:
    """Gradient of an expectation by the log-derivative.

    Args:
        baseline: "leave_one_out" or "none": what is subtracted from each total.
        scale: whether the differences are divided by their standard deviation: not unbiased any more, but of one size.
    """

    exact, unbiased, needs = False, True, "logp"

    def __init__(self, *, baseline: str = "leave_one_out", scale: bool = False) -> None:
        if baseline not in BASELINES:
            raise InputTrouble(f"--score_function.baseline {baseline!r}{nearest(baseline, BASELINES)}")
        self.baseline, self.scale = baseline, scale

    def __call__(self, objective: Objective, theta: Theta, batch: Batch) -> Estimate:
        """Leave g in `.grad`; return the mean of the sampled losses and ||g||."""
        theta.zero()
        with chance.preserved():
            chance.reseed(batch.draw)
            losses = objective(batch)
            if losses.logp is None:
                raise InputTrouble("loss: gives no log-probability (Losses.logp); use --gradient backprop, or sample in the loss")
            if not losses.logp.requires_grad:
                raise InputTrouble("loss: log-probability without a parameter of the model; compute it from its output")
            total, count = losses.total, losses.count.double().sum().item() or math.nan
            weights = self._advantage(total.detach()) / count
            torch.autograd.backward([losses.logp], [weights.to(losses.logp)], retain_graph=total.requires_grad)
            if total.requires_grad:
                torch.dot(total, torch.full_like(total, 1.0 / count)).backward()
        theta.gather()
        return told(theta, batch, total.detach().double().sum().item() / count, total.detach())

    def _advantage(self, total: Tensor) -> Tensor:
        n = len(total)
        if self.baseline == "leave_one_out" and n > 1:
            total = (total - total.mean()) * (n / (n - 1))  # total_i minus the mean of the others
        return total / total.std().clamp_min(1e-8) if self.scale and n > 1 else total
