"""ASGD: plain descent at a falling rate, and the mean of where it has been.

    eta = lr / (1 + fall lr (t - 1))^power;   theta <- theta (1 - fall eta) - eta g
    mean <- mean + (theta - mean) / max(1, t - 1 - after)

Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992. For convex problems with noise, where the mean is
as good as can be; `shown` shows it. One number of state for each parameter.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, ClassVar

from gradlearn.optimizer import Elementwise
from gradlearn.sweep import lerp

__all__ = ["ASGD"]


def asgd(p: Any, mean: Any, g: Any, decay: float, keep: float, eta: float, share: float) -> tuple[Any, ...]:
    """One coordinate of theta and of the mean of where it has been."""
    p = p * keep - eta * (g + decay * p)
    return p, lerp(mean, p, share)


class ASGD(Elementwise):
    """torch's ASGD, to rounding; one number of state for each parameter.

    Args:
        params: tensors or groups of them.
        lr: the rate at which it begins, above 0.
        fall: how fast the rate falls, and theta with it, at least 0.
        power: the power of the fall, 0 to 1.
        after: the mean begins after so many steps.
        weight_decay: added to the gradient as weight_decay * theta.
    """

    formula, states = staticmethod(asgd), ("mean",)
    schedule = ("constant",)
    trial: ClassVar[dict[str, float]] = {"lr": 0.3, "after": 1}

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-2,
        fall: float = 1e-4,
        power: float = 0.75,
        after: int = 100,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "fall": fall, "power": power, "after": after, "weight_decay": weight_decay})

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """Decay, what the fall leaves of theta, the rate, and the share of this step in the mean."""
        t, lr, fall = group["step"], group["lr"], group["fall"]
        eta = lr / (1.0 + fall * lr * (t - 1)) ** group["power"]
        return group["weight_decay"], 1.0 - fall * eta, eta, 1.0 / max(1, t - 1 - group["after"])

    def shown(self) -> AbstractContextManager[None]:
        """Inside, the parameters are the mean; afterwards bitwise as before."""
        begun = {p for group in self.param_groups if group["step"] for p in group["params"]}
        return self.swapped(lambda p: self.state[p]["mean"] if p in begun else p)
