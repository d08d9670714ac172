"""Buckets: batches of examples of about the same length, so that little of a batch is padding.

    order = sorted by length (1 + spread u), cut into batches, the batches shuffled;   u uniform in [-1, 1], new in every epoch

Khomenko et al., "Accelerating recurrent neural network training using sequence bucketing", arXiv 1708.05604. Every example
comes once an epoch; a batch that straddles two epochs is of one length too. Use it where the data pad each batch to its own
longest example. Batches are less mixed than shuffled ones: where the label goes with the length, take a larger `spread`, or
shuffle.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now

__all__ = ["Buckets"]


class Buckets:
    """Mini-batches of similar length. Their size does not grow: the batches of an epoch are cut before it begins.

    Args:
        n: examples in the data.
        lengths: (n,) whole numbers: how long each example is.
        size: examples in a batch; more than n is n.
        spread: lengths that differ by less than this share may come together, at least 0; 0 is the least padding.
    """

    wants = ("lengths",)

    def __init__(self, n: int, *, lengths: Tensor | None = None, size: int = 128, spread: float = 0.1) -> None:
        if lengths is None or lengths.shape != (n,):
            raise InputTrouble("--batches buckets: needs the length of each example; use --batches shuffle")
        if size < 1:
            raise InputTrouble(f"--buckets.size {size}: must be at least 1")
        if not spread >= 0.0:
            raise InputTrouble(f"--buckets.spread {spread}: must be at least 0")
        self.n, self.size, self.spread = n, min(size, n), spread
        self._lengths = lengths.cpu().numpy().astype(np.float64)
        self._orders: dict[tuple[int, int, int], Tensor] = {}

    def __call__(self, now: Now) -> Tensor:
        """(size,) int64: the examples at [seen, seen + size) of the endless order."""
        epoch, start = divmod(now.seen, self.n)
        order = self._order(now, epoch)
        stop = start + self.size
        if stop <= self.n:
            return order[start:stop]
        return torch.cat([order[start:], self._order(now, epoch + 1)[: stop - self.n]])

    def _order(self, now: Now, epoch: int) -> Tensor:
        key = (now.seed, now.round, epoch)
        if key not in self._orders:
            self._orders = {k: v for k, v in self._orders.items() if k[:2] == key[:2] and k[2] >= epoch - 1}
            self._orders[key] = torch.from_numpy(self._made(now, epoch))
        return self._orders[key]

    def _made(self, now: Now, epoch: int) -> np.ndarray:
        """Head (rest of the batch that began in the epoch before), whole batches, tail: each a run of the sorted order."""
        place = np.arange(self.n)
        mixed = chance.uniform(now.seed, "mixed", now.round, epoch, place)
        jitter = 1.0 + self.spread * (2.0 * chance.uniform(now.seed, "length", now.round, epoch, place) - 1.0)
        rest = np.lexsort((mixed, self._lengths * jitter))
        head, rest = taken(rest, -epoch * self.n % self.size, self._meeting(now, epoch))
        tail, rest = taken(rest, len(rest) % self.size, self._meeting(now, epoch + 1))
        whole = rest.reshape(-1, self.size)
        whole = whole[chance.permutation(len(whole), now.seed, "buckets", now.round, epoch)]
        return np.concatenate([head, whole.reshape(-1), tail])

    def _meeting(self, now: Now, epoch: int) -> float:
        """At which share of all lengths the batch lies that begins before this epoch and ends in it."""
        return float(chance.uniform(now.seed, "meeting", now.round, epoch)[0])


def taken(run: np.ndarray, k: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """k neighbours at this share of a run, and the rest of it."""
    k = min(k, len(run))
    a = round(share * (len(run) - k))
    return run[a : a + k], np.concatenate([run[:a], run[a + k :]])
