"""AdEMAMix: Adam with a second, slow mean of the gradients, that remembers ten thousand steps.

    m1 <- b1 m1 + (1 - b1) g;   m2 <- b3 m2 + (1 - b3) g;   v <- b2 v + (1 - b2) g^2
    theta <- theta - lr * ((m1 / (1 - b1^t) + alpha m2) / (sqrt(vhat) + eps) + weight_decay * theta)

Pagliardini, Ablin, Grangier, "The AdEMAMix optimizer: better, faster, older", ICLR 2025. For long runs, of ten thousand steps and
more, where it needs fewer than AdamW; in short ones the slow mean has nothing to say. alpha and b3 are warmed up over `warmup`
steps: the whole run, in the paper. Three numbers of state for each parameter.
"""

from __future__ import annotations

import math
from typing import Any

from gradlearn.optimizer import Elementwise
from gradlearn.sweep import lerp, sqrt

__all__ = ["AdEMAMix"]


def ademamix(
    p: Any,
    m: Any,
    slow: Any,
    v: Any,
    g: Any,
    keep: float,
    a1: float,
    a2: float,
    a3: float,
    fast: float,
    mix: float,
    root: float,
    eps: float,
) -> tuple[Any, ...]:
    """One coordinate of theta, of both means and of the square."""
    m, slow, v = lerp(m, g, a1), lerp(slow, g, a3), lerp(v, g * g, a2)
    return p * keep - (fast * m + mix * slow) / (sqrt(v) * root + eps), m, slow, v


class AdEMAMix(Elementwise):
    """Three numbers of state for each parameter.

    Args:
        params: tensors or groups of them.
        lr: peak learning rate, above 0.
        betas: memory of the fast mean, of the square and of the slow mean, each in [0, 1).
        alpha: weight of the slow mean beside the fast one's 1, at least 0.
        warmup: steps over which alpha grows from 0 and the slow memory from the fast one's; 0 = none.
        eps: added to the root of the square, above 0.
        weight_decay: pull towards zero, as a share of `lr` a step.
    """

    formula, states = staticmethod(ademamix), ("exp_avg", "exp_avg_slow", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        alpha: float = 8.0,
        warmup: int = 10000,
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "alpha": alpha, "warmup": warmup, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """What decay leaves, memories, what both means weigh in the step, the square's bias, eps."""
        (b1, b2, b3), t, lr = group["betas"], group["step"], group["lr"]
        alpha = group["alpha"]
        if t < group["warmup"]:
            share = t / group["warmup"]
            alpha *= share
            b3 = _memory((1.0 - share) * _steps(b1) + share * _steps(b3))
        keep, root = 1.0 - lr * group["weight_decay"], (1.0 - b2**t) ** -0.5
        return keep, 1.0 - b1, 1.0 - b2, 1.0 - b3, lr / (1.0 - b1**t), lr * alpha, root, group["eps"]


def _steps(memory: float) -> float:
    """After how many steps a gradient's weight is half, less one."""
    return math.log(0.5) / math.log(memory + 1e-8) - 1.0


def _memory(steps: float) -> float:
    """The inverse of `_steps`."""
    return 0.5 ** (1.0 / (steps + 1.0))
