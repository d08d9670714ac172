"""Adadelta: the gradient over the root of its mean square, times the root of the mean square of the steps themselves.

    v <- rho v + (1 - rho) g^2;   d = sqrt((a + eps) / (v + eps)) * g;   a <- rho a + (1 - rho) d^2;   theta <- theta - lr * d

Zeiler, "ADADELTA: an adaptive learning rate method", 2012. A step has theta's units, so that lr 1 fits any scale; slow to set off
(the steps grow from sqrt(eps)). Kept for old recipes; Prodigy and DoG find the scale faster. Two numbers of state for each
parameter.
"""

from __future__ import annotations

from typing import Any, ClassVar

from gradlearn.optimizer import Elementwise
from gradlearn.sweep import lerp, sqrt

__all__ = ["Adadelta"]


def adadelta(p: Any, v: Any, a: Any, g: Any, decay: float, new: float, eps: float, lr: float) -> tuple[Any, ...]:
    """One coordinate of theta, of the mean square of gradients and of steps."""
    g = g + decay * p
    v = lerp(v, g * g, new)
    d = sqrt((a + eps) / (v + eps)) * g
    return p - lr * d, v, lerp(a, d * d, new)


class Adadelta(Elementwise):
    """torch's Adadelta, to rounding; two numbers of state for each parameter.

    Args:
        params: tensors or groups of them.
        lr: factor on the steps, above 0; 1 is the method.
        rho: memory of both squares, in [0, 1).
        eps: added to both squares, above 0; the first steps are as long as its root.
        weight_decay: added to the gradient as weight_decay * theta.
    """

    formula, states = staticmethod(adadelta), ("square_avg", "acc_delta")
    schedule = ("constant",)
    trial: ClassVar[dict[str, float]] = {"lr": 1.0, "eps": 1e-2}

    def __init__(self, params: Any, *, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay})

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """Decay, what is new in a mean, eps, rate."""
        return group["weight_decay"], 1.0 - group["rho"], group["eps"], group["lr"]
