"""Best: the run ends with the weights that did best on the validation data, where the last ones do clearly worse.

    gain = score_best - score_last,   error = sqrt(p (1 - p) / n) of a share p of n examples, a hundredth of other scores
    keep the best  <=>  gain > 2 error   or   gain > error  and  its loss is not much higher
                   or   gain > -error / 2  and  loss_last > (1 + times / sqrt n) loss_best        where the score has a loss

The best of many looks flatters itself, so a little worse is no reason; the rate falls to zero at the end, and the last weights are
the best by default. Where a model has learned its examples by heart, it may be as often right as before and far too sure of itself:
that is what the loss shows. Prechelt, "Early stopping, but when?", 1998. It needs scores on the way, and one copy of theta. With
`patience` it also ends a run that overfits and in which so many looks have brought nothing. The choice is made on the validation
data: believe the test score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Action, Controls, Finding, History, Score

__all__ = ["Best"]

SHARES = ("accuracy", "exact_match")


class Best:
    """Keeps the best weights; answers overfitting late in the run by ending it.

    Args:
        times: how much higher than the best a validation loss is clearly worse, in shares of 1 / sqrt(n); above 0.
        patience: looks without a better score or loss after which a run that overfits is over; 0 = it goes on to its end.
        late: share of the run before which it goes on.
    """

    answers = ("overfit",)
    order = 70
    keeps = True

    def __init__(self, *, times: float = 4.0, patience: int = 8, late: float = 0.6) -> None:
        if not times > 0.0:
            raise InputTrouble(f"--best.times {times}: must be above 0")
        if patience < 0:
            raise InputTrouble(f"--best.patience {patience}: must be at least 0")
        if not 0.0 <= late <= 1.0:
            raise InputTrouble(f"--best.late {late}: must be in [0, 1]")
        self.times, self.patience, self.late = times, patience, late

    def __call__(self, finding: Finding, history: History, controls: Controls) -> Sequence[Action] | None:
        """As `follow`, where it is more than a remark."""
        return self.over(history, controls) if finding.level != "info" else None

    def follow(self, history: History, controls: Controls) -> Sequence[Action] | None:
        """After a scoring of a run that overfits."""
        warned = any(f.name == "overfit" and f.level != "info" for f in history.findings)
        return self.over(history, controls) if warned else None

    def over(self, history: History, controls: Controls) -> Sequence[Action] | None:
        """The end, where it is late and nothing has become better for long; None where something still may."""
        looks = [score for _, split, score in history.scores if split == "valid"]
        t, end = len(history.loss), controls.end
        if not self.patience or len(looks) <= self.patience or t < self.late * end or 0 < end <= t + 1:
            return None
        before, since = looks[: -self.patience], looks[-self.patience :]
        if any(merit(s) > max(map(merit, before)) or loss(s) < min(map(loss, before)) for s in since):
            return None
        why = f"nothing has become better on the validation data in {self.patience} looks, and the model learns by heart"
        return [Action(t - 1, "finish", why, "end", float(end), float(t + 1))]  # its last look is one of its own

    def better(self, new: Score, old: Score, n: int) -> bool:
        """Whether weights with this score on n validation examples take the place of those kept: more often right, or less sure."""
        gain, clearly = merit(new) - merit(old), error(old, n)
        return gain > clearly or not math.isfinite(merit(old)) or (gain > -0.5 * clearly and loss(new) < loss(old))

    def choose(self, best: Score, at: int, last: Score, t: int, n: int) -> Action | None:
        """At the end: whether the weights of step `at` take the place of the last, scored on n validation examples."""
        gain, clearly, name = merit(best) - merit(last), error(best, n), last.name
        much, known = 1.0 + self.times / math.sqrt(n), "loss" in best.all and "loss" in last.all
        fair = not known or loss(best) < much * loss(last)
        if gain > 2.0 * clearly or (gain > clearly and fair) or not math.isfinite(merit(last)):
            why = f"validation {name} {best.value:.4g} after step {at}, {last.value:.4g} at the end"
        elif known and gain > -0.5 * clearly and loss(last) > much * loss(best):
            why = f"validation loss {loss(best):.4g} after step {at}, {loss(last):.4g} at the end"
        else:
            return None
        return Action(t - 1, "keep", f"{why}: the run ends with the earlier weights", "", float(t), float(at))


def merit(score: Score) -> float:
    """The main number, higher for better."""
    value = score.value if score.higher else -score.value
    return value if value == value else -math.inf


def loss(score: Score) -> float:
    """The loss, or what takes its place; what is no number is the worst."""
    value = score.all.get("loss", -merit(score))
    return value if value == value else math.inf


def error(score: Score, n: int) -> float:
    """What chance alone does to a score on n examples."""
    if score.name in SHARES:
        return math.sqrt(max(score.value * (1.0 - score.value), 1.0 / n) / n)
    return 0.01 * abs(score.value)
