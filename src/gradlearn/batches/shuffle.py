"""Shuffle: mini-batches from a new random order in every epoch, without replacement.

    B_t = order[seen : seen + size],   order = permutation(epoch 0) + permutation(epoch 1) + ...

Random reshuffling converges faster than sampling with replacement (Mishchenko et al., NeurIPS 2020). The orders follow each
other without a gap, so every batch is full, every example comes once an epoch, and no tail is dropped, also where the dial
`batch` changes the size in the middle of an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now

__all__ = ["Shuffle"]


class Shuffle:
    """Mini-batches without replacement.

    Args:
        n: examples in the data.
        size: examples in a batch; more than n is n.
    """

    grows = True

    def __init__(self, n: int, *, size: int = 128) -> None:
        if size < 1:
            raise InputTrouble(f"--batch {size}: must be at least 1, or 'full'")
        self.n, self.size = n, min(size, n)
        self._orders: dict[tuple[int, int, int], Tensor] = {}

    def __call__(self, now: Now) -> Tensor:
        """(size,) int64: the examples at [seen, seen + size) of the endless order; the dial's size where it was turned."""
        size = min(now.batch, self.n) or self.size
        epoch, start = divmod(now.seen, self.n)
        order = self._order(now, epoch)
        stop = start + size
        if stop <= self.n:
            return order[start:stop]
        return torch.cat([order[start:], self._order(now, epoch + 1)[: stop - self.n]])

    def several(self, times: Sequence[Now]) -> Tensor:
        """The batches of these steps, which follow each other, one behind the other: (steps size,) int64."""
        size = min(times[0].batch, self.n) or self.size
        (first, start), (last, stop) = (divmod(seen, self.n) for seen in (times[0].seen, times[-1].seen + size))
        if first == last or stop == 0 == last - first - 1:
            return self._order(times[0], first)[start : stop or self.n]
        middle = [self._order(times[0], epoch).clone() for epoch in range(first + 1, last)]
        return torch.cat([self._order(times[0], first)[start:], *middle, self._order(times[0], last)[:stop]])

    def _order(self, now: Now, epoch: int) -> Tensor:
        key = (now.seed, now.round, epoch)
        order = self._orders.get(key)
        if order is None:
            for old in [k for k in self._orders if k[:2] != key[:2] or k[2] < epoch - 1]:
                del self._orders[old]
            order = torch.from_numpy(chance.permutation(self.n, now.seed, "order", now.round, epoch))
            self._orders[key] = order
        return order
