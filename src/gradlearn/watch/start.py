"""Start: can this model, with this loss, on these data, be trained at all? Asked before the first step, of a few examples.

    loss of the first batch against chance;   g = 0?   units dead or at their bounds?
    g against (L(theta + h v) - L(theta - h v)) / 2h along v = g / |g| of single tensors;   16 examples, over and over: does L fall?

Karpathy, "A recipe for training neural networks" (2019), and cs231n: look at the loss at chance, overfit one batch, check the
gradient. Costs 2 % of the run at most: what a short run has no room for is left out, `start.asked` says how far it came.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch

from gradlearn import peek, preflight
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Start"]

FEW = 16  # examples that must be learnable by heart
SHARE = 0.02  # of the run
NOTHING = 1e-12  # norm of the whole gradient, of which no step can be made
NARROW = 4  # units: of fewer, all may be off for some examples and on for others


class Start:
    """Speaks of a start that nothing can come of: "exploding", "vanishing", "saddle", "dead units", "saturated units",
    "precision fault" (a wrong backward), "underfit" (16 examples cannot be learned).

    Args:
        chance: times the loss of a constant answer from which the start is too far out.
        wrong: relative difference of slope and gradient from which a backward is wrong.
        steps: of one try to learn 16 examples by heart.
    """

    when = "before"
    every = 1
    cost = 0.0

    def __init__(self, *, chance: float = 10.0, wrong: float = 0.25, steps: int = 20) -> None:
        self.chance, self.wrong, self.steps = chance, wrong, steps

    def measure(self, step: Step, theta: Theta, objective: Objective) -> Mapping[str, float] | None:
        """The numbers of every question that the run has room for; None without data, or where the task has no gradient."""
        data = peek.of(objective, "data")
        if data is None or len(data) < 2:
            return None
        room = SHARE * getattr(objective, "steps", 0)
        batch = peek.taken(data, peek.chosen(data, min(max(step.n, 32), 64), "start"))
        rows: dict[str, float] = {"asked": 1.0}
        with peek.untouched(objective.model, train=True), torch.enable_grad():
            rows |= preflight.first(objective, theta, batch)
            if not rows.get("norm", math.nan) >= 0:
                return rows
            few = peek.taken(data, peek.chosen(data, FEW, "few"))
            odd = rows["norm"] < 1e-9 or rows["zero"] == 1.0
            if room >= 4 or odd:
                with peek.exact(objective.model):
                    rows |= preflight.slopes(objective, theta, few) | {"asked": 2.0}
                rows |= preflight.costs(objective, theta, batch, step.n)
            if room >= 8 or odd:
                rows |= preflight.learned(objective, theta, few, self.steps) | {"asked": 3.0}
        with peek.untouched(objective.model):
            for _, what, units, share in peek.activity(objective.model, batch.x):
                if units < NARROW:
                    continue
                rows[what] = max(rows.get(what, 0.0), share)
                rows[f"{what}_all"] = rows.get(f"{what}_all", 0.0) + share * units
                rows[f"{what}_units"] = rows.get(f"{what}_units", 0.0) + units
        return {k: v for k, v in rows.items() if math.isfinite(v)}

    def judge(self, history: History) -> Finding | None:
        """The first of these questions whose answer is no."""
        rows = {k.partition(".")[2]: v[-1][1] for k, v in history.measured.items() if k.startswith("start.")}
        t = max(len(history.loss) - 1, 0)
        if not rows or any(f.evidence.get("by") == "start" for f in history.findings):
            return None
        for name, what, why, remedy in self.answers(rows, {f.name for f in history.findings}):
            return Finding(t, name, "warn", what, why, remedy, {"by": "start", **rows} | KIND.get(name, {}))
        return None

    def answers(self, rows: Mapping[str, float], said: set[str]) -> Iterator[tuple[str, str, str, str]]:
        """(name, what, why, remedy) of all that is wrong, the gravest first."""
        worst = rows.get("slope_error", 0.0)
        if worst > self.wrong:
            what = (
                f"before the first step: the loss changes by {rows['slope']:.4g} along the gradient, which says {rows['said']:.4g}"
            )
            yield "precision fault", what, "a backward of one's own that is wrong, or a loss cut off from what it reports", CHECK
        if rows.get("alike"):
            what = "before the first step: all units of the first layer have the same weights"
            yield "saddle", what, "weights that were set instead of drawn: equal units stay equal", "draw the weights"
        units = rows.get("dead_units", 0.0)
        if rows.get("dead", 0.0) > 0.9 or (units and rows["dead_all"] > 0.65 * units):
            what = f"before the first step: {rows['dead']:.0%} of the units of a layer are zero for every example"
            yield (
                "dead units",
                what,
                "biases or inputs far below zero",
                "biases of zero, standardised inputs, or a leaky activation",
            )
        if rows.get("saturated", 0.0) > 0.6:
            what = f"before the first step: {rows['saturated']:.0%} of the outputs of a layer are at their bounds"
            yield (
                "saturated units",
                what,
                "weights or inputs that are too large",
                "smaller weights, standardised inputs, or a norm before it",
            )
        if rows.get("norm", 1.0) < NOTHING:
            exactly = "exactly zero" if rows["norm"] == 0.0 else f"next to zero ({rows['norm']:.3g})"
            what = f"before the first step: the gradient is {exactly}: the loss is flat where the weights are"
            yield (
                "plateau",
                what,
                "an output that is cut off, rounded or clamped where its slope is zero",
                "look at the last operation",
            )
        elif rows.get("norm", 1.0) < 1e-9 or rows.get("zero", 0.0) == 1.0:
            what = f"before the first step: the gradient of every weight matrix is zero (norm of all {rows['norm']:.3g})"
            yield (
                "vanishing",
                what,
                "weights that are all zero, or an output cut off where its slope is zero",
                "draw the weights; look at the last operation",
            )
        if rows.get("chance", 0.0) > 0 and rows.get("loss", 0.0) > self.chance * rows["chance"] and "data fault" not in said:
            what = f"before the first step: the loss is {rows['loss']:.4g}, that of a constant answer {rows['chance']:.4g}"
            yield (
                "exploding",
                what,
                "weights or inputs are too large: the outputs start far out",
                "smaller weights at the start, standardised inputs, or norms",
            )
        if (
            rows.get("fell", 1.0) < 0.02
            and rows.get("norm", 0.0) >= 1e-9
            and rows.get("few", 0.0) > max(0.5 * rows.get("chance", 0.0), 1e-6)
        ):
            what = (
                f"before the first step: at three rates, the loss of {FEW} examples seen over and over stays at {rows['few']:.4g}"
            )
            yield "underfit", what, "outputs that do not depend on what is trained, or labels that contradict each other", CHECK


KIND = {"precision fault": {"kind": "gradient"}, "underfit": {"kind": "few examples"}}
CHECK = "gradlearn check gradient names the first tensor whose gradient is wrong"


def sick() -> list[History]:
    """A wrong backward; a loss far above chance; no gradient; dead and saturated units; 16 examples that cannot be learned."""
    return [
        told({"slope_error": 1.0, "slope": -0.5, "said": 0.5}),
        told({"loss": 400.0}),
        told({"norm": 0.0, "zero": 1.0}),
        told({"dead": 1.0, "dead_all": 64.0, "dead_units": 128.0}),
        told({"saturated": 0.9, "saturated_all": 50.0, "saturated_units": 64.0}),
        told({"few": 2.3, "fell": 0.0}),
    ]


def well() -> list[History]:
    """At chance; trained before; a loss a few times above it."""
    return [told({}), told({"loss": 0.01}), told({"loss": 9.0, "dead": 0.4, "dead_all": 20.0, "dead_units": 64.0})]


def told(found: Mapping[str, float]) -> History:
    """A short run that started so."""
    history = History()
    usual = {"asked": 3.0, "loss": 2.31, "chance": 2.303, "norm": 1.0, "zero": 0.0, "slope_error": 0.01, "few": 2.3, "fell": 0.2}
    history.note(0, "start", {**usual, **found})
    for t in range(3):
        history.add(Step(t, 1.0 - 0.1 * t, 1.0, 0.1, 32, t * 0.1, True, 0.0))
    return history
