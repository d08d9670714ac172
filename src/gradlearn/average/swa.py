"""SWA, stochastic weight averaging: the plain mean of weights that a steady or cyclic learning rate walks through late in the run.

    theta_bar <- theta_bar + (theta - theta_bar) / k   at the k-th look,   looks from `start` of the run on, each `every` steps

Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018. The mean of points around a
wide minimum lies nearer to its middle than any of them. For `--rate constant` or a cyclic one, with `every` the length of a
cycle, so that the looks fall on its ends; after a decay to zero there is little left to average (`plain`, `tail`).
BatchNorm's statistics are measured anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now
from gradlearn.theta import Theta

__all__ = ["Swa"]


class Swa:
    """Equal average from a share of the run on; before that, theta itself is shown. One more copy of theta in memory.

    Args:
        start: share of the run at which it begins, in [0, 1).
        every: steps between two looks; with a cyclic rate the steps of a cycle.
    """

    refresh = True

    def __init__(self, theta: Theta, *, start: float = 0.75, every: int = 1) -> None:
        if not 0.0 <= start < 1.0:
            raise InputTrouble(f"--swa.start {start}: must be in [0, 1)")
        if every < 1:
            raise InputTrouble(f"--swa.every {every}: must be at least 1")
        self.start, self.every = start, every
        self.steps = self.looks = 0  # since the start
        self.mean = [_wide(t) for t in theta.snapshot()]
        self._averaged = [t.is_floating_point() and bool(torch.isfinite(t).all()) for t in self.mean]  # not an infinite mask

    def see(self, theta: Theta, now: Now | None = None) -> None:
        """Take in theta after a step. Without `now` the start is here."""
        if not self.steps and now is not None and now.share < self.start:
            return
        self.steps += 1
        if self.steps % self.every:
            return
        self.looks += 1
        values = [b.flat for b in theta.blocks] + theta.buffers()
        for mean, value, averaged in zip(self.mean, values, self._averaged, strict=True):
            mean.lerp_(value.to(mean.dtype), 1.0 / self.looks) if averaged else mean.copy_(value)

    @contextmanager
    def shown(self, theta: Theta) -> Iterator[None]:
        """Inside, the model holds the average; afterwards it is bitwise as before."""
        own = theta.snapshot()
        if self.looks:
            theta.restore(self.mean)
        try:
            yield
        finally:
            theta.restore(own)

    def state(self) -> dict[str, Tensor]:
        """The average, and how much went into it."""
        return {f"mean.{i}": t for i, t in enumerate(self.mean)} | {"count": torch.tensor([self.steps, self.looks])}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`, in place."""
        for i, place in enumerate(self.mean):
            place.copy_(state[f"mean.{i}"])
        self.steps, self.looks = state["count"].tolist()


def _wide(t: Tensor) -> Tensor:
    """A copy in at least float32: the k-th part of bfloat16 weights would be lost in bfloat16."""
    return t.clone() if t.dtype in (torch.float32, torch.float64) or not t.is_floating_point() else t.float()
