"""RAdam: Adam whose first steps are not scaled by squares that it has hardly seen: a warm-up made of arithmetic.

    r = sqrt((rho_t - 4)(rho_t - 2) rho / ((rho - 4)(rho - 2) rho_t)),   rho_t = rho - 2 t b2^t / (1 - b2^t),   rho = 2/(1 - b2) - 1
    theta <- theta - lr * (mhat * r / sqrt(vhat) + weight_decay * theta)     where rho_t > 5, else   mhat without a scale

Liu et al., "On the variance of the adaptive learning rate and beyond", ICLR 2020. Where a warm-up of the rate is not wanted; else
AdamW or NAdam with one. Two numbers of state for each parameter.
"""

from __future__ import annotations

from typing import Any

from gradlearn.optimizer import Elementwise
from gradlearn.sweep import lerp, sqrt

__all__ = ["RAdam"]


def radam(
    p: Any, m: Any, v: Any, g: Any, keep: float, a1: float, a2: float, eps: float, plain: float, scaled: float
) -> tuple[Any, ...]:
    """One coordinate of theta, of the mean and of the square; one of `plain` and `scaled` is 0."""
    m, v = lerp(m, g, a1), lerp(v, g * g, a2)
    return p * keep - m * (plain + scaled / (sqrt(v) + eps)), m, v


class RAdam(Elementwise):
    """torch's RAdam with decoupled weight decay, to rounding; two numbers of state for each parameter.

    Args:
        params: tensors or groups of them.
        lr: peak learning rate, above 0.
        betas: memory of the mean and of the square, each in [0, 1).
        eps: added to the root of the square, above 0.
        weight_decay: pull towards zero, as a share of `lr` a step.
    """

    formula, states = staticmethod(radam), ("exp_avg", "exp_avg_sq")
    schedule = ("linear",)

    adaptive = True  # steps of about lr in every coordinate: the plan has a rule for it

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.05,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """What decay leaves, memories, and the length of a step with or without the scale."""
        (b1, b2), t, lr = group["betas"], group["step"], group["lr"]
        bias1, bias2 = 1.0 - b1**t, 1.0 - b2**t
        most = 2.0 / (1.0 - b2) - 1.0
        rho = most - 2.0 * t * b2**t / bias2
        plain, scaled = lr / bias1, 0.0
        if rho > 5.0:
            r = ((rho - 4.0) * (rho - 2.0) * most / ((most - 4.0) * (most - 2.0) * rho)) ** 0.5
            plain, scaled = 0.0, lr / bias1 * r * bias2**0.5
        return 1.0 - lr * group["weight_decay"], 1.0 - b1, 1.0 - b2, group["eps"], plain, scaled
