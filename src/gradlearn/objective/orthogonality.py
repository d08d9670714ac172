"""Orthogonality: rows (or columns, whichever are fewer) of every matrix at right angles and of length one.

    R = weight sum_W ||W W^T - I||_F^2

Brock et al., "Neural photo editing with introspective adversarial networks", ICLR 2017; Bansal et al., "Can we gain more from
orthogonality regularizations", arXiv 1810.09102 (their soft orthogonality). Keeps signals and gradients of deep networks from
growing or vanishing; let it fade or leave it out where weight decay pulls the other way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble

__all__ = ["Orthogonality"]


class Orthogonality:
    """Called with the model: a number to add to the mean loss.

    Args:
        weight: of the penalty, at least 0.
    """

    penalty = True
    wants = ("model",)

    def __init__(self, *, weight: float = 1e-4) -> None:
        if not 0.0 <= weight < math.inf:
            raise InputTrouble(f"--orthogonality.weight {weight}: must be a finite number of at least 0")
        self.weight = weight

    def __call__(self, model: nn.Module) -> Tensor | float:
        """weight * sum of ||W W^T - I||^2 over all matrices; a filter is a row."""
        matrices = [
            p.flatten(1) for p in model.parameters() if p.ndim >= 2 and (p.requires_grad or type(p) is Tensor)
        ]  # or a tensor in its place
        return self.weight * sum(_distance(w if w.shape[0] <= w.shape[1] else w.T) for w in matrices)


def _distance(w: Tensor) -> Tensor:
    return (w @ w.T - torch.eye(len(w), dtype=w.dtype, device=w.device)).square().sum()
