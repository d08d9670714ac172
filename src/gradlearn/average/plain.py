"""Plain: no average, theta itself is shown.

Right where the learning rate falls to zero by the end: the decay has averaged already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor

from gradlearn.symbols import Now
from gradlearn.theta import Theta

__all__ = ["Plain"]


class Plain:
    """theta-bar = theta."""

    def __init__(self, theta: Theta) -> None:
        del theta

    def see(self, theta: Theta, now: Now | None = None) -> None:
        """Nothing to remember."""

    @contextmanager
    def shown(self, theta: Theta) -> Iterator[None]:
        """The model as it is."""
        yield

    def state(self) -> dict[str, Tensor]:
        """Nothing to save."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to load."""
