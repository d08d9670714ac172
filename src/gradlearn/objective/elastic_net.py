"""Elastic net: L1 and L2 together; inputs that go together stay or go together.

    R = weight (share sum |theta| + (1 - share) / 2 sum theta^2)

Zou, Hastie, "Regularization and variable selection via the elastic net", 2005; weight and share are scikit-learn's alpha and
l1_ratio.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from gradlearn.errors import InputTrouble

__all__ = ["ElasticNet"]


class ElasticNet:
    """Called with the model: a number to add to the mean loss.

    Args:
        weight: of the penalty, at least 0.
        share: of L1 in it, in [0, 1].
        biases: also biases and the parameters of norms.
    """

    penalty = True
    wants = ("model",)

    def __init__(self, *, weight: float = 1e-5, share: float = 0.5, biases: bool = False) -> None:
        if not 0.0 <= weight < math.inf:
            raise InputTrouble(f"--elastic_net.weight {weight}: must be a finite number of at least 0")
        if not 0.0 <= share <= 1.0:
            raise InputTrouble(f"--elastic_net.share {share}: must be in [0, 1]")
        self.weight, self.share, self.least = weight, share, 1 if biases else 2

    def __call__(self, model: nn.Module) -> Tensor | float:
        """weight * (share * sum |theta| + (1 - share) / 2 * sum theta^2)."""
        one, two = self.share, (1.0 - self.share) / 2
        params = [
            p for p in model.parameters() if p.ndim >= self.least and (p.requires_grad or type(p) is Tensor)
        ]  # or a tensor in its place
        return self.weight * sum(one * p.abs().sum() + two * p.square().sum() for p in params)
