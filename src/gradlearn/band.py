"""The rate band: from which learning rate on do a few steps lose what they had, and below which do they get nowhere?

    gain(eta) = mean over the last batches of  L_B(theta_0) - L_B(theta_k),     k steps with the rate eta, the same batches for all
    edge: the lowest rate from which gain < 0;      low: the highest rate below which gain < 0.1 of the best

A learning-rate range test (Smith, arXiv 1506.01186) with each rate from the same start and on the same batches, so that the noise
of the batches drops out. Everything is bitwise as found afterwards. For gradient descent on all of the data the edge is not tried
but known: 2 / largest curvature, with momentum b 2 (1 + b) / it, Nesterov's by (1 + 2 b) less (Cohen et al., arXiv 2103.00065).

Use it to see where a rate lies, and as a safety net. Not to choose one: over many runs the rate that is best for 30 steps was up to
ten times too low for Adam's kin and too high for Muon's.
"""

from __future__ import annotations

import copy
import math
import time as clock_time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from gradlearn import chance
from gradlearn.curvature.edge import largest
from gradlearn.descent import Descent
from gradlearn.errors import InputTrouble
from gradlearn.step import factor, limit
from gradlearn.trials import Search, Trial, batch_of, pace_of, untouched

FEW, MANY = 5, 40  # steps of one trial
TRIALS = 16  # that a usual probe takes
SECONDS, BUDGET = 3.0, 0.02  # what a probe may take: so long, or this share of the run


@dataclass(frozen=True, slots=True)
class Band:
    """Where the learning rate may lie.

    Attributes:
        chosen: the peak rate, the plan's or the user's; in the middle of a run the rate of the next step.
        edge: the rate from which on the loss is lost; inf where no rate tried was too high.
        low: the rate below which a few steps get nowhere; 0 where none was too low.
        best: the rate of the trial that gained most; nan where none gained.
        start: the loss before the first step.
        trials: by rising rate.
        tried: between which two rates the edge lies by trial: (gains, loses).
        bound: 2 / largest curvature (see above), where that is the law of this update; else None.
        steps: of a trial. `update`, `warm`: the update's name, and whether the run begins with a warm-up.
        seconds: that the probe took.
    """

    chosen: float
    edge: float
    low: float
    best: float
    start: float
    trials: tuple[Trial, ...]
    tried: tuple[float, float]
    bound: float | None
    steps: int
    update: str
    warm: bool
    seconds: float

    @property
    def rates(self) -> tuple[float, ...]:
        """That were tried, rising."""
        return tuple(t.rate for t in self.trials)

    @property
    def losses(self) -> tuple[float, ...]:
        """After the steps of each, on the same batches: the loss at the start less the gain; inf where it was given up."""
        return tuple(self.start - t.gain for t in self.trials)

    @property
    def verdict(self) -> str:
        """Of the chosen rate: "too low", "good", "too high"; "unknown" where no rate gained anything."""
        if math.isnan(self.best):
            return "unknown"
        return "too high" if self.chosen >= self.edge else "too low" if self.chosen <= self.low else "good"

    def document(self) -> dict[str, Any]:
        """Plain numbers, for --json and pictures; None for what is not finite."""
        trials = [{"rate": r, "loss": finite(x)} for r, x in zip(self.rates, self.losses, strict=True)]
        tried = [finite(x) for x in self.tried]
        plain = {name: getattr(self, name) for name in ("chosen", "verdict", "start", "bound", "steps", "update", "warm")}
        ends = {name: finite(getattr(self, name)) for name in ("edge", "low", "best")}
        return plain | ends | {"tried": tried, "trials": trials, "seconds": round(self.seconds, 3)}

    def explain(self) -> str:
        """The band in a few sentences."""
        from gradlearn.report.band import sentences

        return sentences(self.document())

    def picture(self, path: str | Path) -> Path:
        """Write the band as an SVG file. Raises ResourceTrouble."""
        from gradlearn.report.band import write

        return write(self.document(), Path(path))


def finite(value: float) -> float | None:
    """The number, None where it is none."""
    return value if math.isfinite(value) else None


def band(d: Descent, *, lr: float | None = None, steps: int | None = None, seconds: float | None = None) -> Band:
    """Try rates on this descent as it stands; model, update, average, order of the data and random state are as found afterwards.

    Args:
        d: any descent, before its first step or later; it is not advanced.
        lr: what its rate is called (the plan's `lr`); default: that of the first group of parameters.
        steps: of one trial; default: as many as fit, from 5 to 40.
        seconds: that the probe may take; default: 3, or 2 % of the run if that is more. No limit where `steps` is given.
    """
    begun = clock_time.perf_counter()
    unit = d.update.param_groups[0]["initial_lr"] if lr is None else lr
    chosen = unit * (factor(d.rate, d.now(), d.controls) if d.t else 0.0) or unit * d.controls.rate
    with untouched(d) as back:
        most = math.inf
        if steps is None or seconds is not None:
            pace = pace_of(d, back)
            most = seconds if seconds is not None else max(SECONDS, BUDGET * pace * max(d.controls.end - d.t, 0))
            steps = steps or max(min(int(most / (TRIALS * pace)), MANY), FEW)
        search = Search(d, back, unit, steps, begun + most)
        search.run(chosen)
        bound = bound_of(d, begun + most - clock_time.perf_counter())
    return _found(d, search, chosen, bound, clock_time.perf_counter() - begun)


def _found(d: Descent, search: Search, chosen: float, bound: float | None, seconds: float) -> Band:
    """What came of it."""
    (good, lost), (crawling, moving) = search.edge(), search.low()
    edge = bound if bound is not None else math.sqrt(good * lost) if good > 0.0 else lost
    low = math.sqrt(crawling * moving) if crawling > 0.0 and math.isfinite(moving) else 0.0
    rows = tuple(search.trials[r] for r in sorted(search.trials))
    best = max(rows, key=lambda t: t.gain)
    return Band(
        chosen=chosen,
        edge=edge,
        low=low,
        best=best.rate if best.gain > 0.0 else math.nan,
        start=search.start,
        trials=rows,
        tried=(good, lost),
        bound=bound,
        steps=search.steps,
        update=type(d.update).__module__.rpartition(".")[2],
        warm=any(type(r).__module__.endswith(".warmup") for r in d.rate),
        seconds=seconds,
    )


def bound_of(d: Descent, seconds: float = math.inf) -> float | None:
    """The edge that the curvature sets where theta stands; None where that is not the law: other updates, batches, clipping."""
    full = d.batches.size >= len(d.data) and type(d.gradient).__module__ == "gradlearn.gradient.backprop"
    if type(d.update).__module__ != "gradlearn.update.sgd" or not full or limit(d.controls):
        return None
    group = d.update.param_groups[0]
    b = group["momentum"]
    most = largest(d.objective, batch_of(d, 0)[0], seconds)
    if most is None or most <= 0.0:
        return None
    most += max(g["weight_decay"] for g in d.update.param_groups)
    return 2.0 * (1.0 + b) / (1.0 + 2.0 * b if group["nesterov"] else 1.0) / most


def probe(
    model: nn.Module,
    data: Any,
    loss: str | Callable[..., Any] = "cross_entropy",
    *,
    valid: Any = "auto",
    time: float | str | None = None,
    class_weight: Any = None,
    **given: Any,
) -> Band:
    """The rate band of a module before training: which rates are too low, which are good, from which on the loss is lost.

    A copy of the module is stepped; the module, its `.grad`s and torch's random state stay as they are.

    Args:
        model, data, loss, valid, class_weight: as for `fit`.
        time: seconds, or "5s", that the probe may take; default: 3 s, or 2 % of the run if that is more.
        given: as for `fit`, less `run`, `resume` and `show`: `lr`, `update`, `batch`, `steps`, `adamw__weight_decay` ...

    Returns:
        The band: `.edge`, `.low`, `.chosen`, `.verdict`, `.explain()`, `.picture("band.svg")`.

    Raises:
        InputTrouble: as `fit`, or a loss that is not finite at the start.
    """
    from gradlearn.learn import SETTINGS, choices_of, planned, task_of
    from gradlearn.plan import Plan, seconds_of

    for name in ("run", "resume", "show"):
        if given.pop(name, None) is not None:
            raise InputTrouble(f"probe: takes no {name!r}; use fit")
    seconds = None if time is None else seconds_of(time)
    user = choices_of({k: given.pop(k, None) for k in SETTINGS}, given)
    with chance.preserved():
        plan = Plan({"compile": "off"} | user)
        d, _ = planned(task_of(copy.deepcopy(model), data, loss, valid, user, class_weight, user.get("seed", 0)), plan, 0.0)
        try:
            return band(d, lr=plan["lr"], seconds=seconds)
        finally:
            d.theta.release()
