"""Crawling: is the learning rate too low to get anywhere in this run?

    d = theta_t - theta_(t - every),    R = (lr times steps left) / (sum of lr in the window):   R d is as far as the run can go
    crawling  <=>  L(theta + 3 R d) < L(theta + R d) < L(theta)  at two looks in a row, and the loss has hardly fallen so far,
                   or  L(theta + R d) < L(theta + R d / 3) < L(theta)  at three, and even the end of the line is little lower,
                   or  R |d| < 0.3 |theta|  at two, L(theta + R d) < L(theta), and the loss has not fallen by a tenth so far, or
                   that of the same examples not by a hundredth since the first look

Looked at on one fixed sample of examples, so that no luck of the batch is in it: a line is followed to where it stops falling. At
a good rate its lowest point is in the first third of what a run can reach, at a hundredth of it beyond the run's end; a run that
has arrived, or whose steps are noise, finds no way down along the line at all. A model whose loss is far below that with the
targets of other examples has learned already, and is left alone. Peers raise no rate by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.curvature import mean_of, still
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Batch, Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Crawling"]

FURTHER = 3.0  # factor from one point of the line to the next
POINTS = 8  # of the line at most
STILL = 0.3  # of the length of theta: a run that goes no further, from weights that know nothing, gets nowhere
LEARNED = 0.6  # share of the loss with the targets of other examples below which a model has learned already
LARGE = 1 << 26  # parameters from which a copy of theta is not kept


class Crawling:
    """Speaks in the first part of a run whose rate lets it not get anywhere; `evidence["factor"]` is what the rate should be times.

    Args:
        every: steps between two looks at where theta has gone, at least 5.
        until: share of the run after which nobody asks any more, in (0, 1].
        examples: of the fixed sample.
        gain: share of the loss which must lie beyond the end of the run.
        little: share of the loss that is little for a whole run.
    """

    cost = 0.1

    def __init__(
        self, *, every: int = 20, until: float = 0.3, examples: int = 128, gain: float = 0.002, little: float = 0.1
    ) -> None:
        if every < 5:
            raise InputTrouble(f"--crawling.every {every}: must be at least 5")
        if not 0.0 < until <= 1.0:
            raise InputTrouble(f"--crawling.until {until}: must be in (0, 1]")
        if examples < 1:
            raise InputTrouble(f"--crawling.examples {examples}: must be at least 1")
        for name, part in (("gain", gain), ("little", little)):
            if not 0.0 < part < 1.0:
                raise InputTrouble(f"--crawling.{name} {part}: must be in (0, 1)")
        self.every, self.until, self.examples, self.gain, self.little = every, until, examples, gain, little
        self._here: list[Tensor] = []  # theta at the look before this one
        self._gone: list[Tensor] = []  # what it has moved since
        self._at, self._over = -1, False

    def measure(self, step: Step, theta: Theta, objective: Objective) -> Mapping[str, float] | None:
        """{"travel": how far theta has moved since the last look, as a share of its length}; None at the first."""
        self._theta, self._objective, self._gone = theta, objective, []
        if self._over or len(theta) > LARGE:
            self._here = []
            return None
        now = [b.flat.clone() for b in theta.blocks]
        before, since = self._here, step.t - self._at
        self._here, self._at = now, step.t
        if not before or since != self.every or not step.applied:
            return None
        self._gone = [a - b for a, b in zip(now, before, strict=True)]
        length = sum(float(a.square().sum()) for a in now) ** 0.5
        return {"travel": sum(float(d.square().sum()) for d in self._gone) ** 0.5 / (length or 1.0)}

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to keep for the next look to be the same: theta at the last one, and when that was."""
        kept = {f"here.{k}": t for k, t in enumerate(self._here)}
        return kept | {"at": torch.tensor(self._at)} if kept else {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._here = [state[f"here.{k}"].clone() for k in range(len(state) - 1)]
        self._at = int(state["at"]) if state else -1

    def judge(self, history: History) -> Finding | None:
        """A finding where the line that the run follows falls on far beyond the run's end, at two looks in a row."""
        t = len(history.loss) - 1
        end = ending(history)
        if t + 1 > self.until * end:
            self._over, self._here, self.every = True, [], max(self.every, 1000)
            return None
        rows = history.measured.get("crawling.travel", [])
        if not rows or rows[-1][0] != t or self._silent(history):
            return None
        start, now = median(history.loss[:5]), median(history.loss[-self.every :])
        if now < 0.8 * start:
            return None
        done = sum(history.lr[t + 1 - self.every : t + 1])
        left = max(history.lr[t + 1 - self.every : t + 1]) * (end - t - 1)
        if not 0.0 < done < math.inf or not 0.0 < rows[-1][1] * left / done < 1.0:  # it may go as far as theta is long: not slow
            return None
        found = self._line(t, left / done, history)
        if found is None:
            return None
        here, gets, low = (found[k] for k in ("here", "gets", "low"))
        times = [v for s, v in history.measured.get("crawling.times", []) if s > t - 3 * self.every]
        beyond = len(times) > 1 and min(times[-2:]) > 2.0 and gets - low > self.gain * abs(here)
        little = len(times) > 2 and min(times) > 0.9 and here - gets < self.little * abs(here)
        share = rows[-1][1] * left / done
        risen = history.lr[-1] <= history.lr[-2]  # in a warm-up nobody knows yet how far a run will go
        stood = here > 0.99 * history.measured["crawling.here"][0][1]  # on the same examples: the first five losses may be luck
        still = len(times) > 1 and risen and share < STILL and (now > 0.9 * start or stood)
        if not gets < here or not (beyond or little or still):
            return None
        more = f"; {found['times']:.3g} times as far it would be {low:.4g}" if found["times"] > 2.0 else ""
        factor = float(f"{min(max(10.0 * found['times'], 1.0 / share), 1000.0):.2g}")
        return Finding(
            t,
            "crawling",
            "warn",
            f"step {t}: straight on, the loss gets from {here:.4g} to {gets:.4g} by the end of the run{more}",
            "the learning rate is too low for the steps that are left",
            f"raise the learning rate {factor:g} times: --lr {factor * max(history.lr):.2g}",
            {
                "factor": factor,
                "here": here,
                "end": gets,
                "beyond": low,
                "times": found["times"],
                "travel": share,
            },
        )

    def _silent(self, history: History) -> bool:
        """Said already, and the rate has not been turned since; or turned within the last two looks."""
        t = len(history.loss) - 1
        said = max((f.t for f in history.findings if f.name == "crawling"), default=-1)
        turned = max((a.t for a in history.actions if a.dial == "rate" or a.name == "rewind"), default=-1)
        return (turned >= 0 and t < turned + 2 * self.every) or turned < said

    def _line(self, t: int, reach: float, history: History) -> dict[str, float] | None:
        """Loss "here", where the run "gets" to, at the best point ("low"), so many "times" as far. Noted."""
        noted = {k: history.measured.get(f"crawling.{k}", []) for k in ("here", "gets", "low", "times")}
        if all(rows and rows[-1][0] == t for rows in noted.values()):
            return {k: rows[-1][1] for k, rows in noted.items()}
        data = getattr(self._objective, "data", None)
        if data is None or not self._gone:
            return None
        with chance.preserved(), torch.no_grad(), still(self._theta.model):
            batch = data(sample(len(data), self.examples), 1)
            here = gets = self._loss(batch, 0.0)
            low, times, far = here, 0.0, reach / FURTHER
            learned = mixable(batch) and here < LEARNED * self._loss(batch._replace(y=batch.y.roll(batch.n // 2, 0)), 0.0)
            for k in range(0 if learned else POINTS):
                value = self._loss(batch, far)
                gets = value if k == 1 else gets
                if not value < low:
                    break
                low, times, far = value, far / reach, FURTHER * far
        found = {"here": here, "gets": gets, "low": low, "times": times}
        if not all(x - x == 0.0 for x in found.values()):
            return None
        history.note(t, "crawling", found)
        return found

    def _loss(self, batch: Batch, far: float) -> float:
        """L of this batch at theta + far * d, as the training sees it; theta is put back bitwise."""
        blocks = self._theta.blocks
        try:
            for block, here, d in zip(blocks, self._here, self._gone, strict=True):
                torch.add(here, d, alpha=far, out=block.flat)
            chance.reseed(batch.draw)
            return mean_of(self._objective(batch))
        finally:
            for block, here in zip(blocks, self._here, strict=True):
                block.flat.copy_(here)


def sample(n: int, k: int) -> Tensor:
    """(k,) examples, the same ones each time, from all over n."""
    return torch.arange(min(n, k)) * max(n // max(min(n, k), 1), 1)


def mixable(batch: Batch) -> bool:
    """Whether every example can be given the target of another."""
    return isinstance(batch.y, Tensor) and batch.y.ndim > 0 and batch.y.shape[0] == batch.n > 1


def ending(history: History) -> int:
    """Steps of the whole run: what is known, else where a falling rate gets to zero, else ten times what has been done."""
    if known := getattr(history, "end", 0):
        return known
    t, lr = len(history.lr), history.lr
    fall = (lr[-1 - t // 4] - lr[-1]) / max(t // 4, 1)
    return min(t + int(lr[-1] / fall), 100 * t) if fall > 0.0 else 10 * t


def sick() -> list[History]:
    """A run that would have to go thirty times as far as it can."""
    return [_run({"travel": 0.001, "here": 2.3, "gets": 2.28, "low": 2.0, "times": 27.0})]


def well() -> list[History]:
    """A run whose line ends soon, one that goes far, and one that stands where it is best."""
    near = {"travel": 0.01, "here": 2.3, "gets": 9.0, "low": 2.3, "times": 0.0}
    still = {"travel": 1e-4, "here": 0.2, "gets": 0.2, "low": 0.2, "times": 0.0}
    return [_run(near), _run(near | {"travel": 0.5}), _run(still)]


def _run(known: dict[str, float]) -> History:
    history = History()
    for t in range(120):
        history.add(Step(t, 2.3 - 1e-4 * t, 1.0, 0.1, 32, t * 0.1, True, 0.0))
        if (t + 1) % 20 == 0 and t > 20:
            history.note(t, "crawling", known)
    return history
