"""Adagrad: each coordinate's rate falls with the sum of all its squares so far.

    s <- s + g^2;   theta <- theta - lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + eps)

Duchi, Hazan, Singer, "Adaptive subgradient methods", JMLR 2011. For sparse features and convex, online problems, where it needs no
schedule; networks outlive its rate: AdamW forgets old squares. One number of state for each parameter.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from gradlearn.optimizer import Elementwise
from gradlearn.sweep import sqrt

__all__ = ["Adagrad"]


def adagrad(p: Any, s: Any, g: Any, decay: float, rate: float, eps: float) -> tuple[Any, ...]:
    """One coordinate of theta and of the sum of squares."""
    g = g + decay * p
    s = s + g * g
    return p - (rate * g) / (sqrt(s) + eps), s


class Adagrad(Elementwise):
    """torch's Adagrad, to rounding; one number of state for each parameter.

    Args:
        params: tensors or groups of them.
        lr: learning rate, above 0.
        lr_decay: how fast the rate falls beside its own fall, at least 0.
        initial: what the sums of squares begin with, at least 0.
        eps: added to the root of the sum, above 0.
        weight_decay: added to the gradient as weight_decay * theta.
    """

    formula, states = staticmethod(adagrad), ("sum",)
    schedule = ("constant",)
    trial: ClassVar[dict[str, float]] = {"lr": 0.3}

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        initial: float = 0.0,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "lr_decay": lr_decay, "initial": initial, "eps": eps, "weight_decay": weight_decay})

    def begin(self, p: torch.Tensor) -> dict[str, torch.Tensor]:
        """The sums as they begin."""
        self.state[p] = {"sum": torch.full_like(p, self.defaults["initial"], memory_format=torch.preserve_format)}
        return self.state[p]

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """Decay, the rate of this step, eps."""
        return group["weight_decay"], group["lr"] / (1.0 + (group["step"] - 1) * group["lr_decay"]), group["eps"]
