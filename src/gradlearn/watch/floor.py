"""Floor: is it the rate and the batch, and no longer the model, that keep the loss from falling?

    calm = average of theta_t over the last half, or eighth, of a run whose rate does not fall;  or theta_T and ten steps downhill
           on batches of 256
    noise floor  <=>  L(calm) < (1 - share) L(theta_T) on two samples together, by two thirds of it on each, and the mean of the
                      losses of the last third is not below that of the third before by 2.5 standard errors

At a constant rate theta ends in a walk about its goal, as wide as rate times noise, and the loss stays above what the same weights
can do: their average is at the middle of the walk, and a few steps with little noise fall into it where it is steep. Polyak &
Juditsky, "Acceleration of stochastic approximation by averaging", 1992. Costs a sum of theta now and then and some thirty batches
at the end, and nothing where the rate falls. `noise` measures the noise itself, at the cost of a step each time; this one looks at
what it does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean, pvariance

import numpy as np
import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.curvature import LossFunction, downhill, mean_of, still
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Batch, Data, Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Floor"]

TOLD = {"noise floor", "plateau", "saddle", "crawling", "unstable", "diverged", "vanishing", "exploding", "precision fault"} | {
    "dead units", "saturated units",
}  # fmt: skip
FALLEN = 0.7  # of its largest: below it the rate has fallen
PARTS = (0.5, 0.125)  # of the run, over which theta is averaged
DOWN = 10  # steps downhill
LARGE = 1 << 26  # parameters from which averages are too much memory


class Floor:
    """Speaks near the end of a run whose averaged weights are clearly better than its last: "noise floor".

    Args:
        every: steps between two weights that are averaged.
        examples: of each of the two samples.
        share: of the loss that the average must take off.
        least: steps a run must have.
    """

    cost = 0.0

    def __init__(self, *, every: int = 20, examples: int = 256, share: float = 0.1, least: int = 200) -> None:
        for name, value, low in (("every", every, 1), ("examples", examples, 2), ("least", least, 20)):
            if value < low:
                raise InputTrouble(f"--floor.{name} {value}: must be at least {low}")
        if not 0.0 < share < 1.0:
            raise InputTrouble(f"--floor.share {share}: must be in (0, 1)")
        self.every, self.examples, self.share, self.least = every, examples, share, least
        self._sums: list[list[Tensor]] = [[] for _ in PARTS]
        self._counts = [0] * len(PARTS)

    def measure(self, step: Step, theta: Theta, objective: Objective) -> Mapping[str, float] | None:
        """Nothing yet: `judge` knows whether the rate has fallen, and measures where it has not."""
        self._theta, self._objective = theta, objective
        return None

    def state(self) -> dict[str, Tensor]:
        """The sums so far, for a checkpoint."""
        kept = {f"sum.{k}.{i}": s for k, sums in enumerate(self._sums) for i, s in enumerate(sums)}
        return kept | {"counts": torch.tensor(self._counts)} if kept else {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._counts = [int(c) for c in state["counts"]] if state else [0] * len(PARTS)
        own = [sorted((name for name in state if name.startswith(f"sum.{k}.")), key=place) for k in range(len(PARTS))]
        self._sums = [[state[name].clone() for name in names] for names in own]

    def judge(self, history: History) -> Finding | None:
        """A finding at the last look of a run that fits."""
        t, end = len(history.loss) - 1, getattr(history, "end", 0) or len(history.loss)
        some = history.lr[:: max(t // 50, 1)]  # of a long run: what falls to zero is seen by a few
        if end < self.least or history.lr[-1] < FALLEN * max(some) or len(self._theta) > LARGE:
            self._sums, self._counts = [[] for _ in PARTS], [0] * len(PARTS)
            return None
        self._add(t, end)
        if t + 1 + self.every <= end or not stands(history.loss):
            return None
        if any(f.name in TOLD and f.level != "info" for f in history.findings):
            return None
        found = self._measured(t, history)
        if found is None:
            return None
        gains = [1.0 - found[f"mean.{k}"] / found[f"here.{k}"] if found[f"here.{k}"] > 0.0 else 0.0 for k in range(2)]
        here, mean = (found[f"{name}.0"] + found[f"{name}.1"] for name in ("here", "mean"))
        if mean > (1.0 - self.share) * here or min(gains) < 2.0 * self.share / 3.0:
            return None
        return Finding(
            t,
            "noise floor",
            "warn",
            f"step {t}: the loss stands at {here / 2:.4g}; where it walks about it could be {mean / 2:.4g}",
            f"batches of {history.last.n if history.last else 1} at a rate that does not fall: every step undoes others",
            "let the rate fall to zero (--rate linear), average the weights (--average ema), or take larger batches",
            found | {"batch": history.last.n if history.last else 1},
        )

    def _add(self, t: int, end: int) -> None:
        for k, part in enumerate(PARTS):
            if t + 1 < (1.0 - part) * end:
                continue
            if not self._sums[k]:
                self._sums[k], self._counts[k] = [torch.zeros_like(b.flat, dtype=wide(b.flat)) for b in self._theta.blocks], 0
            for own, block in zip(self._sums[k], self._theta.blocks, strict=True):
                own.add_(block.flat)
            self._counts[k] += 1

    def _measured(self, t: int, history: History) -> dict[str, float] | None:
        """The loss "here" and of the calmest, "mean", on both samples. Noted."""
        noted = {f"{name}.{k}": history.measured.get(f"floor.{name}.{k}", []) for name in ("here", "mean") for k in range(2)}
        if all(rows and rows[-1][0] == t for rows in noted.values()):
            return {k: rows[-1][1] for k, rows in noted.items()}
        data: Data | None = getattr(self._objective, "data", None)
        if data is None or len(data) < 4:
            return None
        k = min(self.examples, len(data) // 2)
        index = torch.arange(2 * k) * max(len(data) // (2 * k), 1)
        with chance.preserved(), torch.no_grad(), still(self._theta.model):
            batches = [data(index[part::2], part + 1) for part in range(2)]
            here = [self._loss(batch) for batch in batches]
            kept = [b.flat.clone() for b in self._theta.blocks]
            means = [here]
            for sums, count in zip(self._sums, self._counts, strict=True):
                if not count:
                    continue
                try:
                    for block, own in zip(self._theta.blocks, sums, strict=True):
                        block.flat.copy_(own / count)
                    means.append([self._loss(batch) for batch in batches])
                finally:
                    for block, own in zip(self._theta.blocks, kept, strict=True):
                        block.flat.copy_(own)
        draws = [torch.from_numpy(chance.integers(len(data), 0, "floor", j, np.arange(k))) for j in range(DOWN)]
        calm = downhill(self._objective, [data(draw, j + 3) for j, draw in enumerate(draws)])
        with chance.preserved(), torch.no_grad():
            means.append([float(LossFunction(self._objective, batch)(calm)) for batch in batches])
        mean = min(means, key=lambda pair: max(pair) if all(map(math.isfinite, pair)) else math.inf)
        found = {f"here.{i}": here[i] for i in range(2)} | {f"mean.{i}": mean[i] for i in range(2)}
        if not all(map(math.isfinite, found.values())):
            return None
        history.note(t, "floor", found)
        return found

    def _loss(self, batch: Batch) -> float:
        chance.reseed(batch.draw)
        return mean_of(self._objective(batch))


def wide(t: Tensor) -> torch.dtype:
    """In which weights like these can be summed."""
    return torch.float32 if t.dtype in (torch.float16, torch.bfloat16) else t.dtype


def place(name: str) -> int:
    """The number of a block in the name of its sum."""
    return int(name.rpartition(".")[2])


def stands(losses: list[float]) -> bool:
    """Whether the losses of the last third are not below those of the third before, as far as their noise tells."""
    third = len(losses) // 3
    before, last = losses[-2 * third : -third], losses[-third:]
    error = math.sqrt((pvariance(before) + pvariance(last)) / third)
    return fmean(before) - fmean(last) < 2.5 * error


def sick() -> list[History]:
    """A run at a constant rate that stands still, and whose averaged weights have half its loss."""
    return [_run({"here.0": 0.5, "here.1": 0.52, "mean.0": 0.2, "mean.1": 0.25})]


def well() -> list[History]:
    """An average that is hardly better, or better on one sample only; a loss that still falls; a rate that falls."""
    half = {"here.0": 0.5, "here.1": 0.52, "mean.0": 0.2, "mean.1": 0.25}
    return [_run(half | {"mean.0": 0.48, "mean.1": 0.5}), _run(half | {"mean.1": 0.5}), _run(half, 0.997), _run(half, rate=0.995)]


def _run(known: dict[str, float], falls: float = 0.95, rate: float = 1.0) -> History:
    history = History()
    for t in range(400):
        history.add(Step(t, 0.5 + 1.5 * falls**t + 0.05 * math.sin(t), 1.0, 0.1 * rate**t, 2, t * 0.1, True, 0.0))
    history.note(399, "floor", known)
    return history
