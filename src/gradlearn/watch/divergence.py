"""Divergence: has the loss gone up and stayed up, while every number is still finite?

    now = median of the last w losses, start = of the first 3, best = least median of w since the last rewind
    diverged  <=>  now > 3 start   or   start - best > start / 5 + noise  and  now > start + noise

Medians over w steps make it deaf to single hard batches, `noise` (the usual difference between two losses) to small ones. The
thresholds stand between the spikes that a healthy run recovers from by itself and the runs that never come back (`docs/checks.md`).
Peers look for NaN only, or at the end of an epoch.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Divergence"]


class Divergence:
    """Speaks when the training loss has lost all of its progress, or is three times what it was at the start.

    Args:
        window: steps in a median, at least 3.
    """

    cost = 0.0
    looks = False  # at the step alone, not at theta

    def __init__(self, *, window: int = 20) -> None:
        if window < 3:
            raise InputTrouble(f"--divergence.window {window}: must be at least 3")
        self.window = window
        self.every = max(window // 2, 1)
        self._medians: list[float] = []  # of the losses [k every, k every + window): a cache, any of it can be made again
        self._since, self._best = 0, math.inf  # the least of them since the last rewind

    def measure(self, step: Step, theta: Theta, objective: Objective) -> float | None:
        """The loss itself, which history keeps."""
        return step.loss

    def judge(self, history: History) -> Finding | None:
        """A finding if the last window is far above the best."""
        w, losses = self.window, history.loss
        since = history.last_action("rewind") + 1
        if len(losses) - since < 2 * w:
            return None
        start = median_of(losses[:3])  # before the first updates can have done harm
        now = median_of(losses[-w:])
        if now <= start and now <= 3.0 * abs(start):
            return None  # the quick way out: where a run learns, nobody asks for its best
        if history.spared(w):
            return None
        for i in range(len(self._medians) * self.every, len(losses) - w + 1, self.every):
            self._medians.append(median_of(losses[i : i + w]))
            self._best = min(self._best, self._medians[-1])
        if since != self._since:
            self._since, self._best = since, min(self._medians[-(-since // self.every) :], default=math.inf)
        best = min(self._best, now)
        progress = start - best
        blown = now > 3.0 * abs(start) + 1e-12
        lost = progress > 0.2 * abs(start) and now > start
        if lost and not blown:
            last = losses[-3 * w :]
            noise = median_of([abs(b - a) for a, b in pairwise(last)])
            lost = progress > 0.2 * abs(start) + noise and now > start + noise
        said = max((f.t for f in history.findings if f.name == "diverged"), default=-1)
        if not (blown or lost) or since <= said > len(losses) - 5 * w:  # said already, and nothing was done about it
            return None
        t = len(losses) - 1
        return Finding(
            t,
            "diverged",
            "alarm",
            f"step {t}: the training loss is {now:.4g}, after {best:.4g} at its best and {start:.4g} at the start",
            "the learning rate is too high for the curvature here, or the data changed",
            "rewind to the last good steps and halve the learning rate",
            {"now": now, "best": best, "start": start, "window": w},
        )


def median_of(losses: list[float]) -> float:
    """Of the finite ones; infinity where there is none."""
    total = sum(losses)
    finite = losses if total - total == 0.0 else [x for x in losses if x - x == 0.0]
    return median(finite) if finite else float("inf")


def sick() -> list[History]:
    """A run that explodes, and one that loses what it had learned."""
    up = [2.0 * 0.97**t for t in range(100)] + [0.1 * 1.2**t for t in range(60)]
    return [_run([2.0 * 1.05**t for t in range(80)]), _run(up)]


def well() -> list[History]:
    """A run that falls, one with single spikes, and one that starts near its end and is shaken by the warm-up."""
    fall = [2.0 * 0.98**t + 0.05 for t in range(200)]
    trained = [0.007, 0.006, 0.007] + [0.0015] * 60 + [0.0047] * 60
    return [_run(fall), _run([x * (5.0 if t % 37 == 0 else 1.0) for t, x in enumerate(fall)]), _run(trained)]


def _run(losses: list[float]) -> History:
    history = History()
    for t, loss in enumerate(losses):
        history.add(Step(t, loss, 1.0, 0.1, 32, t * 0.1, True, 0.0))
    return history
