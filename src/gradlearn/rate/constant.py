"""Constant: the base rate throughout, eta = lr.

The classic of stochastic approximation; leaves the run at the noise floor of its rate. Use it where the end is unknown, or
with an average.
"""

from __future__ import annotations

from gradlearn.symbols import Now

__all__ = ["Constant"]


class Constant:
    """The factor 1."""

    def __call__(self, now: Now) -> float:
        """Always 1."""
        return 1.0
