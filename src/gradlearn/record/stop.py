"""SIGINT and SIGTERM as a flag that a loop polls, so that a run saves and ends instead of breaking off.

    with Signals() as signals:
        for step in train(...):
            if signals.number: break

The second signal ends the process at once: what is committed stays committed (`checkpoint`), nothing is torn.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Signals:
    """While open, the first signal only sets `number`. Inert outside the main thread; what is ignored stays ignored."""

    def __init__(self) -> None:
        self.number = 0  # the first signal received, 0 = none
        self._before: dict[int, Any] = {}

    @property
    def code(self) -> int:
        """The exit code of a run that ended for the signal: 130 or 143; 0 without one."""
        return 128 + self.number if self.number else 0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            os._exit(128 + number)
        self.number = int(number)
