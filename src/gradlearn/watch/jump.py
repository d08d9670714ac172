"""Jump: has the loss gone up from one step to the next, and stayed there?

    before = the last 50 losses less those of now and those that a rewind has undone,     now = the last 10
    jump  <=>  8 of now > the 94 % quantile of before,  and  median of now > level + 5 spread + a tenth of it
               and > four times the level, or a level that gives back 0.65 of what was gained since the start,
               level = median of the last 20 before,  spread = 1.05 median |loss_t - loss_(t-1)|

A loss that creeps up is divergence's to find, one that swings is instability's; this is damage done at once - a rate that was wrong
for a step, labels that are wrong for a while, a memory of the update that was overwritten - which a run may repair by itself, in
many more steps than it takes to go back. Single hard batches do not count. Where the rate itself leaps above twenty times all
before it, half a spread above the level will do. Chowdhery et al. (PaLM, 2022) saw 20 of them in a run.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Jump"]

LEAST = 40  # losses that are compared with
LEAP, EARLY = 20.0, 5  # times the highest rate so far, after so many steps
MANY = 20  # the last of them, which a level is taken from


class Jump:
    """Speaks when the training loss has jumped up; `evidence["onset"]` is the step with which it did.

    Args:
        window: steps that count as now, at least 5.
        before: steps that they are compared with.
        spreads: how far above, in robust standard deviations.
    """

    cost = 0.0
    looks = False  # at the losses alone

    def __init__(self, *, window: int = 10, before: int = 50, spreads: float = 5.0) -> None:
        for name, value, least in (("window", window, 5), ("before", before, LEAST), ("spreads", spreads, 1.0)):
            if value < least:
                raise InputTrouble(f"--jump.{name} {value}: must be at least {least}")
        self.window, self.before, self.spreads = window, before, spreads
        self.every = window // 2
        self._peak, self._seen = 0.0, 0  # the highest rate of so many steps: made again on resume
        self._leaps: list[int] = []

    def measure(self, step: Step, theta: Theta, objective: Objective) -> float | None:
        """The loss itself, which history keeps."""
        return step.loss

    def judge(self, history: History) -> Finding | None:
        """A finding where the last losses stand above almost all of those before them."""
        losses, w = history.loss, self.window
        n, back = len(losses), history.last_action("rewind") + 1
        if (found := self._leapt(history, back)) is not None:
            return found
        if n < w + LEAST or n - back < w or history.spared(w):
            return None
        now = [x if x - x == 0.0 else math.inf for x in losses[n - w :]]
        if back < n - 5 * w and sorted(now)[w // 5] <= sorted(losses[n - 5 * w : n - 4 * w])[-3]:  # the quick way out
            return None
        usual = [losses[t] for t in history.standing(n - w, self.before)]
        said = max((f.t for f in history.findings if f.name in ("unstable", "diverged") and f.t >= back), default=-1)
        if len(usual) < LEAST or (said >= 0 and n - said < 5 * w):
            return None
        order = sorted(usual)
        level, high = median(usual[:MANY]), order[int(0.94 * len(order))]
        spread = 1.05 * median(abs(a - b) for a, b in pairwise(usual))
        start = median([x for x in losses[:3] if x - x == 0.0] or [level])
        lost = min(4.0 * abs(level), level + 0.65 * max(start - level, 0.0))  # of what was learned, or of very little
        bar = max(high, level + self.spreads * spread + 0.1 * abs(level), lost)
        if sum(x > high for x in now) < 0.8 * w or not median(now) > bar:
            return None
        onset = n - w
        while onset > max(back, n - 3 * w) and not losses[onset - 1] <= high:
            onset -= 1
        t, mid = n - 1, median(now)
        return Finding(
            t,
            "unstable",
            "warn",
            f"step {t}: the training loss jumped from {level:.4g} to {mid:.4g} at step {onset}, and has stayed there",
            "something that happened at once: a step far too long, labels or values that are wrong for a while",
            "go back to before the jump",
            {"kind": "jump", "onset": onset, "before": level, "now": mid if math.isfinite(mid) else repr(mid), "bar": bar},
        )

    def _leapt(self, history: History, back: int) -> Finding | None:
        """A rate far above all before it, for a step or for good, and losses that stand higher since: no schedule does that."""
        n, lr, losses = len(history.loss), history.lr, history.loss
        for k in range(self._seen, n):
            turned = any(a.dial == "rate" and a.t in (k, k - 1) for a in history.actions)
            if lr[k] > LEAP * self._peak > 0.0 and k >= EARLY and not turned:
                self._leaps.append(k)
            self._peak = max(self._peak, lr[k])
        self._seen = n
        at = self._leaps[-1] if self._leaps else -1
        if at < max(back, MANY) or not self.window // 2 <= n - at <= 2 * self.window:
            return None
        before, since = losses[at - MANY : at], [x if x - x == 0.0 else math.inf for x in losses[at + 1 :]]
        level, now = median(before), median(since)
        spread = 1.05 * median(abs(a - b) for a, b in pairwise(before))
        if not now > level + 0.5 * spread or any(f.evidence.get("onset") == at for f in history.findings):
            return None
        t = n - 1
        return Finding(
            t,
            "unstable",
            "warn",
            f"step {t}: the learning rate leapt to {lr[at]:.3g} at step {at}, and the loss from {level:.4g} to {now:.4g}",
            "a schedule that is wrong, or a rate that was written into the update from outside",
            "go back to before it",
            {"kind": "jump", "onset": at, "before": level, "now": now if math.isfinite(now) else repr(now)},
        )


def sick() -> list[History]:
    """A run that is thrown back at once, and one whose labels are wrong for twenty steps."""
    return [_run(lambda t: 5.0 if t >= 203 else 1.0), _run(lambda t: 6.0 if 200 <= t < 220 else 1.0)]


def well() -> list[History]:
    """A run with single hard batches, and one whose losses come in threes."""
    return [_run(lambda t: 6.0 if t % 23 == 0 else 1.0), _run(lambda t: 3.0 if t % 60 < 3 else 1.0)]


def _run(factor: object) -> History:
    history = History()
    for t in range(260):
        wave = 1.0 + 0.1 * ((37 * t) % 11) / 11
        history.add(Step(t, (2.0 * 0.99**t + 0.3) * wave * factor(t), 1.0, 0.1, 32, t * 0.1, True, 0.0))  # pyright: ignore[reportCallIssue]
    return history
