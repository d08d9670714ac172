"""Warmup: from near zero to the full rate in a straight line over the first share of the run.

    factor = min(1, (t + 1) / (share * T))

Goyal et al., arXiv 1706.02677. An adaptive update knows its scales badly in the first steps, and curvature is highest there.
"""

from __future__ import annotations

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now

__all__ = ["Warmup"]


class Warmup:
    """Straight line to 1.

    Args:
        share: of the run, in [0, 1).
        least: steps it takes at least (never more than half of the run).
    """

    def __init__(self, *, share: float = 0.05, least: int = 10) -> None:
        if not 0.0 <= share < 1.0:
            raise InputTrouble(f"--warmup.share {share}: must be in [0, 1)")
        self.share, self.least = share, least

    def __call__(self, now: Now) -> float:
        """The factor at this step, in (0, 1]."""
        length = min(max(self.share * now.T, self.least), now.T / 2)
        return min(1.0, (now.t + 1) / max(length, 1.0))
