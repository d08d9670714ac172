"""A multilayer perceptron: for tables, small vectors, and as the smallest thing that learns.

    h_0 = x,   h_i = relu(W_i h_{i-1} + b_i),   out = W h_last + b

Rumelhart, Hinton, Williams 1986. Weights start as He et al., arXiv 1502.01852: N(0, 2 / fan in), so that the mean
square of h stays the same through the rectifiers; biases start at 0, and the last layer small, so that a new network
is sure of nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from gradlearn.errors import InputTrouble

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MLP"]


class MLP(nn.Module):
    """(n, inputs) float -> (n, outputs): linear layers with rectifiers between them, none after the last.

    Args:
        inputs: width of x.
        outputs: width of the answer: classes, or targets.
        hidden: widths of the layers between; () is a linear model.

    Raises:
        InputTrouble: a width below 1.
    """

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        widths = [inputs, *hidden, outputs]
        if min(widths) < 1:
            raise InputTrouble(f"MLP {widths}: every width must be at least 1; drop the layer or widen it")
        layers = [nn.Linear(i, o) for i, o in itertools.pairwise(widths)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            layers[-1].weight.mul_(0.1)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, inputs); returns (n, outputs)."""
        *hidden, last = self.layers
        for layer in hidden:
            x = layer(x).relu()
        return last(x)
