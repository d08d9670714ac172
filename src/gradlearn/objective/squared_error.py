"""Squared error: the distance between output and target, squared.

    total_i = sum_j (output_ij - target_ij)^2,   count_i = number of outputs

The loss of regression with noise of one size; Legendre 1805. Shapes that differ by axes of length 1, as (n,) and (n, 1) do,
are aligned; any other difference between output and target is refused, because it would broadcast into something else.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Losses

__all__ = ["SquaredError"]


class SquaredError:
    """Unreduced squared error."""

    def __call__(self, output: Tensor, target: Tensor) -> Losses:
        """Losses of n examples."""
        target = align(output, target).to(output.dtype)
        total = (output - target).square()
        count = torch.full(total.shape[:1], float(total[0].numel() if total.shape[0] else 1), device=total.device)
        return Losses(total if total.ndim == 1 else total.flatten(1).sum(1), count)


def align(output: Tensor, target: Tensor) -> Tensor:
    """The target in the output's shape if they differ by axes of length 1; InputTrouble where they would broadcast wrongly."""
    if output.shape == target.shape:
        return target
    wide, other = ([k for k in t.shape[1:] if k != 1] for t in (output, target))
    if output.shape[:1] == target.shape[:1] and wide == other:
        return target.reshape(output.shape)
    raise InputTrouble(
        f"loss: the model's output has shape {tuple(output.shape)} and the target {tuple(target.shape)}; give them the same shape"
    )
