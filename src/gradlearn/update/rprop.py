"""Rprop: only the sign of the gradient, and a step for each coordinate that grows while the sign stays and shrinks where it turns.

    step <- clamp(step * (up if g g_before > 0 else down if g g_before < 0), least, most);   theta <- theta - step * sign(g)

Riedmiller, Braun, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm", 1993. For the whole data in
one batch and no noise, whatever the scales of the coordinates; with mini-batches the signs are noise, and AdamW is the way. Two
numbers of state for each parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.optimizer import Elementwise
from gradlearn.sweep import maximum, minimum, sign, where

__all__ = ["Rprop"]


def rprop(
    p: Any, before: Any, step: Any, g: Any, down: float, up: float, least: float, most: float, zero: float, decay: float
) -> tuple[Any, ...]:
    """One coordinate of theta, of its last gradient and of its step."""
    g = g + decay * p
    turn = g * before
    step = where(turn > zero, minimum(step * up, most), where(turn < zero, maximum(step * down, least), step))
    g = where(turn < zero, g * zero, g)
    return p - sign(g) * step, g, step


class Rprop(Elementwise):
    """torch's Rprop, to rounding; two numbers of state for each parameter.

    Args:
        params: tensors or groups of them.
        lr: the step with which every coordinate begins, above 0.
        etas: factors where the sign turns (below 1) and where it stays (above 1).
        steps: the least and the largest step.
        weight_decay: added to the gradient as weight_decay * theta.
    """

    formula, states = staticmethod(rprop), ("prev", "step_size")
    schedule = ("constant",)

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        steps: tuple[float, float] = (1e-6, 50.0),
        weight_decay: float = 0.0,
    ) -> None:
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise InputTrouble(f"--rprop.etas {etas}: must be a number below 1 and one above")
        super().__init__(params, {"lr": lr, "etas": etas, "steps": steps, "weight_decay": weight_decay})

    def moved(self, group: dict[str, Any]) -> Iterator[tuple[int, list[Tensor], list[Tensor]]]:
        """As ever; the rate of the first step is the length of each coordinate's."""
        for late, params, grads in super().moved(group):
            if group["step"] - late == 1:
                for length in self.columns(params, "step_size")[0]:
                    length.fill_(group["lr"])
            yield late, params, grads

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """Factors, bounds, zero, decay."""
        return *group["etas"], *group["steps"], 0.0, group["weight_decay"]
