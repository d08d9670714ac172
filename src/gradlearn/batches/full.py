"""Full: every example in every step, the classic gradient descent.

    B_t = {0, ..., n - 1}

Cauchy 1847. No noise in g, and the dearest step there is: for small data, convex problems, and curvature. With
`--backprop.part N` it passes through memory in pieces whose sums are the whole batch's, each made when its turn comes: the
data may be larger than memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradlearn.symbols import Now

__all__ = ["Full"]


class Full:
    """The whole data, in its own order.

    Args:
        n: examples in the data.
    """

    def __init__(self, n: int) -> None:
        self.size = n
        self._all = torch.arange(n)

    def __call__(self, now: Now) -> Tensor:
        """(n,) int64."""
        return self._all
