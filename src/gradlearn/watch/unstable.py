"""Unstable: is the rate too high for the run to keep what it learns, while all is finite? And single outlier batches.

    s = loss at the start,  b = least median of 20 losses,  m = median of 5,  noise = 1.05 median |loss_t - loss_(t-1)| of 60
    lost      <=>  now > 0.97 s (or of the loss of a constant answer, if less),  and once the mean of 5 was above all of now and
                   s + max(s / 4, 5 noise), or 20 s at any time (then 0.75 will do): it rose
    thrown    <=>  now > 0.97 s,  and ||g|| rose to four times what it was and is below half of it now
    above     <=>  median of 40 > 1.15 s + 3.5 noise, and a quarter of them at most below s           it is worse than not learning
    relapses  <=>  m > b + max((s - b) / 2, 3 noise)  in 10 of the last 200 steps, 3 times,  b < 0.7 s   it learns, and loses it
    outlier   <=>  one loss or ||g|| far above all of the 100 before, the next five as if nothing had been

Small batches are noisy and their losses have long tails: everything is counted against that noise, of which a median of differences
knows nothing but the usual size. Divergence (a loss three times the start's) has a check of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from statistics import median

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Unstable"]

FEW, MANY, LONG = 5, 20, 40  # steps in a mean or median
RECENT = 200  # steps in which relapses are counted
BEFORE = 100  # steps that an outlier is compared with
TIMES = 3  # that a run goes back and comes again before it is called restless: once is a shake, or a jump
SPEAKS_FROM = 40  # steps
BURST = 20.0  # times the start's loss: no noise
TINY = 8  # examples below which the first loss is luck


class Unstable:
    """Speaks of rates at which a run loses what it learns, and of single batches unlike all others.

    Args:
        relapses: steps of the last 200 that may stand half-way back to the start, at least 1.
        far: how many times an outlier stands above the usual, above 1.
    """

    cost = 0.0
    looks = False  # at the losses alone
    every = 20

    def __init__(self, *, relapses: int = 10, far: float = 30.0) -> None:
        if relapses < 1:
            raise InputTrouble(f"--unstable.relapses {relapses}: must be at least 1")
        if far <= 1.0:
            raise InputTrouble(f"--unstable.far {far}: must be above 1")
        self.relapses, self.far = relapses, far
        self._few: list[
            float
        ] = []  # median and mean of losses [k - 4, k], median of [k - 19, k] every 10: caches, made again on resume
        self._mean: list[float] = []
        self._many: list[float] = []
        self._since, self._best = 0, math.inf
        self._peak: tuple[float, ...] = (-math.inf, -math.inf)  # the highest of both
        self._burst = -math.inf  # the highest mean, of the first steps too

    def measure(self, step: Step, theta: Theta, objective: Objective) -> float | None:
        """The loss itself, which history keeps."""
        return step.loss

    def judge(self, history: History) -> Finding | None:
        """A finding for the steps up to the last one."""
        since = max((a.t + 1 for a in history.actions if a.name in ("rewind", "turn")), default=0)
        losses = history.loss
        for k in range(len(self._many) * 10 + MANY, len(losses) + 1, 10):
            self._many.append(median(losses[k - MANY : k]))
            self._best = min(self._best, self._many[-1]) if k - MANY >= self._since else self._best
        if since != self._since:
            self._begin(since)
        return self._outlier(history) or self._restless(history)

    def _extend(self, losses: list[float]) -> None:
        """Medians and means of five, up to now: of a run that learns nobody asks for them."""
        known = len(self._few)
        for k in range(known, len(losses)):
            few = losses[max(k - FEW + 1, 0) : k + 1]
            total = sum(few)
            if total - total != 0.0:
                few, total = [x if x - x == 0.0 else math.inf for x in few], math.inf
            self._few.append(sorted(few)[len(few) // 2])
            self._mean.append(total / len(few))
        low, high = max(known, self._since + 1), max(known, self._since + FEW)
        self._burst = max([self._burst, *(m for m in self._mean[low:] if m < math.inf)])  # not finite: that step has been blocked
        self._peak = (max([self._peak[0], *self._few[high:]]), max([self._peak[1], *self._mean[high:]]))

    def _begin(self, since: int) -> None:
        """Highest mean and least median count from here on: the weights were put back, or the rate was turned."""
        self._since = since
        self._peak = tuple(max(rows[since + FEW :], default=-math.inf) for rows in (self._few, self._mean))
        self._burst = max((m for m in self._mean[since + 1 :] if m < math.inf), default=-math.inf)
        self._best = min(self._many[-(-since // 10) :], default=math.inf)

    def _restless(self, history: History) -> Finding | None:
        losses, n = history.loss, len(history.loss)
        said = max((f.t for f in history.findings if f.name in ("unstable", "diverged")), default=-1)
        since = self._since
        if n - since < SPEAKS_FROM or (said >= since and n < 4 * said):
            return None
        if history.spared(LONG):
            return None
        start = start_of(losses, history.last.n if history.last else 1)
        now, late = median(losses[-MANY:]), sorted(losses[-LONG:])
        blind = min(start, history.measured.get("start.chance", [(0, start)])[-1][1] or start)  # the loss of a constant answer
        if n % 100 and now < 0.5 * blind and late[LONG // 2] < start:
            return None  # far down: the quick way out
        noise = noise_of(losses)
        if not all(math.isfinite(x) for x in (start, noise, now)) or start <= 0.0:
            return None
        if now > 0.75 * blind:
            self._extend(losses)
        burst = self._burst if self._burst > BURST * start else 0.0
        level = now > (0.75 if burst else 0.97) * blind and noise < 0.3 * start  # of a run that has not learned
        numbers = {"start": start, "now": now, "noise": noise}
        bar = max(1.25 * start, start + 5.0 * noise, 1.2 * max(losses[-MANY:]))  # above what is usual at the start, and now
        peak = burst or self._peak[noise < 0.1 * start]  # single spikes count only where they are not the usual noise
        if level and peak > bar:
            peak = peak if math.isfinite(peak) else max(x for x in losses if x - x == 0.0)
            what = f"the training loss rose to {peak:.4g} and is {now:.4g} now, {start:.4g} at the start"
            return self._say(n - 1, what, numbers | {"peak": peak, "kind": "lost"})
        if now > 0.97 * start and level and n >= since + 60 and (found := self._blunted(history.norm)):
            what = f"the loss is {now:.4g}, {start:.4g} at the start; the gradient rose to {found[1]:.3g} and is {found[2]:.3g} now"
            return self._say(n - 1, what, numbers | {"peak_norm": found[1], "norm": found[2], "kind": "thrown"})
        if late[LONG // 2] > 1.15 * start + 3.5 * noise and late[LONG // 4] > start:
            what = f"the training loss is {now:.4g}, above the {start:.4g} of the start, for {LONG} steps"
            return self._say(n - 1, what, numbers | {"kind": "above"})
        early = noise_of(losses[:12])
        if self._best < 0.7 * start and early < 0.12 * start and n % 100 == 0:  # where the start is a level, not luck
            back, spikes, low, bar = self._relapses(losses, start, max(noise, early), n)
            rough = 2 * spikes >= self.relapses and noise > 0.06 * start  # single hard batches of a smooth run are not meant
            if back >= self.relapses or rough:
                much = (
                    f"in {back} of the last {RECENT} steps"
                    if back >= self.relapses
                    else f"{spikes} times in the last {RECENT} steps"
                )
                bar = bar if back >= self.relapses else start
                what = f"{much} the loss went back above {bar:.4g}, after {low:.4g} at its best and {start:.4g} at the start"
                return self._say(n - 1, what, numbers | {"best": low, "relapses": back, "spikes": spikes, "kind": "relapses"})
        return None

    def _blunted(self, norm: list[float]) -> tuple[float, float, float] | None:
        """||g|| at the start, at its highest and now, where it rose and then fell below half of what it was."""
        peak, now = max(norm[1:60]), median(norm[-MANY:])
        blunted = peak > 4.0 * norm[0] and now < 0.5 * norm[0] and max(norm[-MANY:]) < 0.5 * peak
        return (norm[0], peak, now) if blunted and math.isfinite(peak) else None

    def _relapses(self, losses: list[float], start: float, noise: float, n: int) -> tuple[int, int, float, float]:
        """Steps of the last 200 half-way back from the best so far, single losses above the start; that best, where half-way is.

        The first count only where a run goes back and comes again several times.
        """
        first = max(self._since + MANY, n - RECENT)
        if all(x <= 0.5 * (start + self._best) for x in losses[first:]):
            return 0, 0, self._best, start  # the quick way out: half-way back is never below that
        self._extend(losses)
        known = (
            [self._many[i] for i in range(-(-self._since // 10), (first - MANY) // 10 + 1)] if first > self._since + MANY else []
        )
        best, back, times, away = min(known, default=math.inf), 0, 0, False
        spikes: list[int] = []
        for k in range(first, n):
            if k % 10 == 0 and (i := (k - MANY) // 10) < len(self._many) and i * 10 >= self._since:
                best = min(best, self._many[i])
            if best < 0.7 * start:
                above, far = self._few[k] - best, max(0.5 * (start - best), 3.0 * noise)
                back += above > far
                times += above > far and not away
                away = above > far or (away and above > 0.5 * far)
                if losses[k] > start + 4.0 * noise and (not spikes or k > spikes[-1] + FEW):
                    spikes.append(k)
        return (back if times >= TIMES else 0), len(spikes), best, best + max(0.5 * (start - best), 3.0 * noise)

    def _say(self, t: int, what: str, evidence: dict[str, float | str]) -> Finding:
        return Finding(
            t,
            "unstable",
            "warn",
            f"step {t}: {what}",
            "the learning rate is too high: steps go past the valley, and what was learned is lost",
            "halve the learning rate, or warm up for longer; --clip 1 bounds single steps",
            evidence,
        )

    def _outlier(self, history: History) -> Finding | None:
        """One step of the ten before the last five that stands alone."""
        n = len(history.loss)
        if n < BEFORE // 2 + 2 * FEW or max(history.norm[-FEW - self.every :]) <= 0.0:
            return None
        tiny = history.last is not None and history.last.n < TINY
        far = (10.0 if tiny else 1.0) * self.far  # single examples differ more than batches do
        for name, rows in (("gradient norm", history.norm), ("loss", history.loss)):
            for k in range(max(n - FEW - self.every, 1), n - FEW):
                if not rows[k] > far * rows[k - 1] > 0.0:  # the quick way out
                    continue
                before = rows[max(k - BEFORE, 0) : k]
                usual, most, after = median(before), max(before), max(rows[k + 1 : k + 1 + FEW])
                if len(before) < 50 or usual <= 0.0 or not (rows[k] > far * usual and rows[k] > 5.0 * most and after < 3.0 * most):
                    continue
                if not math.isfinite(rows[k]) or any(f.evidence.get("at") == k for f in history.findings):
                    continue
                return Finding(
                    n - 1,
                    "data fault",
                    "warn",
                    f"step {n - 1}: the {name} of step {k} alone was {rows[k]:.3g}, {rows[k] / usual:.0f} times the usual one",
                    "one batch is unlike all others: a damaged example, or a value in other units",
                    "look at the examples of that batch; --clip 1 bounds what one batch can do",
                    {"kind": "outlier batch", "at": k, "value": rows[k], "usual": usual, "most": most},
                )
        return None


def start_of(losses: list[float], batch: int) -> float:
    """The median of the first five; not above the very first, where that is no luck of a tiny batch: the next may be harmed."""
    first = [x for x in losses[:FEW] if x - x == 0.0]
    if not first:
        return math.inf
    return min(median(first), first[0]) if batch >= TINY or max(first) > 5.0 * abs(first[0]) else median(first)


def noise_of(losses: list[float]) -> float:
    """The spread of the last 60 losses around their trend."""
    last = losses[-60:]
    return 1.05 * median([abs(b - a) for a, b in pairwise(last)])


def sick() -> list[History]:
    """A run thrown back to where it began, one that stays above, one that learns and loses it, one with a batch of other units."""
    wave = [1.0 + 0.1 * ((37 * t) % 11) / 11 for t in range(240)]
    thrown = [2.3] * 10 + [4.0] * 20 + [2.3] * 70
    above = [1.0] * 10 + [1.4] * 90
    relapses = [2.3 * 0.95**t if t < 80 or (t // 15) % 3 else 1.6 for t in range(240)]
    odd = _run([w * 0.99**t for t, w in enumerate(wave)], norm=lambda t: 1e4 if t == 170 else 1.0)
    return [*(_run([x * w for x, w in zip(losses, wave, strict=False)]) for losses in (thrown, above, relapses)), odd]


def well() -> list[History]:
    """A run on small batches whose losses have long tails, and one that begins near its end and is noisy."""
    tail = [math.exp(1.3 * math.sin(12.9898 * t * t)) for t in range(400)]
    fall = [(2.3 * 0.98**t + 0.1) * w for t, w in enumerate(tail)]
    return [_run(fall), _run([0.2 * w for w in tail])]


def _run(losses: list[float], norm: Callable[[int], float] = lambda t: 1.0) -> History:
    history = History()
    for t, loss in enumerate(losses):
        history.add(Step(t, loss, norm(t), 0.1, 32, t * 0.1, True, 0.0))
    return history
