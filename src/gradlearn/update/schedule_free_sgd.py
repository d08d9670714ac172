"""Schedule-free SGD: the rate stays, the mean of where it has been does what a falling rate would.

    y = (1 - b) z + b x        (the weights in training; g is taken there)
    z <- z - lr * (g + weight_decay * y);   x <- (1 - c) x + c z,   c = lr_max^2 / sum lr_max^2

Defazio et al., "The road less scheduled", NeurIPS 2024. For convolutional networks whose run has no known length; wants a rate
ten to fifty times that of SGD with momentum. What is scored and kept is x: `shown` shows it, and BatchNorm's statistics have to be
taken again there. One number of state for each parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.optimizer import Elementwise
from gradlearn.sweep import lerp

__all__ = ["ScheduleFreeSGD"]


def schedule_free_sgd(y: Any, z: Any, g: Any, decay: float, c: float, ahead: float, lr: float) -> tuple[Any, ...]:
    """One coordinate of y and of z; x is not kept, it follows from them."""
    g = g + decay * y
    return lerp(y, z, c) - ahead * g, z - lr * g


class ScheduleFreeSGD(Elementwise):
    """One number of state for each parameter; `shown` lends one more.

    Args:
        params: tensors or groups of them.
        lr: learning rate, above 0: ten to fifty times that of SGD with momentum.
        momentum: where between z and x the gradient is taken, in (0, 1).
        weight_decay: added to the gradient as weight_decay * y.
        warmup: steps over which the rate grows from 0.
        power: weight of a step in the mean, as a power of the largest rate so far.
        count: weight of a step in the mean, as a power of its number.
    """

    formula, states = staticmethod(schedule_free_sgd), ("z",)
    schedule = ("constant",)
    trial: ClassVar[dict[str, float]] = {"lr": 0.3, "warmup": 5}

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        warmup: int = 100,
        power: float = 2.0,
        count: float = 0.0,
    ) -> None:
        if not momentum > 0.0:
            raise InputTrouble(f"--schedule_free_sgd.momentum {momentum}: must be in (0, 1)")
        numbers = {"warmup": warmup, "power": power, "count": count, "lr_max": 0.0, "weight": 0.0, "weights": 0.0, "counted": 0}
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay} | numbers)

    def moved(self, group: dict[str, Any]) -> Iterator[tuple[int, list[Tensor], list[Tensor]]]:
        """As ever; z begins where the parameters are at the first step."""
        for late, params, grads in super().moved(group):
            if group["step"] - late == 1:
                for p, z in zip(params, *self.columns(params, "z"), strict=True):
                    z.copy_(p.detach())
            yield 0, params, grads

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """Decay, the share of z in x, how far y goes along, the rate."""
        t = group["step"]
        lr = group["lr"] * min(1.0, t / max(group["warmup"], 1))
        if group["counted"] != t:  # tensors that missed steps make several passes of one step
            group["counted"] = t
            group["lr_max"] = max(lr, group["lr_max"])
            group["weight"] = t ** group["count"] * group["lr_max"] ** group["power"]
            group["weights"] += group["weight"]
        c = group["weight"] / group["weights"] if group["weights"] else 0.0
        return group["weight_decay"], c, lr * (1.0 - group["momentum"] * (1.0 - c)), lr

    def shown(self) -> AbstractContextManager[None]:
        """Inside, the parameters are x; afterwards bitwise y, as before."""
        memory = {p: group["momentum"] for group in self.param_groups if group["step"] for p in group["params"]}
        return self.swapped(lambda p: torch.lerp(p, self.state[p]["z"], 1.0 - 1.0 / memory[p]) if p in memory else p)
