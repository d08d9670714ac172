"""Distance: half the squared distance of theta from where it started; for going on from a trained model without leaving it behind.

    R = weight / 2 ||theta - theta_0||^2

Li, Grandvalet, Davoine, "Explicit inductive bias for transfer learning with convolutional networks" (L2-SP), ICML 2018.
theta_0 is one more copy of theta in memory and in every checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble

__all__ = ["Distance"]


class Distance:
    """Called with the model: a number to add to the mean loss. The first model it meets is the start.

    Args:
        weight: of the penalty, at least 0.
    """

    penalty = True
    wants = ("model",)

    def __init__(self, *, weight: float = 0.01) -> None:
        if not 0.0 <= weight < math.inf:
            raise InputTrouble(f"--distance.weight {weight}: must be a finite number of at least 0")
        self.weight = weight
        self.start: list[Tensor] = []

    def begin(self, model: nn.Module) -> None:
        """Take the model as it is for the start."""
        self.start = [p.detach().clone() for p in model.parameters() if p.requires_grad or type(p) is Tensor]

    def __call__(self, model: nn.Module) -> Tensor | float:
        """weight / 2 * ||theta - theta_0||^2."""
        params = [p for p in model.parameters() if p.requires_grad or type(p) is Tensor]  # or a tensor in its place
        if not self.start:
            self.begin(model)
        if [p.shape for p in params] != [s.shape for s in self.start]:
            raise InputTrouble("--penalty distance: the model's parameters are not those it began with; make a new penalty for it")
        return self.weight / 2 * sum((p - s).square().sum() for p, s in zip(params, self.start, strict=True))

    def state(self) -> dict[str, Tensor]:
        """The start."""
        return {str(i): s for i, s in enumerate(self.start)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        kept = self.start or [torch.empty(0)] * len(state)
        self.start = [state[str(i)].to(kept[i].device).clone() for i in range(len(state))]
