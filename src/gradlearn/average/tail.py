"""Tail: the mean of the last share of the run, if wanted with later weights counting more.

    theta_bar <- theta_bar + rho_k (theta - theta_bar),   rho_k = (power + 1) / (k + power)   at the k-th step of the tail

power 0 is the plain mean; power p weighs step k about as k^p. Shamir, Zhang, "Stochastic gradient descent for non-smooth
optimization", ICML 2013: with a rate that does not fall to zero, the mean of the last share is optimal where the last iterate
is not. After a decay to zero it is an average of worse weights than the last: take `plain` or a short tail. BatchNorm's
statistics are averaged along, which is as good as measuring them anew where every step is in the mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now
from gradlearn.theta import Theta

__all__ = ["Tail"]


class Tail:
    """Average of the last steps; before them, theta itself is shown. One more copy of theta in memory.

    Args:
        share: of the run that is averaged, in (0, 1]; 1 = all of it.
        power: how much more later steps count, at least 0; 0 = all alike.
    """

    def __init__(self, theta: Theta, *, share: float = 0.1, power: float = 0.0) -> None:
        if not 0.0 < share <= 1.0:
            raise InputTrouble(f"--tail.share {share}: must be in (0, 1]")
        if not power >= 0.0:
            raise InputTrouble(f"--tail.power {power}: must be at least 0")
        self.share, self.power = share, power
        self.steps = 0  # of the tail
        self.mean = [_wide(t) for t in theta.snapshot()]
        self._averaged = [t.is_floating_point() and bool(torch.isfinite(t).all()) for t in self.mean]  # not an infinite mask

    def see(self, theta: Theta, now: Now | None = None) -> None:
        """Take in theta after a step. Without `now` the tail begins here."""
        if not self.steps and now is not None and now.share < 1.0 - self.share:
            return
        self.steps += 1
        rho = (self.power + 1.0) / (self.steps + self.power)
        values = [b.flat for b in theta.blocks] + theta.buffers()
        for mean, value, averaged in zip(self.mean, values, self._averaged, strict=True):
            mean.lerp_(value.to(mean.dtype), rho) if averaged else mean.copy_(value)

    @contextmanager
    def shown(self, theta: Theta) -> Iterator[None]:
        """Inside, the model holds the average; afterwards it is bitwise as before."""
        own = theta.snapshot()
        if self.steps:
            theta.restore(self.mean)
        try:
            yield
        finally:
            theta.restore(own)

    def state(self) -> dict[str, Tensor]:
        """The average, and how many steps are in it."""
        return {f"mean.{i}": t for i, t in enumerate(self.mean)} | {"steps": torch.tensor(self.steps)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`, in place."""
        for i, place in enumerate(self.mean):
            place.copy_(state[f"mean.{i}"])
        self.steps = int(state["steps"])


def _wide(t: Tensor) -> Tensor:
    """A copy in at least float32: the k-th part of bfloat16 weights would be lost in bfloat16."""
    return t.clone() if t.dtype in (torch.float32, torch.float64) or not t.is_floating_point() else t.float()
