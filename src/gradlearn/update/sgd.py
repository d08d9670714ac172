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
        self._step_supports_amp_scaling = False  # a GradScaler shall undo its scale itself

    def update(self) -> None:
        """torch's step; a momentum that is not there yet is 0, also where another tensor has one already."""
        moving = [self.moving(group) for group in self.param_groups]
        buffers = [
            [self._buffer(p) for p in params] if group["momentum"] else []
            for group, params in zip(self.param_groups, moving, strict=True)
        ]
        if not all(group["fused"] for group in self.param_groups):
            super().update()
            return
        for group, params, own in zip(self.param_groups, moving, buffers, strict=True):
            if params:
                torch._fused_sgd_(  # pyright: ignore[reportPrivateImportUsage]
                    params,
                    [p.grad for p in params if p.grad is not None],
                    own,
                    weight_decay=group["weight_decay"],
                    momentum=group["momentum"],
                    lr=group["lr"],
                    dampening=group["dampening"],
                    nesterov=group["nesterov"],
                    maximize=group["maximize"],
                    is_first_step=False,
                )

    def _buffer(self, p: torch.Tensor) -> torch.Tensor:
        state = self.state[p]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        return state["momentum_buffer"]
