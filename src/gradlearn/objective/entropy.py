"""Entropy: how undecided the outputs are, rewarded; no class gets all of the probability.

    R_i = -weight H(p_i),   H(p) = -sum_k p_k log p_k,   p = softmax(output)

Pereyra et al., "Regularizing neural networks by penalizing confident output distributions", ICLR 2017 workshop. Like label
smoothing, but strongest where the model is surest. The loss may go below zero: not with updates that take zero for its lowest
value.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gradlearn.errors import InputTrouble

__all__ = ["Entropy"]


class Entropy:
    """Called with outputs (n, K) or (n, K, ...), or (n,) and (n, 1) of a two-class model: (n,), to add to each loss.

    Args:
        weight: of the penalty, at least 0.
    """

    penalty = True
    wants = ("output",)

    def __init__(self, *, weight: float = 0.1) -> None:
        if not 0.0 <= weight < math.inf:
            raise InputTrouble(f"--entropy.weight {weight}: must be a finite number of at least 0")
        self.weight = weight

    def __call__(self, output: Tensor) -> Tensor:
        """(n,) minus weight * entropy, in nats; the mean over what follows the classes (tokens, places)."""
        if not isinstance(output, Tensor):
            raise InputTrouble(f"--penalty entropy: needs scores of classes as the model's output, not {type(output).__name__}")
        if output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1):
            output = torch.stack([torch.zeros_like(output.reshape(-1)), output.reshape(-1)], 1)
        logp = F.log_softmax(output, 1)
        negative = (logp.exp() * logp).sum(1)
        return self.weight * (negative if negative.ndim == 1 else negative.flatten(1).mean(1))
