"""Slow data: does the training wait for its examples longer than it computes?

    share = waited / min(gone by, waited + seconds of the processor)      since the first look: others may hold the processor

Above two fifths the processor idles while files are read or pictures decoded; no choice of model, batch or rate makes up for it.
Said once. It goes by the clock of this process, so it is the one check whose word may differ between two equal runs; nothing is
done about it. PyTorch's profiler shows the same to who thinks of starting it.
"""

from __future__ import annotations

import time

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["SlowData"]

LITTLE, SOME = 2e-3, 4e-4  # seconds a step that examples in memory take at most: by the clock, and of the processor's time


class SlowData:
    """Speaks where the share of waiting is above `most` over at least `steps` steps.

    Args:
        most: share of the time that may be spent waiting, in (0, 1).
        steps: that are looked at before anything is said, at least 10.
    """

    cost = 0.0
    looks = False  # at the clock, not at theta
    clock = True  # of this process: after a resume it begins anew
    every = 25

    def __init__(self, *, most: float = 0.4, steps: int = 50) -> None:
        if not 0.0 < most < 1.0:
            raise InputTrouble(f"--slow_data.most {most}: must be in (0, 1)")
        if steps < 10:
            raise InputTrouble(f"--slow_data.steps {steps}: must be at least 10")
        self.most, self.steps = most, steps
        self._begun: tuple[float, float, float, int] | None = None  # clock, processor's time, waited, steps at the first look
        self._now, self._busy = 0.0, 0.0

    def measure(self, step: Step, theta: Theta, objective: Objective) -> float | None:
        """The clock."""
        self._now, self._busy = time.perf_counter(), time.process_time()
        return None

    def judge(self, history: History) -> Finding | None:
        """A finding, once, where most of the time since the first look went by waiting."""
        done = len(history.loss)
        if self._begun is None or done < self._begun[3]:
            self._begun = self._now, self._busy, history.waited, done
        clock, busy, waited, first = self._begun
        if done - first < self.steps or any(f.name == "slow data" for f in history.findings):
            return None
        gone, waited = self._now - clock, history.waited - waited
        each, own = (
            waited / (done - first),
            min((self._busy - busy) / max(gone, 1e-9), 1.0),
        )  # on a crowded machine all waits are long
        share = waited / max(min(gone, waited + self._busy - busy), 1e-9)
        if not share > self.most or (each < LITTLE and each * own < SOME):
            return None
        share = min(share, 1.0)
        t = done - 1
        return Finding(
            t,
            "slow data",
            "warn",
            f"step {t}: {share:.0%} of the time is spent waiting for data, {1e3 * each:.3g} ms a step",
            "examples are read, decoded or augmented more slowly than the model learns from them",
            "keep the data in memory as tensors, read ahead with more workers, or take smaller pictures",
            {"share": share, "waited": waited, "seconds": gone, "steps": done - first},
        )


def sick() -> list[History]:
    """A run that waits for days."""
    return [_run(1e6)]


def well() -> list[History]:
    """A run whose data are there at once."""
    return [_run(0.0)]


def _run(waited: float) -> History:
    history = History()
    for t in range(120):
        history.add(Step(t, 2.0 * 0.98**t + 0.1, 1.0, 0.1, 32, t * 0.1, True, 0.01))
    history.waited = waited
    return history
