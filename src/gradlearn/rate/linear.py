"""Linear: a straight line from the full rate to zero at the end.

    factor = 1 - (t + 1/2) / T

Worst-case optimal for the last iterate (Defazio et al., "Optimal linear decay learning rate schedules", arXiv 2310.07831); the
best default where the length of the run is known.
"""

from __future__ import annotations

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now

__all__ = ["Linear"]


class Linear:
    """Straight line to 0.

    Args:
        floor: factor at the very end, in [0, 1].
    """

    def __init__(self, *, floor: float = 0.0) -> None:
        if not 0.0 <= floor <= 1.0:
            raise InputTrouble(f"--linear.floor {floor}: must be in [0, 1]")
        self.floor = floor

    def __call__(self, now: Now) -> float:
        """The factor at this step, in [floor, 1]."""
        return 1.0 - (1.0 - self.floor) * now.share
