"""Targets: can they be learned as they stand - several classes, none all but absent; numbers without one that outweighs all?

    imbalanced  <=>  share of the largest class > 0.94  or  K * share of the smallest < 0.05,   K classes
    absurd      <=>  max |y - median| / scale > 1,000,   scale = (q95 - q5) / 3.3

Looked at once, before the first step: labels of all examples, numbers of at most 5,000. A squared error weighs a target by the
square of its distance: one at 1,000 scales outweighs a million others. An uneven share of classes is no fault of the data where the
world is so; the score is then to be read with care (He and Garcia, "Learning from imbalanced data", IEEE TKDE 2009).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gradlearn import peek
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Targets"]


class Targets:
    """Speaks of classes that are all but absent, of targets that are all the same or absurd: "data fault".

    Args:
        most: share of one class.
        least: share of a class, in parts of an even share.
        absurd: distance from the median, in scales.
    """

    when = "before"
    every = 1
    cost = 0.0

    def __init__(self, *, most: float = 0.94, least: float = 0.05, absurd: float = 1000.0) -> None:
        self.most, self.least, self.absurd = most, least, absurd

    def measure(self, step: Step, theta: Theta, objective: Objective) -> Mapping[str, float] | None:
        """Counts of classes, or distances of numbers; None where they cannot be read cheaply."""
        data = peek.of(objective, "data")
        if data is None or not peek.in_memory(data):
            return None
        index = peek.chosen(data, peek.rows_within(data, 5000, 1_000_000), "targets")
        x, y = peek.read(data, index)
        if not isinstance(y, Tensor) or len(y) < 20 or peek.says_nothing(x):
            return None
        labels = peek.classes(y)
        if labels is not None:
            known = peek.known_of(data, "labels")
            return counted(labels if known is None else known)
        return scattered(y.reshape(len(y), -1).float(), index) if y.is_floating_point() else None

    def judge(self, history: History) -> Finding | None:
        """What is wrong with the targets."""
        rows = {k.partition(".")[2]: v[-1][1] for k, v in history.measured.items() if k.startswith("targets.")}
        if not rows or any(f.evidence.get("kind") in KINDS for f in history.findings):
            return None
        t = max(len(history.loss) - 1, 0)
        if rows.get("same"):
            what = "every training target is the same: there is nothing to tell apart"
            return Finding(
                t,
                "data fault",
                "warn",
                what,
                "the wrong column, or a filter that left one class",
                "look at the targets",
                {"kind": KINDS[0], **rows},
            )
        if "largest" in rows:
            if rows["largest"] > self.most:
                what = f"{rows['largest']:.1%} of the training examples are of class {rows['which']:.0f}"
                why = "always guessing that class is right as often: accuracy says little here"
            elif rows["smallest"] * rows["classes"] < self.least:
                what = f"class {rows['rare']:.0f}, of {rows['classes']:.0f}, has {rows['smallest']:.2%} of the training examples"
                why = "a class that is hardly ever seen is hardly ever guessed, and the mean does not show it"
            else:
                return None
            remedy = "class_weight= in fit, batches='balanced', or more examples of it; look at the score of each class"
            return Finding(t, "data fault", "warn", what, why, remedy, {"kind": KINDS[1], **rows})
        if rows.get("far", 0.0) > self.absurd:
            what = f"the target of example {rows['example']:.0f} lies {rows['far']:.3g} times the usual spread from the median"
            why = "another unit, a missing-value code or a damaged record: it outweighs all other examples"
            return Finding(t, "data fault", "warn", what, why, "mend it or leave it out", {"kind": KINDS[2], **rows})
        return None


KINDS = ("constant target", "imbalance", "absurd target")


def counted(labels: Tensor) -> dict[str, float]:
    """Shares of the classes that are there at all."""
    counts = torch.bincount(labels[labels >= 0])
    there = counts.nonzero().flatten()
    if len(there) < 2:
        return {"same": 1.0}
    share = counts[there].double() / counts.sum()
    large, small = int(share.argmax()), int(share.argmin())
    shown = {"classes": len(there), "largest": share[large], "which": there[large], "smallest": share[small], "rare": there[small]}
    return {k: float(v) for k, v in shown.items()}


def scattered(y: Tensor, index: Tensor) -> dict[str, float]:
    """How far the farthest target lies, of numbers (n, d); what is not finite is another check's."""
    good = torch.isfinite(y).all(1)
    y, index = y[good], index[good]
    if len(y) < 20:
        return {}
    if bool((y == y[0]).all()):
        return {"same": 1.0}
    low, middle, high = torch.quantile(y[:, :64], torch.tensor([0.05, 0.5, 0.95]), dim=0)
    scale = ((high - low) / 3.29).mean()  # of all columns: pixels have spreads of their own
    if scale <= 0:
        return {}
    away = (y[:, :64] - middle).abs().amax(1) / scale
    worst = int(away.argmax())
    return {"far": away[worst].item(), "example": float(index[worst])}


def sick() -> list[History]:
    """One class in a hundred; one of ten classes all but absent; a target of a million; all the same."""
    even = {"classes": 10.0, "largest": 0.12, "which": 3.0}
    return [
        told({"classes": 2.0, "largest": 0.99, "which": 0.0, "smallest": 0.01, "rare": 1.0}),
        told({**even, "smallest": 0.002, "rare": 7.0}),
        told({"far": 1e6, "example": 12.0}),
        told({"same": 1.0}),
    ]


def well() -> list[History]:
    """Four to one; a hundred even classes; a heavy tail."""
    return [
        told({"classes": 2.0, "largest": 0.8, "which": 0.0, "smallest": 0.2, "rare": 1.0}),
        told({"classes": 100.0, "largest": 0.02, "which": 3.0, "smallest": 0.005, "rare": 7.0}),
        told({"far": 40.0, "example": 12.0}),
    ]


def told(found: Mapping[str, float]) -> History:
    """A short run whose targets showed this."""
    history = History()
    history.note(0, "targets", found)
    for t in range(3):
        history.add(Step(t, 1.0 - 0.1 * t, 1.0, 0.1, 32, t * 0.1, True, 0.0))
    return history
