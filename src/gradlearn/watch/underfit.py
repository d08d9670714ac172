"""Underfit: at the end, does the model know its own training examples better than chance, and than a simple learner knows them?

    underfit  <=>  own score on n training examples  <  score of a closed-form learner on the same examples, each left out

The reference is ridge regression on a Gaussian kernel (`closed_form.py`): what it predicts of an example without having seen it, a
model that was trained on it ought to know. Noise in the targets holds both back alike and is no underfit. For words and other
inputs that no kernel takes, chance alone is the bar. Where inputs are to be given back, it is what a plane makes of two numbers for
each example (principal components).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gradlearn import closed_form, peek
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Underfit"]

TOLD = {"diverged", "non-finite", "unstable", "crawling", "vanishing", "exploding", "dead units", "saturated units"} | {
    "noise floor", "data fault", "precision fault", "underfit",
}  # fmt: skip


STANDING = {"plateau", "saddle"}  # of a run that stands at chance
PLANE = 8  # numbers of an example from which an autoencoder is held against two


class Underfit:
    """Speaks at the end where the model is at chance, or clearly behind a closed-form learner: "underfit".

    Args:
        behind: share of the examples that the reference gets right more than the model, beyond noise.
        times: mean squared error of the model over that of the reference.
    """

    when = "after"
    every = 1
    cost = 0.0

    def __init__(self, *, behind: float = 0.1, times: float = 1.4) -> None:
        self.behind, self.times = behind, times

    def measure(self, step: Step, theta: Theta, objective: Objective) -> Mapping[str, float] | None:
        """The score of model, chance and reference on some training examples; None where there is no such score."""
        data = peek.of(objective, "data")
        if data is None or len(data) < 50:
            return None
        batch = peek.taken(data, peek.chosen(data, closed_form.size(getattr(objective, "steps", 0)), "closed form"))
        with peek.untouched(objective.model), torch.no_grad():
            output = peek.outputs(objective.model, batch.x)
        if not isinstance(output, Tensor) or not isinstance(batch.y, Tensor) or not bool(torch.isfinite(output).all()):
            return None
        x = peek.table(batch.x[0] if isinstance(batch.x, tuple) and batch.x else batch.x)
        x = None if x is None or peek.says_nothing(x) or not bool(torch.isfinite(x).all()) else x.cpu()
        y, output = batch.y.cpu(), output.cpu().float()
        if not y.is_floating_point():
            return of_classes(x, y, output)
        return of_numbers(x, y.float(), output) if y.numel() == output.numel() and len(y) == len(output) else None

    def judge(self, history: History) -> Finding | None:
        """A finding where nothing else has explained it."""
        rows = {k.partition(".")[2]: v[-1][1] for k, v in history.measured.items() if k.startswith("underfit.")}
        loud = {f.name for f in history.findings if f.level != "info"}
        if not rows or loud & TOLD:
            return None
        own, blind, other = rows["own"], rows["chance"], rows.get("reference")
        what = (
            "the model is right on {:.1%} of {:.0f} training examples"
            if rows["right"]
            else "the mean squared error on {1:.0f} training examples is {0:.4g}"
        )
        what, bar = what.format(own, rows["n"]), ("{:.1%}" if rows["right"] else "{:.4g}")
        if rows["right"]:
            noise = math.sqrt(max(own * (1 - own), 0.02) / rows["n"])
            behind = other is not None and other - own > self.behind + 2 * noise
            sure = blind < 0.9 if other is None else other > blind + 2 * noise + 0.01
            lost = own < blind + (2 if other is None else 1) * noise and sure
        else:
            behind = other is not None and own > self.times * other and own - other > 0.05 * blind and other < 0.9 * blind
            lost = own > 0.95 * blind and other is None
        if own > 1.05 * rows.get("plane", math.inf):
            what += f", two numbers for each of them and a plane get to {rows['plane']:.4g}"
        elif behind:
            assert other is not None
            what += f", a closed-form learner that had not seen them {bar.format(other)}"
        elif lost and not loud & STANDING:
            what += f", as good as always the same answer ({bar.format(blind)})"
        else:
            return None
        why = "the model is too small for these data, too restricted by penalties or dropout, or was trained too briefly"
        remedy = "a larger model, more steps, a higher --lr, less weight decay or dropout"
        return Finding(max(len(history.loss) - 1, 0), "underfit", "warn", what, why, remedy, rows)


def of_classes(x: Tensor | None, y: Tensor, output: Tensor) -> dict[str, float] | None:
    """Shares that are right, of classes (n,)."""
    labels = peek.classes(y)
    if labels is None or len(labels) != len(output):
        return None
    single = output.ndim == 1 or output.shape[1:].numel() == 1
    if not single and output.ndim != 2:
        return None
    if int(labels.min()) < 0 or int(labels.max()) >= (2 if single else output.shape[1]):
        return None  # some are ignored by the loss
    guess = (output.flatten() > 0).long() if single else output.argmax(1)
    counts = torch.bincount(labels)
    rows = {
        "right": 1.0,
        "n": float(len(y)),
        "own": (guess == labels).double().mean().item(),
        "chance": (counts.max() / counts.sum()).item(),
    }
    if x is not None:
        found = closed_form.left_out(x, one_hot(labels, max(output.shape[-1] if output.ndim == 2 else 2, 2)))
        rows["reference"] = (found.argmax(1) == labels).double().mean().item()
    return rows


def of_numbers(x: Tensor | None, y: Tensor, output: Tensor) -> dict[str, float] | None:
    """Mean squared errors, of targets that are numbers."""
    y, output = y.reshape(len(y), -1), output.reshape(len(y), -1)
    blind = y.var(0, correction=0).mean().item()
    if not blind > 0:
        return None
    rows = {"right": 0.0, "n": float(len(y)), "own": (y - output).double().square().mean().item(), "chance": blind}
    if x is not None and x.shape == y.shape and torch.equal(x, y):  # what it is given, a kernel need not learn to give back
        if y.shape[1] > PLANE:
            rows["plane"] = (closed_form.rebuilt(x) - y).square().mean().item()
    elif x is not None:
        rows["reference"] = (closed_form.left_out(x, y) - y).square().mean().item()
    return rows


def sick() -> list[History]:
    """A third right where a simple learner has nine tenths; at chance; an error four times that of the reference."""
    return [
        told({"right": 1.0, "own": 0.33, "chance": 0.12, "reference": 0.9}),
        told({"right": 1.0, "own": 0.51, "chance": 0.5}),
        told({"right": 0.0, "own": 0.8, "chance": 1.0, "reference": 0.2}),
        told({"right": 0.0, "own": 0.85, "chance": 1.0, "plane": 0.72}),
    ]


def well() -> list[History]:
    """Better than the reference; a noisy target; a model that is not at chance where there is no reference."""
    return [
        told({"right": 1.0, "own": 0.97, "chance": 0.12, "reference": 0.95}),
        told({"right": 1.0, "own": 0.7, "chance": 0.5, "reference": 0.72}),
        told({"right": 0.0, "own": 0.5, "chance": 1.0, "reference": 0.6}),
        told({"right": 1.0, "own": 0.7, "chance": 0.5}),
        told({"right": 0.0, "own": 0.72, "chance": 1.0, "plane": 0.72}),
    ]


def told(found: Mapping[str, float]) -> History:
    """A short run that ended so."""
    history = History()
    for t in range(30):
        history.add(Step(t, 1.0 - 0.01 * t, 1.0, 0.1, 32, t * 0.1, True, 0.0))
    history.note(29, "underfit", {"n": 500.0, **found})
    return history
