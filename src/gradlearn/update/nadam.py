"""NAdam: Adam that looks one step ahead with its momentum (Nesterov), with decoupled weight decay.

    u = ((1 - b1_t) g + b1_{t+1} m) / bias,   theta <- theta - lr * (u / (sqrt(vhat) + eps) + weight_decay * theta)

Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016. The baseline of AlgoPerf's self-tuning rules; a little
more robust to the learning rate than AdamW. Two numbers of state for each parameter.
"""

from __future__ import annotations

from typing import Any

from gradlearn.optimizer import Elementwise
from gradlearn.sweep import lerp, sqrt

__all__ = ["NAdam"]


def nadam(
    p: Any, m: Any, v: Any, g: Any, keep: float, a1: float, a2: float, root: float, eps: float, now: float, ahead: float
) -> tuple[Any, ...]:
    """One coordinate of theta, of the mean and of the square."""
    m, v = lerp(m, g, a1), lerp(v, g * g, a2)
    return p * keep - (now * g + ahead * m) / (sqrt(v) * root + eps), m, v


class NAdam(Elementwise):
    """torch's NAdam with decoupled weight decay, to rounding; two numbers of state for each parameter.

    Args:
        params: tensors or groups of them.
        lr: peak learning rate, above 0.
        betas: memory of the mean and of the square, each in [0, 1).
        eps: added to the root of the square, above 0.
        weight_decay: pull towards zero, as a share of `lr` a step.
        momentum_decay: how fast the look-ahead sets in.
    """

    formula, states = staticmethod(nadam), ("exp_avg", "exp_avg_sq")

    adaptive = True  # steps of about lr in every coordinate: the plan has a rule for it

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
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay}
        super().__init__(params, defaults)

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """What decay leaves, memories, biases, and how much of gradient and mean make the step."""
        (b1, b2), t, lr = group["betas"], group["step"], group["lr"]
        now, after = (b1 * (1.0 - 0.5 * 0.96 ** (s * group["momentum_decay"])) for s in (t, t + 1))
        past = product(b1, group["momentum_decay"], t)
        root = (1.0 - b2**t) ** -0.5
        ahead = lr * after / (1.0 - past * after)
        return 1.0 - lr * group["weight_decay"], 1.0 - b1, 1.0 - b2, root, group["eps"], lr * (1.0 - now) / (1.0 - past), ahead


def product(b1: float, decay: float, t: int) -> float:
    """The product of the momenta of steps 1 to t; 0 once it does not differ from it beside 1."""
    past = 1.0
    for s in range(1, t + 1):
        past *= b1 * (1.0 - 0.5 * 0.96 ** (s * decay))
        if past < 1e-18:
            return 0.0
    return past
