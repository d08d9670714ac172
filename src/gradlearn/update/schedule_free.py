"""Schedule-free AdamW: the rate stays, the mean of where it has been does what a falling rate would.

    y = (1 - b1) z + b1 x        (the weights in training; g is taken there)
    z <- z - lr * (g / (sqrt(vhat) + eps) + weight_decay * y);   x <- (1 - c) x + c z,   c = lr_max^2 / sum lr_max^2

Defazio et al., "The road less scheduled", NeurIPS 2024: first in AlgoPerf's self-tuning track. Where the length of the run is not
known; where it is, AdamW with a rate that falls to zero is as good. What is scored and kept is x: `shown` shows it, and BatchNorm's
statistics have to be taken again there. Settings are those of the second AlgoPerf submission: no weights by count, decay at y.
Two numbers of state for each parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.optimizer import Elementwise
from gradlearn.sweep import lerp, sqrt

__all__ = ["ScheduleFree"]


def schedule_free(
    y: Any, z: Any, v: Any, g: Any, a2: float, root: float, eps: float, decay: float, c: float, ahead: float, lr: float
) -> tuple[Any, ...]:
    """One coordinate of y, of z and of the square; x is not kept, it follows from y and z."""
    v = lerp(v, g * g, a2)
    u = g / (sqrt(v) * root + eps) + decay * y
    return lerp(y, z, c) - ahead * u, z - lr * u, v


class ScheduleFree(Elementwise):
    """Two numbers of state for each parameter; `shown` lends one more.

    Args:
        params: tensors or groups of them.
        lr: learning rate, above 0: one to ten times AdamW's.
        betas: where between z and x the gradient is taken, in (0, 1), and memory of the square.
        eps: added to the root of the square, above 0.
        weight_decay: pull towards zero, as a share of `lr` a step.
        warmup: steps over which the rate grows from 0.
        power: weight of a step in the mean, as a power of the largest rate so far.
        count: weight of a step in the mean, as a power of its number.
    """

    formula, states = staticmethod(schedule_free), ("z", "exp_avg_sq")
    schedule = ("constant",)
    trial: ClassVar[dict[str, float]] = {"lr": 0.1, "warmup": 5}

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.9955),
        eps: float = 1e-8,
        weight_decay: float = 0.08,
        warmup: int = 100,
        power: float = 2.0,
        count: float = 0.0,
    ) -> None:
        if not betas[0] > 0.0:
            raise InputTrouble(f"--schedule_free.betas {betas}: the first must be in (0, 1)")
        numbers = {"warmup": warmup, "power": power, "count": count, "lr_max": 0.0, "weight": 0.0, "weights": 0.0, "counted": 0}
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay} | numbers)

    def moved(self, group: dict[str, Any]) -> Iterator[tuple[int, list[Tensor], list[Tensor]]]:
        """As ever; z begins where the parameters are at the first step."""
        for late, params, grads in super().moved(group):
            if group["step"] - late == 1:
                for p, z in zip(params, *self.columns(params, "z"), strict=True):
                    z.copy_(p.detach())
            yield 0, params, grads

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """Memory, bias, eps, decay, the share of z in x, how far y goes along, the rate."""
        (b1, b2), t = group["betas"], group["step"]
        lr = group["lr"] * min(1.0, t / max(group["warmup"], 1))
        if group["counted"] != t:  # tensors that missed steps make several passes of one step
            group["counted"] = t
            group["lr_max"] = max(lr, group["lr_max"])
            group["weight"] = t ** group["count"] * group["lr_max"] ** group["power"]
            group["weights"] += group["weight"]
        c = group["weight"] / group["weights"] if group["weights"] else 0.0
        ahead = lr * (1.0 - b1 * (1.0 - c))
        return 1.0 - b2, (1.0 - b2**t) ** -0.5, group["eps"], group["weight_decay"], c, ahead, lr

    def shown(self) -> AbstractContextManager[None]:
        """Inside, the parameters are x; afterwards bitwise y, as before."""
        memory = {p: group["betas"][0] for group in self.param_groups if group["step"] for p in group["params"]}
        return self.swapped(lambda p: torch.lerp(p, self.state[p]["z"], 1.0 - 1.0 / memory[p]) if p in memory else p)
