"""Input gradient: how fast the loss of an example changes with its input, squared.

    R_i = weight ||d total_i / d x_i||^2

Drucker, LeCun, "Double backpropagation", 1992; Ross, Doshi-Velez, AAAI 2018. Flat around the examples, so small changes of
the input change little. About three times the cost of a step: it is differentiated twice, which attention, convolutions and
recurrent layers all allow on a processor. Through a BatchNorm each example also has a say in the others' losses, and the
penalty sees that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble

__all__ = ["InputGradient"]


class InputGradient:
    """Called with inputs that require gradients and the losses (n,) computed from them: (n,), to add to each loss.

    Args:
        weight: of the penalty, at least 0; in units of the inputs squared.
    """

    penalty = True
    wants = ("x", "total")

    def __init__(self, *, weight: float = 0.01) -> None:
        if not 0.0 <= weight < math.inf:
            raise InputTrouble(f"--input_gradient.weight {weight}: must be a finite number of at least 0")
        self.weight = weight

    def __call__(self, x: Tensor | Sequence[Tensor], total: Tensor) -> Tensor:
        """(n,) weight * squared norm of each example's slope."""
        leaves = [x] if isinstance(x, Tensor) else list(x)
        if not total.requires_grad:
            raise InputTrouble("--penalty input_gradient: the loss does not depend on its inputs; leave it out")
        slopes = torch.autograd.grad(total.sum(), leaves, create_graph=True, allow_unused=True)
        squares = [g.reshape(len(g), -1).square().sum(1) for g in slopes if g is not None]
        return self.weight * sum(squares, torch.zeros_like(total))
