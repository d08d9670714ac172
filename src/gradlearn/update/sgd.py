"""SGD with momentum: the equation itself, u(g) = g averaged over the last steps.

    m <- momentum m + g;   theta <- theta - lr * (g + momentum m)        (Nesterov)

Robbins, Monro 1951; Nesterov 1983; Sutskever et al., ICML 2013. Best understood, and with a well chosen rate the best on many
convolutional networks; needs that rate more than any other. One number of state for each parameter.
"""

from __future__ import annotations

from typing import Any

import torch

from gradlearn.optimizer import Light

__all__ = ["SGD"]


class SGD(Light, torch.optim.SGD):
    """torch's own SGD, its fused kernel where the tensors allow it.

    Args:
        params: tensors or groups of them.
        lr: peak learning rate, above 0.
        momentum: memory of past gradients in [0, 1); 0 is plain gradient descent.
        nesterov: look one step ahead; needs momentum.
        weight_decay: added to the gradient as weight_decay * theta.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.05,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 5e-4,
    ) -> None:
        super().__init__(
            params, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0, weight_decay=weight_decay, fused=True
        )

    def update(self) -> None:
        """torch's step; a momentum that is not there yet is 0, also where another tensor has one already."""
        for group in self.param_groups:
            for p in self.moving(group):
                if group["momentum"] and self.state[p].get("momentum_buffer") is None:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        super().update()
