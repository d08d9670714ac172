"""Gap: does the model still learn what holds for other examples too, or by now the training examples alone?

    rise = now / best - 1 of the validation loss (medians of three looks),  gap_share = (valid - train) / valid
    overfit  <=>  rise > 20 % beyond its jitter, for three looks in a row, while the training loss has gone on falling

Prechelt, "Early stopping - but when?" (1998): UP_s, s looks in a row above the best, is the best trade-off; its threshold GL alone
is fooled by noise. A gap by itself is no trouble: networks that interpolate have one and go on improving; it is a remark. So is a
validation loss that rises while the score itself improves by more than its noise: the model grows too sure, not worse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from gradlearn import peek
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Objective, Score, Step
from gradlearn.theta import Theta

__all__ = ["Gap"]

LOUD = 0.8  # of the validation loss: a gap that is worth a remark


class Gap:
    """Speaks where the validation loss has turned and risen: "overfit". Remarks a large gap, and that there is none: "underfit".

    Args:
        rise: of the validation loss above its best; half of it, for twice as long, where the examples have been learned by heart
            and the loss is what is scored.
        looks: in a row.
    """

    when = "scored"
    every = 1
    cost = 0.0

    def __init__(self, *, rise: float = 0.2, looks: int = 3) -> None:
        if looks < 2:
            raise InputTrouble(f"--gap.looks {looks}: must be at least 2")
        self.rise, self.looks = rise, looks

    def measure(self, step: Step, theta: Theta, objective: Objective) -> Mapping[str, float] | None:
        """How many validation examples there are, for the noise of a score."""
        valid = peek.of(objective, "valid")
        return None if valid is None else {"examples": float(len(valid))}

    def judge(self, history: History) -> Finding | None:
        """A warning where the validation loss has turned for good; else a remark, once."""
        pairs = paired(history.scores)
        if len(pairs) < self.looks + 1 or not history.loss:
            return None
        said = {f.name for f in history.findings if f.level != "info"}
        finding = None if "overfit" in said else self.turned(history, pairs)
        remarked = {f.name for f in history.findings}
        return finding or (self.remark(history, pairs) if not remarked & {"overfit", "underfit"} else None)

    def turned(self, history: History, pairs: Sequence[tuple[int, Score, Score]]) -> Finding | None:
        """Overfit: see above."""
        valid, train = [loss_of(v) for _, _, v in pairs], [loss_of(s) for _, s, _ in pairs]
        smooth = [median(valid[max(k - 1, 0) : k + 2]) for k in range(len(valid))]
        k = min(range(len(smooth)), key=smooth.__getitem__)
        best, now = smooth[k], min(valid[-self.looks :])  # all of the last looks are at least so far up
        by_heart = (
            train[-1] < 0.1 * valid[-1] and not pairs[-1][2].higher and min(valid[-2 * self.looks :]) > best * (1 + self.rise / 2)
        )
        if len(valid) - k <= self.looks or not best > 0 or not (now > best * (1 + self.rise) or by_heart):
            return None
        jitter = median([abs(a - 2 * b + c) for a, b, c in zip(valid, valid[1:], valid[2:], strict=False)]) / math.sqrt(6) * 1.48
        before, after = min(train[max(k - 1, 0) : k + 2]), median(train[-self.looks :])
        if now - best < (3 if now > best * (1 + self.rise) else 5) * jitter or after > 0.97 * before or valid[-1] < 1.2 * train[-1]:
            return None
        start = max(median(history.loss[:3]), valid[0])  # above it, it is worse than knowing nothing, however many are right
        if now < min(1.5 * best, start) and better(history, pairs[k][2], pairs[-1][2]):
            return None
        evidence = self.evidence(pairs) | {"best": best, "now": valid[-1], "t_best": pairs[k][0]}
        what = (
            f"step {len(history.loss) - 1}: the validation loss is {valid[-1]:.4g}, after {best:.4g} at step {pairs[k][0] - 1}, "
            f"while the training loss has fallen from {train[k]:.4g} to {train[-1]:.4g}"
        )
        why = "the model learns the training examples by heart: too few of them for what it can keep"
        remedy = "more examples or augmentation, weight decay or dropout, fewer steps; --average soup keeps the best"
        return Finding(len(history.loss) - 1, "overfit", "warn", what, why, remedy, evidence)

    def remark(self, history: History, pairs: Sequence[tuple[int, Score, Score]]) -> Finding | None:
        """A large gap, or none with much left to learn; after a quarter of the usual 20 looks."""
        t, evidence = len(history.loss) - 1, self.evidence(pairs)
        train, valid = loss_of(pairs[-1][1]), loss_of(pairs[-1][2])
        if len(pairs) < 5 or not 0 < valid < math.inf:
            return None
        if evidence["gap_share"] > LOUD and all((loss_of(v) - loss_of(s)) > LOUD * loss_of(v) for _, s, v in pairs[-2:]):
            what = f"step {t}: the loss is {train:.4g} on training examples and {valid:.4g} on others"
            why = "the model has learned the training examples nearly by heart; that is no harm while the validation score improves"
            return Finding(t, "overfit", "info", what, why, "more examples, augmentation or weight decay narrow the gap", evidence)
        start = median(history.loss[:3])
        still = [loss_of(s) for _, s, _ in pairs[-3:]]
        slow = max(still) - min(still) < 0.02 * max(still)
        if abs(evidence["gap_share"]) < 0.03 and train > 0.7 * start and slow:
            what = f"step {t}: training and validation loss are {train:.4g} and {valid:.4g}, not far below {start:.4g} at the start"
            why = (
                "the model has kept little of the training examples: it is too small or too restricted, or there is no more in them"
            )
            return Finding(t, "underfit", "info", what, why, "a larger model, more steps, less weight decay or dropout", evidence)
        return None

    def evidence(self, pairs: Sequence[tuple[int, Score, Score]]) -> dict[str, float]:
        """{"gap", "gap_share"} at the last look."""
        train, valid = loss_of(pairs[-1][1]), loss_of(pairs[-1][2])
        return {"gap": valid - train, "gap_share": (valid - train) / max(abs(valid), 1e-12)}


def paired(scores: Sequence[tuple[int, str, Score]]) -> list[tuple[int, Score, Score]]:
    """(t, train, valid) of each step at which both were scored, with finite losses."""
    train = {t: s for t, split, s in scores if split == "train"}
    rows = [(t, train[t], s) for t, split, s in scores if split == "valid" and t in train]
    return [row for row in rows if math.isfinite(loss_of(row[1]) + loss_of(row[2]))]


def loss_of(score: Score) -> float:
    """The loss of a score: its own, or the main value where that is one."""
    return score.all.get("loss", score.value if not score.higher else -score.value)


def better(history: History, old: Score, new: Score) -> bool:
    """Whether the main score has improved by more than two standard errors; of a score that is the loss itself: no."""
    if not new.higher:
        return False
    n = history.measured.get("gap.examples", [(0, 500.0)])[-1][1]
    p = min(max(new.value, 0.0), 1.0)
    return new.value - old.value > 2 * math.sqrt(max(p * (1 - p), 1e-3) / n)


def sick() -> list[History]:
    """Two runs whose validation loss turns at a third of the way, of a loss alone and with accuracies."""
    return [
        told([(2 * 0.7**k, 0.6 + 0.1 * abs(k - 6) + 0.05 * max(k - 6, 0), 0.0) for k in range(20)]),
        told([(2 * 0.7**k, 0.6 + 0.1 * abs(k - 6), 0.80 - 0.002 * k) for k in range(20)]),
    ]


def well() -> list[History]:
    """A small gap; a valid loss that jitters; one that turns by a tenth; one that rises a little while the accuracy still grows."""
    return [
        told([(2 * 0.8**k + 0.2, 2 * 0.8**k + 0.3, 0.9 - 0.5 * 0.8**k) for k in range(20)]),
        told([(2 * 0.8**k + 0.2, 2 * 0.8**k + 0.4 + (0.15 if k % 3 else 0.0), 0.9 - 0.5 * 0.8**k) for k in range(20)]),
        told([(0.9 * 0.9**k + 0.2, 0.6 + (0.01 * abs(k - 8)), 0.85) for k in range(20)]),
        told([(0.5 * 0.9**k + 0.1, 0.5 + (0.012 * abs(k - 5)) + 0.4 * 0.5**k, 0.7 + 0.01 * k) for k in range(20)]),
    ]


def told(looks: Sequence[tuple[float, float, float]]) -> History:
    """A run of 10 steps a look: (training loss, validation loss, accuracy); accuracy 0: the loss is the score."""
    history = History()
    for k, (train, valid, accuracy) in enumerate(looks):
        for t in range(10 * k, 10 * k + 10):
            history.add(Step(t, train, 1.0, 0.1, 32, t * 0.1, True, 0.0))
        for split, loss in (("train", train), ("valid", valid)):
            whole = {"accuracy": accuracy, "loss": loss}
            score = Score("accuracy", True, accuracy, whole) if accuracy else Score("mse", False, loss, {"mse": loss})
            history.scores.append((10 * k + 10, split, score))
        history.note(10 * k + 9, "gap", {"examples": 600.0})
    return history
