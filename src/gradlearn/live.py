"""What a person sees while a model trains: one live line, findings as they come; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from gradlearn.loop import Descent
    from gradlearn.symbols import Step

EVERY = 0.15  # seconds between two looks on a terminal
PLAIN = 10.0  # and between two plain lines


class Live:
    """A display on stdout; `quiet` shows warnings only, on stderr."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet, self.terminal = quiet, sys.stdout.isatty() and not quiet
        self._shown = time.monotonic()
        self._loss = float("nan")
        self._found = self._acted = 0
        self._t, self._since = -1, 0.0  # the step, and when it was done, from which on the speed is counted: not from preparing on
        self._status = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def say(self, line: str) -> None:
        """One line that stays."""
        if self.quiet:
            if line.startswith(("warning:", "error:")):
                print(line, file=sys.stderr)
        elif self._status is not None:
            self._status.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    def show(self, descent: Descent, step: Step) -> None:
        """Called after every step; draws now and then."""
        if step.loss - step.loss == 0:
            self._loss = step.loss if self._loss != self._loss else 0.95 * self._loss + 0.05 * step.loss
        history = descent.history
        if len(history.findings) != self._found or len(history.actions) != self._acted:
            self._events(descent)
        now = time.monotonic()
        if self._t < 0:
            self._t, self._since = descent.t, now
        if self.quiet or now - self._shown < (EVERY if self.terminal else PLAIN):
            return
        pace = (now - self._since) / (descent.t - self._t) if descent.t > self._t else None
        self._shown, self._since, self._t = now, now, descent.t
        line = describe(descent, step, self._loss, pace)
        if self.terminal:
            self._draw(line)
        else:
            print(line, flush=True)

    def _events(self, descent: Descent) -> None:
        history = descent.history
        for finding in history.findings[self._found :]:
            self.say(f"{finding.level}: {finding.what}")
        for action in history.actions[self._acted :]:
            self.say(f"  {action.name}: {action.why}")
        self._found, self._acted = len(history.findings), len(history.actions)

    def _draw(self, line: str) -> None:
        from rich.text import Text

        text = Text(line, no_wrap=True, overflow="ellipsis")
        if self._status is None:
            from rich.live import Live as Screen

            self._status = Screen(text, auto_refresh=False, transient=True)
            self._status.start()
        self._status.update(text, refresh=True)

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def describe(descent: Descent, step: Step, loss: float, pace: float | None) -> str:
    """One line: step, epoch, losses, score, learning rate; where seconds a step are known, examples a second and time left."""
    parts = [f"step {step.t + 1}/{descent.controls.end}", f"epoch {step.epoch:.2f}", f"loss {loss:.4g}"]
    shown = [row for row in descent.history.scores[-3:] if row[1] != "train"]
    if shown:
        _, split, score = shown[-1]
        if "loss" in score.all:
            parts.append(f"{split} loss {score.all['loss']:.4g}")
        value = f"{score.value:.2%}" if score.name == "accuracy" else f"{score.value:.4g}"
        parts.append(f"{split} {score.name} {value}")
    parts.append(f"lr {step.lr:.2e}")
    if pace is not None:
        left = pace * (descent.controls.end - step.t - 1)
        parts += [f"{step.n / max(pace, 1e-9):,.0f} examples/s", f"{int(left // 60)}:{int(left % 60):02d} left"]
    return "  ".join(parts)
