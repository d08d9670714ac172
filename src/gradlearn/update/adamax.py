"""Adamax: Adam with the largest recent gradient in place of the root of the mean square.

    m <- b1 m + (1 - b1) g;   s <- max(b2 s, |g| + eps);   theta <- theta - lr / (1 - b1^t) * m / s

Kingma, Ba, "Adam", ICLR 2015, section 7. Steps are bounded by lr; steadier than Adam where single gradients are huge (embeddings),
slower where they are not. Two numbers of state for each parameter.
"""

from __future__ import annotations

from typing import Any

from gradlearn.optimizer import Elementwise
from gradlearn.sweep import absolute, lerp, maximum

__all__ = ["Adamax"]


def adamax(p: Any, m: Any, s: Any, g: Any, decay: float, a1: float, b2: float, eps: float, rate: float) -> tuple[Any, ...]:
    """One coordinate of theta, of the mean and of the largest."""
    g = g + decay * p
    m, s = lerp(m, g, a1), maximum(b2 * s, absolute(g) + eps)
    return p - (rate * m) / s, m, s


class Adamax(Elementwise):
    """torch's Adamax, to rounding; two numbers of state for each parameter.

    Args:
        params: tensors or groups of them.
        lr: peak learning rate, above 0.
        betas: memory of the mean and of the largest, each in [0, 1).
        eps: added to the size of a gradient, above 0.
        weight_decay: added to the gradient as weight_decay * theta.
    """

    formula, states = staticmethod(adamax), ("exp_avg", "exp_inf")

    adaptive = True  # steps of about lr in every coordinate: the plan has a rule for it

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """Decay, memories, eps, the rate with its bias corrected."""
        b1, b2 = group["betas"]
        return group["weight_decay"], 1.0 - b1, b2, group["eps"], group["lr"] / (1.0 - b1 ** group["step"])
