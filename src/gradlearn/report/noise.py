"""How much of a score, or of a difference between two, is the luck of which examples were drawn.

A score that counts right answers among n independent examples is binomial: standard error sqrt(p (1 - p) / n).
`wilson` gives its 95 % interval (Wilson 1927; unlike p +- 2 se it stays inside [0, 1] and is fair near 0 and 1),
`difference` the two-proportion z test. Both know only the noise of the test set: not that of the seed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

Z95 = 1.959963984540054


class Difference(NamedTuple):
    """Two proportions compared."""

    gap: float  # first - second
    error: float  # standard error of the gap if there were no true difference; 0 if neither or all are right
    z: float  # gap / error
    p: float  # two-sided: chance of a gap at least this large without a true difference
    rough: bool  # fewer than 5 expected right or wrong answers on a side: the normal approximation is coarse


def error(share: float, n: float) -> float:
    """The standard error of a share in [0, 1] among n > 0 examples."""
    return math.sqrt(max(share * (1.0 - share), 0.0) / n)


def wilson(share: float, n: float, z: float = Z95) -> tuple[float, float]:
    """The interval (low, high) in [0, 1] of shares that `share` among n > 0 examples does not contradict."""
    share = min(max(share, 0.0), 1.0)
    scale = 1.0 + z * z / n
    middle = (share + z * z / (2.0 * n)) / scale
    half = z / scale * math.sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n))
    low = 0.0 if share == 0.0 else max(middle - half, 0.0)
    return low, 1.0 if share == 1.0 else min(middle + half, 1.0)


def difference(first: float, n: float, second: float, m: float) -> Difference:
    """Compare the share `first` of n > 0 examples with the share `second` of m > 0 others, as if drawn apart."""
    pooled = (first * n + second * m) / (n + m)
    spread = math.sqrt(max(pooled * (1.0 - pooled), 0.0) * (1.0 / n + 1.0 / m))
    gap = first - second
    z = gap / spread if spread else 0.0
    rough = min(n, m) * min(pooled, 1.0 - pooled) < 5.0
    return Difference(gap, spread, z, math.erfc(abs(z) / math.sqrt(2.0)), rough)
