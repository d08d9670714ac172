"""Single: one example a step, stochastic gradient descent in its first form.

    B_t = {order[t]}

Robbins, Monro 1951. The cheapest and noisiest step; on a modern processor a mini-batch costs hardly more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.symbols import Now

__all__ = ["Single"]


class Single:
    """One example at a time, a new random order in every epoch.

    Args:
        n: examples in the data.
    """

    size = 1

    def __init__(self, n: int) -> None:
        self.n = n
        self._epoch, self._order = (-1, -1, -1), torch.empty(0, dtype=torch.int64)

    def __call__(self, now: Now) -> Tensor:
        """(1,) int64."""
        epoch, place = divmod(now.seen, self.n)
        if self._epoch != (now.seed, now.round, epoch):
            self._epoch = (now.seed, now.round, epoch)
            self._order = torch.from_numpy(chance.permutation(self.n, now.seed, "order", now.round, epoch))
        return self._order[place : place + 1]
