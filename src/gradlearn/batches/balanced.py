"""Balanced: every class equally often, however rare it is in the data.

    draws of class c in an epoch of n:   m_c = n w_c,   w_c = n_c^(1 - power) / sum_k n_k^(1 - power)

The draws of each class are spread evenly over the epoch, so that a batch holds about size * w_c of it; within its class every
example comes once before any comes again. Cui et al., "Class-balanced loss", CVPR 2019, weigh the loss instead, which makes
few examples loud rather than frequent; Mahajan et al., ECCV 2018, use power 1/2. For data whose classes differ in size by
more than about ten, scored by class. Not for calibrated probabilities: the model learns the balanced frequencies. An epoch is
n draws here, not every example.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now

__all__ = ["Balanced"]


class Balanced:
    """Mini-batches with every class in them.

    Args:
        n: examples in the data.
        labels: (n,) whole numbers: the class of each example.
        size: examples in a batch; more than n is n.
        power: 1 = every class equally often, 0 = as often as it is in the data, in [0, 1].
    """

    wants = ("labels",)
    grows = True
    once_an_epoch = False

    def __init__(self, n: int, *, labels: Tensor | None = None, size: int = 128, power: float = 1.0) -> None:
        if labels is None or labels.shape != (n,) or labels.is_floating_point():
            raise InputTrouble("--batches balanced: needs one class number for each example; use --batches shuffle")
        if size < 1:
            raise InputTrouble(f"--balanced.size {size}: must be at least 1")
        if not 0.0 <= power <= 1.0:
            raise InputTrouble(f"--balanced.power {power}: must be in [0, 1]")
        self.n, self.size = n, min(size, n)
        classes = labels.cpu().numpy()
        self._members = [np.flatnonzero(classes == c) for c in np.unique(classes)]
        self._draws = shared_out(n, np.array([len(m) ** (1.0 - power) for m in self._members]))
        self._orders: dict[tuple[int, int, int], Tensor] = {}

    def __call__(self, now: Now) -> Tensor:
        """(size,) int64: the draws [seen, seen + size) of the endless order."""
        size = min(now.batch, self.n) or self.size
        epoch, start = divmod(now.seen, self.n)
        order = self._order(now, epoch)
        stop = start + size
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
        """The n draws of an epoch: draw k of the m of a class lies at (k + u) / m of it."""
        examples, places = [], []
        for c, (members, m) in enumerate(zip(self._members, self._draws.tolist(), strict=True)):
            first, last = epoch * m, (epoch + 1) * m  # of all draws of this class
            passes = np.arange(first // len(members), -(-last // len(members)))
            keys = chance.bits(now.seed, "balanced", now.round, c, passes[:, None], np.arange(len(members)))
            endless = members[keys.argsort(axis=1, kind="stable")].reshape(-1)
            begin = first - int(passes[0]) * len(members) if len(passes) else 0
            examples.append(endless[begin : begin + m])
            places.append((np.arange(m) + chance.uniform(now.seed, "place", now.round, c, epoch, np.arange(m))) / max(m, 1))
        return np.concatenate(examples)[np.concatenate(places).argsort(kind="stable")]


def shared_out(n: int, weights: np.ndarray) -> np.ndarray:
    """n in whole numbers in proportion to the weights, (classes,) int64: the largest remainders are rounded up."""
    exact = n * weights / weights.sum()
    whole = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: n - whole.sum()]] += 1
    return whole
