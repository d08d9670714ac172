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

HALF = (torch.bfloat16, torch.float16)


def plain(p: Any, g: Any, decay: float, lr: float, _: float) -> tuple[Any, ...]:
    """One coordinate of theta."""
    return (p - lr * (g + decay * p),)


def heavy_ball(p: Any, m: Any, g: Any, decay: float, lr: float, momentum: float) -> tuple[Any, ...]:
    """One coordinate of theta and momentum."""
    m = momentum * m + (g + decay * p)
    return p - lr * m, m


def nesterov(p: Any, m: Any, g: Any, decay: float, lr: float, momentum: float) -> tuple[Any, ...]:
    """The same, looking a step ahead."""
    g = g + decay * p
    m = momentum * m + g
    return p - lr * (g + momentum * m), m


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

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """torch's own; its fused kernel (2.13) leaves half-precision tensors on a processor as they are: not for them."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if group.get("fused") and any(p.dtype in HALF and p.device.type == "cpu" for p in group["params"]):
            group["fused"] = False

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

    def writable(self) -> bool:
        """As torch's fused kernel: no dampening, downhill."""
        return not any(group["dampening"] or group["maximize"] for group in self.param_groups)

    def write(self, pen: Any) -> None:
        """A step, with the pen of a program."""
        for i, group in enumerate(self.param_groups):
            momentum, formula = group["momentum"], nesterov if group["nesterov"] else heavy_ball if group["momentum"] else plain
            given = pen.numbers(
                lambda i=i: self.param_groups[i], lambda g, _, lr: (g["weight_decay"], lr, g["momentum"]), lambda: 0
            )
            for p in group["params"]:
                pen.walk(formula, p, [lambda p=p: self._buffer(p)] if momentum else [], given)

    def _buffer(self, p: torch.Tensor) -> torch.Tensor:
        state = self.state[p]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        return state["momentum_buffer"]
