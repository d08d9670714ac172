"""EMA: an exponential moving average of the weights, and of the statistics that BatchNorm keeps beside them.

    theta_bar <- d theta_bar + (1 - d) theta,    d = min(decay, (1 + k) / (10 + k)) after k looks

Polyak, Juditsky 1992; Morales-Brotons et al., "Exponential moving average of weights", arXiv 2411.18704: better generalisation and
calibration, most where the rate is not annealed. One more copy of theta in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now
from gradlearn.theta import Theta

__all__ = ["Ema"]


class Ema:
    """Exponential moving average, shown in scores and saved models; theta itself goes on untouched.

    Args:
        decay: weight of the past at one look, in (0, 1).
        every: steps between two looks.
    """

    def __init__(self, theta: Theta, *, decay: float = 0.99, every: int = 1) -> None:
        if not 0.0 < decay < 1.0:
            raise InputTrouble(f"--ema.decay {decay}: must be in (0, 1)")
        self.decay, self.every = decay, max(every, 1)
        self.steps = 0
        self._numbers = [t.is_floating_point() and bool(torch.isfinite(t).all()) for t in theta.buffers()]  # not an infinite mask
        self.mean = [t.clone() for t in self.sources(theta)]

    def begin(self, theta: Theta) -> None:
        """Start anew from theta as it is."""
        self.steps = 0
        for place, value in zip(self.mean, self.sources(theta), strict=True):
            place.copy_(value)

    def see(self, theta: Theta, now: Now | None = None) -> None:
        """Take in theta after a step."""
        weight = self.weight(1)
        self.steps += 1
        if not weight:
            return
        torch._foreach_lerp_(self.mean, self.sources(theta), weight)  # pyright: ignore[reportPrivateImportUsage]

    def weight(self, ahead: int) -> float:
        """What theta counts for in the look after so many steps more; 0 where there is none."""
        k, rest = divmod(self.steps + ahead, self.every)
        return 0.0 if rest else 1.0 - min(self.decay, (1 + k) / (10 + k))

    @contextmanager
    def shown(self, theta: Theta) -> Iterator[None]:
        """Inside, the model holds the average; afterwards it is bitwise as before."""
        own = [t.clone() for t in self.sources(theta)]
        for place, value in zip(self.sources(theta), self.mean, strict=True):
            place.copy_(value)
        try:
            yield
        finally:
            for place, value in zip(self.sources(theta), own, strict=True):  # a module may have put new buffers there
                place.copy_(value)

    def state(self) -> dict[str, Tensor]:
        """The average and the count of steps it has seen."""
        return {f"mean.{i}": t for i, t in enumerate(self.mean)} | {"steps": torch.tensor(self.steps)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`, in place."""
        for i, place in enumerate(self.mean):
            place.copy_(state[f"mean.{i}"])
        self.steps = int(state["steps"])

    def sources(self, theta: Theta) -> list[Tensor]:
        """What is averaged: the vector, and the running statistics of floating type."""
        return [b.flat for b in theta.blocks] + [t for t, number in zip(theta.buffers(), self._numbers, strict=True) if number]
