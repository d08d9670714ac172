"""L1: the sum of absolute weights; many of them go to zero.

    R = weight sum |theta|

Tibshirani, "Regression shrinkage and selection via the lasso", 1996. Gradient steps bring weights near zero, not onto it:
they swing around it by the learning rate; cut off what is below that at the end. For few inputs of many; `group_lasso`
removes whole neurons.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from gradlearn.errors import InputTrouble

__all__ = ["L1"]


class L1:
    """Called with the model: a number to add to the mean loss.

    Args:
        weight: of the penalty, at least 0.
        biases: also biases and the parameters of norms.
    """

    penalty = True
    wants = ("model",)

    def __init__(self, *, weight: float = 1e-5, biases: bool = False) -> None:
        if not 0.0 <= weight < math.inf:
            raise InputTrouble(f"--l1.weight {weight}: must be a finite number of at least 0")
        self.weight, self.least = weight, 1 if biases else 2

    def __call__(self, model: nn.Module) -> Tensor | float:
        """weight * sum |theta|."""
        params = [
            p for p in model.parameters() if p.ndim >= self.least and (p.requires_grad or type(p) is Tensor)
        ]  # or a tensor in its place
        return self.weight * sum(p.abs().sum() for p in params)
