"""Rprop: only the sign of the gradient, and a step for each coordinate that grows while the sign stays and shrinks where it turns.

    step <- clamp(step * (up if g g_before > 0 else down if g g_before < 0), least, most);   theta <- theta - step * sign(g)

Riedmiller, Braun, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm", 1993. For the whole data in
one batch and no noise, whatever the scales of the coordinates; with mini-batches the signs are noise, and AdamW is the way. Two
numbers of state for each parameter.
"""

from __future__ import annotations

from typing import Any

import torch

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

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A group of parameters; its `lr` is the first step of each coordinate."""
        super().add_param_group(param_group)
        for p in self.param_groups[-1]["params"]:
            self.state[p]["step_size"].fill_(self.param_groups[-1]["lr"])

    def begin(self, p: torch.Tensor) -> dict[str, torch.Tensor]:
        """No gradient yet, and the first step."""
        super().begin(p)["step_size"].fill_(self.defaults["lr"])
        return self.state[p]

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """Factors, bounds, zero, decay."""
        return *group["etas"], *group["steps"], 0.0, group["weight_decay"]
