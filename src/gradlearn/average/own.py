"""Own: what an update that averages by itself wants to be shown, such as the schedule-free ones.

    theta_bar = update.shown()

The state of that average lies in the update and is saved with it; BatchNorm's statistics are measured anew for it. For
updates that have it; the plan chooses it for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now
from gradlearn.theta import Theta

__all__ = ["Own"]


class Own:
    """The update's own average."""

    of_update = True
    refresh = True

    def __init__(self, theta: Theta, **of: Any) -> None:
        """Made with `update=`, the update of the run; without, theta itself is shown."""
        del theta
        update = of.get("update")
        if update is not None and not hasattr(update, "shown"):
            raise InputTrouble(f"--average own: {type(update).__name__} keeps no average of its own; use plain or ema")
        self.update = update

    def see(self, theta: Theta, now: Now | None = None) -> None:
        """The update has seen it."""

    @contextmanager
    def shown(self, theta: Theta) -> Iterator[None]:
        """Inside, theta is the update's average; afterwards it is bitwise as before."""
        if self.update is None:
            yield
            return
        kept = [b.flat.clone() for b in theta.blocks]
        try:
            with self.update.shown():
                yield
        finally:
            for block, value in zip(theta.blocks, kept, strict=True):
                block.flat.copy_(value)

    def state(self) -> dict[str, Tensor]:
        """Nothing beside the update's state."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to load."""
