"""Regularise: as much regularisation as the gap between training and validation asks for, step by step.

    gap = (loss_valid - loss_train) / loss_valid,   the mean of the last two looks
    gap > wide    and the validation loss has risen:    one rung up
    gap < narrow  and the training loss has risen:      one rung down

A rung turns the weight decay, until a run forgets what it has learned so many times over (the sum of lr * weight_decay), and of the
dials that do something here (`regular.py`) the first of: dropout, where the module has layers of it; mixup, where inputs are
numbers; smoother labels. The next turn is some looks later, and none comes in the last tenth of the run, where the rate is too low
to follow. It goes by the scores of every look, before a check speaks, since what has been learned by heart is slow to be forgotten;
so it needs validation data and scores on the way. A gap alone is no harm: nothing is turned while the validation loss falls or
stays, nor where the gap is next to nothing of the loss at the start. For few examples and an ample model; with examples enough it
is not heard of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import NamedTuple

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Action, Controls, Finding, History, Score

__all__ = ["Regularise"]

LADDER = {  # of each dial, from neutral to the most that is usual for few examples; of decay: what a run forgets, see below
    "decay": (0.0, 2.5, 7.0, 14.0),
    "dropout": (0.0, 0.2, 0.4, 0.5),
    "mix": (0.0, 0.1, 0.2, 0.4),
    "smooth": (0.0, 0.05, 0.1, 0.15),
    "augment": (1.0, 1.5, 2.0, 2.0),
}
ONE = ("dropout", "mix", "smooth")  # the first of these that does something
RISEN, FAR = 1.08, 1.15  # of the best validation loss, at both of the last two looks, or at the last: no noise of few examples
LITTLE = 0.05  # of the loss at the start: a gap that is next to nothing
TRAINED = 0.5  # a loss of classes below this at the start: the module came trained, and a mixed loss would look like divergence


class Look(NamedTuple):
    """One scoring of both."""

    t: int
    train: float
    valid: float

    @property
    def gap(self) -> float:
        """Share of the validation loss that is not training loss."""
        return (self.valid - self.train) / max(abs(self.valid), 1e-12)


class Regularise:
    """Follows the gap between training and validation loss.

    Args:
        wide: gap above which regularisation becomes stronger, in (0, 1).
        narrow: gap below which it becomes weaker again, less than `wide`.
        looks: scorings between two turns, at least 1.
        ways: dials that do something in this run; found from update, module, loss and data.
        forget: sum of lr * weight_decay over the run as it was planned, above 0; found from update and length.
    """

    answers = ("overfit", "underfit")
    order = 50

    def __init__(
        self, *, wide: float = 0.3, narrow: float = 0.05, looks: int = 2, ways: Sequence[str] = ("decay",), forget: float = 0.25
    ) -> None:
        if not 0.0 <= narrow < wide < 1.0:
            raise InputTrouble(f"--regularise.wide {wide}: must be in (0, 1) and above regularise.narrow, {narrow}")
        if looks < 1:
            raise InputTrouble(f"--regularise.looks {looks}: must be at least 1")
        for way in ways:
            if way not in LADDER:
                raise InputTrouble(f"--regularise.ways {way}: must be among {', '.join(LADDER)}")
        if not forget > 0.0:
            raise InputTrouble(f"--regularise.forget {forget}: must be above 0")
        self.wide, self.narrow, self.looks, self.ways = wide, narrow, looks, tuple(ways)
        self.ladder = LADDER | {"decay": tuple(float(f"{max(most / forget, 1.0):.3g}") for most in LADDER["decay"])}

    def __call__(self, finding: Finding, history: History, controls: Controls) -> Sequence[Action] | None:
        """As `follow`: a finding says no more of the gap than the scores do."""
        return self.follow(history, controls)

    def follow(self, history: History, controls: Controls) -> Sequence[Action] | None:
        """After a scoring: turns of the dials, or None."""
        looks, t = looks_of(history), len(history.loss)
        turned = max((a.t + 1 for a in history.actions if a.name == "turn" and a.dial in LADDER), default=0)
        recent = [look for look in looks if look.t > turned]
        if len(recent) < self.looks or 0.0 < 0.9 * controls.end <= t or recent[-1].t != t:
            return None
        using = self.using(history)
        gap, rung, last = fmean(look.gap for look in recent[-2:]), self.rung(controls, using), recent[-1]
        best = min(look.valid for look in looks)
        risen = last.valid > FAR * best or min(look.valid for look in looks[-2:]) > RISEN * best
        harm = risen and last.valid - last.train > LITTLE * median(history.loss[:3])
        if gap > self.wide and harm and rung + 1 < len(LADDER["decay"]):
            word, rung = "stronger", rung + 1
        elif gap < self.narrow and rung and last.train > 1.2 * min(look.train for look in looks):
            word, rung = "weaker again", rung - 1
        else:
            return None
        why = f"the loss is {last.train:.3g} on training examples and {last.valid:.3g} on others: {word}"
        pairs = [(way, getattr(controls, way), self.ladder[way][rung]) for way in using]
        return [Action(t - 1, "turn", why, way, before, after) for way, before, after in pairs if before != after] or None

    def rung(self, controls: Controls, using: Sequence[str]) -> int:
        """Where on the ladder the dials stand; 0 where somebody else has turned one."""
        rungs = range(len(LADDER["decay"]) - 1, 0, -1)
        return next((r for r in rungs if all(getattr(controls, way) == self.ladder[way][r] for way in using)), 0)

    def using(self, history: History) -> list[str]:
        """The dials that are turned here."""
        classes = any(score.higher for _, _, score in history.scores)
        trained = classes and median(history.loss[:3]) < TRAINED
        one = [way for way in ONE if way in self.ways and not (trained and way != "dropout")]
        return [way for way in ("decay", *one[:1], "augment") if way in (*self.ways, *one)]


def looks_of(history: History) -> list[Look]:
    """Every scoring of training and validation examples at one step, with finite losses."""
    train = {t: loss_of(score) for t, split, score in history.scores if split == "train"}
    looks = [Look(t, train[t], loss_of(score)) for t, split, score in history.scores if split == "valid" and t in train]
    return [look for look in looks if math.isfinite(look.train + look.valid)]


def loss_of(score: Score) -> float:
    """The loss, or the main number where that is one."""
    return score.all.get("loss", -score.value if score.higher else score.value)
