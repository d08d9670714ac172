"""L2: half the sum of squared weights; all of them are smaller.

    R = weight / 2 sum theta^2,   grad R = weight theta

Hoerl, Kennard, "Ridge regression", 1970. The same as weight decay under plain gradient descent only: updates that scale each
coordinate scale this pull too (Loshchilov, Hutter, "Decoupled weight decay", ICLR 2019). With AdamW and its kin take their
`weight_decay`.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from gradlearn.errors import InputTrouble

__all__ = ["L2"]


class L2:
    """Called with the model: a number to add to the mean loss.

    Args:
        weight: of the penalty, at least 0.
        biases: also biases and the parameters of norms.
    """

    penalty = True
    wants = ("model",)

    def __init__(self, *, weight: float = 1e-4, biases: bool = False) -> None:
        if not 0.0 <= weight < math.inf:
            raise InputTrouble(f"--l2.weight {weight}: must be a finite number of at least 0")
        self.weight, self.least = weight, 1 if biases else 2

    def __call__(self, model: nn.Module) -> Tensor | float:
        """weight / 2 * sum theta^2."""
        params = [
            p for p in model.parameters() if p.ndim >= self.least and (p.requires_grad or type(p) is Tensor)
        ]  # or a tensor in its place
        return self.weight / 2 * sum(p.square().sum() for p in params)
