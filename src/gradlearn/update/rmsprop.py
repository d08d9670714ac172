"""RMSprop: the gradient over the root of its mean square.

    v <- a v + (1 - a) g^2;   b <- momentum b + g / (sqrt(v) + eps);   theta <- theta - lr * b         (centred: v - mean(g)^2)

Tieleman, Hinton, lecture 6.5, 2012; centred and with momentum: Graves 2013. For reinforcement learning and recurrent networks where
a recipe asks for it; AdamW is the same with biases corrected. One number of state for each parameter, one more with momentum, and
one more if centred.
"""

from __future__ import annotations

from typing import Any

from gradlearn.optimizer import Elementwise
from gradlearn.sweep import lerp, sqrt

__all__ = ["RMSprop"]


def rmsprop(p: Any, v: Any, g: Any, decay: float, a: float, eps: float, lr: float, momentum: float) -> tuple[Any, ...]:
    """One coordinate of theta and of the mean square."""
    g = g + decay * p
    v = lerp(v, g * g, a)
    return p - (lr * g) / (sqrt(v) + eps), v


def heavy(p: Any, v: Any, b: Any, g: Any, decay: float, a: float, eps: float, lr: float, momentum: float) -> tuple[Any, ...]:
    """The same with momentum."""
    g = g + decay * p
    v = lerp(v, g * g, a)
    b = momentum * b + g / (sqrt(v) + eps)
    return p - lr * b, v, b


def centred(p: Any, v: Any, m: Any, g: Any, decay: float, a: float, eps: float, lr: float, momentum: float) -> tuple[Any, ...]:
    """The same around the mean."""
    g = g + decay * p
    v, m = lerp(v, g * g, a), lerp(m, g, a)
    return p - (lr * g) / (sqrt(v - m * m) + eps), v, m


def centred_heavy(
    p: Any, v: Any, m: Any, b: Any, g: Any, decay: float, a: float, eps: float, lr: float, momentum: float
) -> tuple[Any, ...]:
    """The same around the mean, with momentum."""
    g = g + decay * p
    v, m = lerp(v, g * g, a), lerp(m, g, a)
    b = momentum * b + g / (sqrt(v - m * m) + eps)
    return p - lr * b, v, m, b


class RMSprop(Elementwise):
    """torch's RMSprop, to rounding; one to three numbers of state for each parameter.

    Args:
        params: tensors or groups of them.
        lr: peak learning rate, above 0.
        alpha: memory of the squares, in [0, 1).
        momentum: memory of past steps, in [0, 1).
        centred: take the variance in place of the mean square.
        eps: added to the root, above 0.
        weight_decay: added to the gradient as weight_decay * theta.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-3,
        alpha: float = 0.99,
        momentum: float = 0.0,
        centred: bool = False,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.formula = FORMULAS[centred, momentum > 0.0]
        self.states = ("square_avg", *(("grad_avg",) if centred else ()), *(("momentum_buffer",) if momentum > 0.0 else ()))
        super().__init__(params, {"lr": lr, "alpha": alpha, "momentum": momentum, "eps": eps, "weight_decay": weight_decay})

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """Decay, what is new in a mean, eps, rate, momentum."""
        return group["weight_decay"], 1.0 - group["alpha"], group["eps"], group["lr"], group["momentum"]


FORMULAS = {(False, False): rmsprop, (False, True): heavy, (True, False): centred, (True, True): centred_heavy}
