"""Cosine: half a cosine from the full rate to zero at the end.

    factor = (1 + cos(pi (t + 1/2) / T)) / 2

Loshchilov, Hutter, "SGDR", ICLR 2017. What most published recipes use; stays high longer than `linear` and ends softer.
"""

from __future__ import annotations

import math

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now

__all__ = ["Cosine"]


class Cosine:
    """Half a cosine to 0.

    Args:
        floor: factor at the very end, in [0, 1].
    """

    def __init__(self, *, floor: float = 0.0) -> None:
        if not 0.0 <= floor <= 1.0:
            raise InputTrouble(f"--cosine.floor {floor}: must be in [0, 1]")
        self.floor = floor

    def __call__(self, now: Now) -> float:
        """The factor at this step, in [floor, 1]."""
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * now.share))
