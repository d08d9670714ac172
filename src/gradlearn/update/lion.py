"""Lion: the sign of a momentum, so that every coordinate moves by the same amount.

    u = sign(b1 m + (1 - b1) g);   theta <- theta - lr * (u + weight_decay * theta);   m <- b2 m + (1 - b2) g

Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023. Half the state of AdamW, one number for each parameter;
wants a rate about five times smaller, and a weight decay that is larger by as much.
"""

from __future__ import annotations

from typing import Any

from gradlearn.optimizer import Elementwise
from gradlearn.sweep import lerp, sign

__all__ = ["Lion"]


def lion(p: Any, m: Any, g: Any, b1: float, b2: float, lr: float, keep: float) -> tuple[Any, ...]:
    """One coordinate of theta and of its momentum."""
    return p * keep - lr * sign(lerp(g, m, b1)), lerp(g, m, b2)


class Lion(Elementwise):
    """One number of state for each parameter.

    Args:
        params: tensors or groups of them.
        lr: peak learning rate, above 0.
        betas: memory of the direction and of the momentum, each in [0, 1).
        weight_decay: pull towards zero, as a share of `lr` a step.
    """

    formula, states = staticmethod(lion), ("exp_avg",)

    def __init__(
        self, params: Any, *, lr: float = 4e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.25
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """Memories, rate, and what decay leaves of theta."""
        return *group["betas"], group["lr"], 1.0 - group["lr"] * group["weight_decay"]
