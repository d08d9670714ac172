"""Trial steps: rates tried on a descent as it stands, each from the same start and on the same batches, without leaving a trace.

    gain(eta) = mean over the last quarter of the steps of  L_B(theta_0) - L_B(theta_k)

Outwards from the chosen rate in factors of ten until both edges are passed, then halving (in logarithms) between the last rate that
is good and the first that is not. For `band.py`, which says what it means.
"""

from __future__ import annotations

import copy
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from gradlearn import chance
from gradlearn.average.plain import Plain
from gradlearn.descent import Descent
from gradlearn.errors import InputTrouble
from gradlearn.optimizer import pack, unpack
from gradlearn.step import step as take
from gradlearn.symbols import Batch, Now

SHARE = 0.1  # of the best gain, below which a rate crawls
LOSS = 0.05  # of the best gain, by which a rate that loses is above the start
WIDTH = 1.25  # ratio of the two rates between which an edge is known well enough
FAR = 1e9  # a rate so many times the chosen one, or such a part of it, is not tried


@dataclass(frozen=True, slots=True)
class Trial:
    """A few steps at one rate."""

    rate: float
    losses: tuple[float, ...]  # before each step; fewer than the steps where it was given up
    gain: float  # how much lower at the end than at the start, on the same batches; -inf where it was given up


@contextmanager
def untouched(d: Descent) -> Iterator[Callable[[], None]]:
    """Inside, the descent may be stepped by hand; gives what takes theta, buffers, update and `.grad` back to where they were.

    Afterwards all that a step changes is bitwise as found: these, modes, a penalty's own state and the random state.
    """
    theta, model = d.theta.snapshot(), d.theta.model
    tensors, groups = pack(d.update)
    kept = {k: v.clone() for k, v in tensors.items()}, copy.deepcopy(groups)
    grads = [b.grad.clone() for b in d.theta.blocks]
    own = {k: v.clone() for k, v in getattr(d.objective, "state", dict)().items()}
    modes = [(m, m.training) for m in model.modules()]

    def back() -> None:
        d.theta.restore(theta)
        unpack(d.update, kept[0], copy.deepcopy(kept[1]))
        for block, grad in zip(d.theta.blocks, grads, strict=True):
            block.grad.copy_(grad)
        if own:
            d.objective.load({k: v.clone() for k, v in own.items()})  # pyright: ignore[reportAttributeAccessIssue]

    with chance.preserved():
        model.train()
        try:
            yield back
        finally:
            back()
            for module, mode in modes:
                module.training = mode


def batch_of(d: Descent, k: int) -> tuple[Batch, Now]:
    """The batch of the k-th step from now, as the run will see it."""
    now = Now(d.t + k, d.controls.end, d.seen + k * d.batches.size, d.seed, d.round, d.controls.batch)
    return d.data(d.batches(now), chance.key(d.seed, "batch", d.t + k)), now


def walk(d: Descent, factor: float, steps: int) -> Iterator[float]:
    """Steps with one rate all the way; the loss before each, infinite where it or the gradient is not a number."""
    controls = replace(d.controls, rate=factor, finish=-1)
    plain = Plain(d.theta)
    for k in range(steps):
        batch, now = batch_of(d, k)
        done = take(d.theta, batch, d.objective, d.gradient, d.update, (), plain, now, controls, len(d.data))
        yield done.loss if done.applied else math.inf


def pace_of(d: Descent, back: Callable[[], None]) -> float:
    """Seconds of a step: the median of a few, the first not counted."""
    times = [time.perf_counter()]
    for _ in walk(d, 1.0, 4):
        times.append(time.perf_counter())
    back()
    return max(statistics.median(b - a for a, b in itertools.pairwise(times[1:])), 1e-6)


class Search:
    """Rates tried so far, and which to try next."""

    def __init__(self, d: Descent, back: Callable[[], None], unit: float, steps: int, deadline: float) -> None:
        self.d, self.back, self.unit, self.steps, self.deadline = d, back, unit, steps, deadline
        self.trials: dict[float, Trial] = {}
        self.last = range(steps - max(steps // 4, 1), steps)  # the steps whose losses are compared
        known = {k: d.gradient(d.objective, d.theta, batch_of(d, k)[0]).loss for k in (0, *self.last)}
        back()
        self.start, self.reference = known[0], [known[k] for k in self.last]
        if not all(map(math.isfinite, known.values())):
            raise InputTrouble("probe: the loss is not finite before the first step; look at the data and the model")

    def try_out(self, rate: float) -> Trial:
        """A few steps at this rate, from the same start; given up where the loss is ten times what it was."""
        losses: list[float] = []
        ceiling = self.start + 10.0 * max(abs(self.start), self.gained, 1e-30)
        for loss in walk(self.d, rate / self.unit, self.steps):
            losses.append(loss)
            if not loss <= ceiling:
                break
        self.back()
        gain = -math.inf
        if len(losses) == self.steps and losses[-1] <= ceiling:
            gain = statistics.fmean(a - losses[k] for a, k in zip(self.reference, self.last, strict=True))
        self.trials[rate] = Trial(rate, tuple(losses), gain)
        return self.trials[rate]

    @property
    def gained(self) -> float:
        """The best gain so far; 0 where nothing was gained."""
        return max(0.0, *(t.gain for t in self.trials.values()), 0.0)

    def lost(self, trial: Trial) -> bool:
        """Whether it ended above the start, by more than a twentieth of what the best has gained."""
        return trial.gain < -LOSS * self.gained

    def crawls(self, trial: Trial) -> bool:
        """Whether it gained a small share of what the best has."""
        return trial.gain < SHARE * self.gained

    def late(self) -> bool:
        """Whether the time is used up."""
        return time.perf_counter() > self.deadline

    def run(self, chosen: float) -> None:
        """Outwards in factors of ten until both edges are passed, then between, where the time allows it."""
        first = self.try_out(chosen)
        for way in (10.0, 0.1):
            rate = chosen
            if way < 1.0 and self.gained > 0.0 and self.crawls(first) and not self.lost(first):
                break
            while not self.late() and 1.0 / FAR < rate * way / chosen < FAR:
                rate *= way
                trial = self.try_out(rate)
                if self.lost(trial) if way > 1.0 else self.gained > 0.0 and self.crawls(trial):
                    break
        while not self.late() and self.gained > 0.0:
            both = (self.edge(), self.low())
            gaps = [(a, b) for a, b in both if a > 0.0 and math.isfinite(b) and b / a > WIDTH]
            if not gaps:
                return
            for a, b in gaps:
                self.try_out(math.sqrt(a * b))

    def edge(self) -> tuple[float, float]:
        """(the highest rate that is not lost, the next above it that was tried); 0 and inf where there is none."""
        order = sorted(self.trials)
        good = max((r for r in order if not self.lost(self.trials[r])), default=0.0)
        return good, min((r for r in order if r > good), default=math.inf)

    def low(self) -> tuple[float, float]:
        """(the next below it that was tried, the lowest rate that does not crawl); 0 and inf where there is none."""
        order = sorted(self.trials)
        good = min((r for r in order if not self.crawls(self.trials[r])), default=math.inf)
        return max((r for r in order if r < good), default=0.0), good
