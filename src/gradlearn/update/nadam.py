"""NAdam: Adam that looks one step ahead with its momentum (Nesterov), with decoupled weight decay.

    u = ((1 - b1_t) g + b1_{t+1} m) / bias,   theta <- theta - lr * (u / (sqrt(vhat) + eps) + weight_decay * theta)

Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016. The baseline of AlgoPerf's self-tuning rules; a little
more robust to the learning rate than AdamW. Two numbers of state for each parameter.
"""

from __future__ import annotations

from typing import Any

import torch

from gradlearn.optimizer import Light

__all__ = ["NAdam"]


class NAdam(Light, torch.optim.NAdam):
    """torch's own NAdam with decoupled weight decay.

    Args:
        params: tensors or groups of them.
        lr: peak learning rate, above 0.
        betas: memory of the mean and of the square, each in [0, 1).
        eps: added to the root of the square, above 0.
        weight_decay: pull towards zero, as a share of `lr` a step.
        momentum_decay: how fast the look-ahead sets in.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.05,
        momentum_decay: float = 4e-3,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
            decoupled_weight_decay=True,
        )
