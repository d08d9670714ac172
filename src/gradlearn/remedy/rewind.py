"""Rewind and cool: back to weights of before the trouble, on at half the rate, which comes back where all stays well.

    theta, update state, averages, buffers <- newest snapshot before the onset;     t goes on
    rate dial <- dial * cool, cool^4, ... as rewinds follow one another;    then back to `to` in a ramp of a twentieth of the run

    to = dial before the trouble          where this was the first rewind: a fault that is over must not cost the run its rate
       = a 16th of the lowest rate with trouble    where it came again: then it is the rate

A rate that leapt up from one step to the next without a remedy - a schedule that is wrong - is brought to where it was, for as long
as it stays up; one that is down again by then is left as it is.

Chowdhery et al. (PaLM, arXiv 2204.02311) rewound about 100 steps and skipped the batches behind the spike, by hand; asked for in
Keras since 2017. t never goes back, so the bad batches stay behind and every row of the log stays unique. Squares of the update
that no gradient explains ("precision fault" of the kind "update state") have only slowed the run where they are too large: they are
taken from the snapshot alone, and theta is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Action, Controls, Finding, History

__all__ = ["Rewind"]

TROUBLE = ("non-finite", "diverged", "unstable")
POWERS = (1, 4, 6, 8)  # of `cool`: half of a rate that failed twice fails more slowly, a 30th of it seldom
MARGIN = 3  # steps: what shows in the loss of step t was done in those before it
RECENT = 50  # steps that trouble is compared with
LEAP, EARLY = 3.0, 5  # times from one step to the next that no schedule goes, after so many steps
SURE, PATIENCE = 10, 40  # losses that a guard goes by, at least; steps that it leaves out at most
CALM = 20  # steps without trouble after a rewind before the rate begins to come back


class Rewind:
    """Answers divergence, instability that stays, and non-finite steps that do not stop.

    Args:
        cool: factor on the learning rate, in (0, 1).
        most: rewinds in one run; after that the trouble is left to `stop`.
        back: share of the run in which the rate comes back, in (0, 1].
    """

    answers = (*TROUBLE, "precision fault")
    order = 20

    def __init__(self, *, cool: float = 0.5, most: int = 4, back: float = 0.05) -> None:
        if not 0.0 < cool < 1.0:
            raise InputTrouble(f"--rewind.cool {cool}: must be in (0, 1)")
        if not 0.0 < back <= 1.0:
            raise InputTrouble(f"--rewind.back {back}: must be in (0, 1]")
        self.cool, self.most, self.back = cool, most, back

    def __call__(self, finding: Finding, history: History, controls: Controls) -> Sequence[Action] | None:
        """Rewind, then turn the rate down; None where there have been too many, or nothing is to be undone."""
        if history.count("rewind") >= self.most:
            return None
        if finding.name == "precision fault":
            return self._restore(finding, history)
        series = row(history, controls, finding.t)
        cooled = self._cooled(history, controls, finding.t, len(series))
        if finding.evidence.get("kind") == "relapses" and cooled is not None:
            return [cooled]  # it learns, and loses it again: nothing to go back to that is better
        past = onset(finding, history)
        if cooled is None:
            return [Action(finding.t, "rewind", finding.what, "t", None, float(max(past, 0)))]
        if (
            finding.name != "non-finite" and len(series) >= 2 and spoilt_data(history)
        ):  # twice to the same place: what is kept there may be bad itself
            past = min(past, int(series[-1].after or 0) - 1)
        back = Action(finding.t, "rewind", finding.what, "t", None, float(max(past, 0)))
        return [back, cooled, *self._guard(finding, history, past)]

    def _guard(self, finding: Finding, history: History, past: int) -> list[Action]:
        """Until the next step is taken, batches that are far worse than those before the trouble are left out.

        At weights that were good no rate makes a loss high: it is the batch.
        """
        before = [history.loss[t] for t in history.standing(max(past, 0), RECENT)]
        given_up = any(a.name == "spare" and a.dial for a in history.actions)  # all batches were like that
        if finding.name == "non-finite" or len(before) < SURE or given_up:
            return []
        bar = far(before)
        why = f"batches with a loss above {bar:.4g} at these weights are left out, till one is as it should be"
        return [Action(finding.t, "guard", why, "most", 0.0, bar)]

    def _cooled(self, history: History, controls: Controls, t: int, before: int) -> Action | None:
        """The turn of the rate dial: half; more where that did not help; a raise that has just been made is taken back.

        A rate that leapt up by itself, and stays there, is brought to where it was; one that is down again is left: None.
        """
        if (found := leap(history, t)) is not None and before == 0:
            at, factor = found
            if factor > 1.0 / LEAP:
                return None
            why = f"the learning rate had risen {1.0 / factor:.3g} times at step {at}: it is brought back"
            return Action(t, "revert", why, "rate", controls.rate, controls.rate * factor)
        raised = raise_before(history, controls, t)
        if raised is not None and raised.before and raised.after and before == 0:
            after = math.sqrt(raised.before * raised.after) if raised.after > 4.0 * raised.before else raised.before
            why = "the raise of the learning rate is taken back after the rewind"
            return Action(t, "revert", why, "rate", controls.rate, min(after, controls.rate))
        if before and spoilt_data(history):
            times = [a.t for a in row(history, controls, t)]
            was = max((a.before or 0.0 for a in history.actions if a.dial == "rate" and a.t in times), default=0.0)
            why = "the batches are at fault, not the learning rate: it is what it was"
            return Action(t, "turn", why, "rate", controls.rate, max(was, controls.rate))
        factor = self.cool ** POWERS[min(before, 3)]
        return Action(t, "turn", f"learning rate x {factor:.3g} after the rewind", "rate", controls.rate, controls.rate * factor)

    def _restore(self, finding: Finding, history: History) -> Sequence[Action] | None:
        evidence = finding.evidence
        if evidence.get("kind") not in ("update state", "running statistics"):
            return None
        slowed = evidence.get("kind") == "update state" and bool(evidence.get("slows")) and not suffering(history, finding)
        bound = float(evidence.get("onset", finding.t))
        return [Action(finding.t, "restore" if slowed else "rewind", finding.what, "t", None, bound)]

    def onward(self, history: History, controls: Controls) -> Sequence[Action]:
        """The next part of the way back, where nothing has been said since the rewind."""
        t = len(history.loss) - 1
        if (said := self._spared(history, controls, t)) is not None:
            return said
        rewinds = {a.t for a in history.actions if a.name == "rewind"}
        rates = [a for a in history.actions if a.dial == "rate"]
        if rates and rates[-1].name == "revert" and rates[-1].t in rewinds and fallen(history, rates[-1].t):
            was = rates[-1].before or controls.rate
            why = "the learning rate is down by itself again: the dial is where it was"
            return [Action(t, "recover", why, "rate", controls.rate, was)] if was > controls.rate else []
        cooled = next((a for a in reversed(rates) if a.name == "turn" and a.t in rewinds), None)
        if cooled is None or any(a.name != "recover" for a in rates[rates.index(cooled) + 1 :]):
            return []  # nothing was cooled, or somebody else has turned the rate since
        last = cooled.t
        if any(f.t > last and f.level != "info" and f.name in TROUBLE for f in history.findings):
            return []
        back = next(a for a in reversed(history.actions) if a.name == "rewind")
        if median(worst(history.loss[-9:])) > high([history.loss[k] for k in history.standing(int(back.after or 0), RECENT)]):
            return []  # the loss stands above where it was before the trouble
        times = [r.t for r in row(history, controls, last + 1)]
        coolings = [a for a in history.actions if a.name == "turn" and a.dial == "rate" and a.t in times]
        failed = [a.before or 0.0 for a in coolings if (a.after or 0.0) < (a.before or 0.0)]
        to = max(failed, default=0.0) if len(failed) <= 1 else min(failed) / 16.0
        length = max(self.back * controls.end, 25.0)
        share = min(max((t - last - CALM) / length, 0.0), 1.0)
        start = cooled.after or 0.0
        after = start * (to / start) ** share if 0.0 < start < to else 0.0
        if not after > controls.rate * (1.1 if share < 1.0 else 1.001):
            return []
        return [Action(t, "recover", "all was well since the rewind: the learning rate comes back", "rate", controls.rate, after)]

    def _spared(self, history: History, controls: Controls, t: int) -> list[Action] | None:
        """What is to be said and done once the guard of a rewind has left batches out; None where it has not."""
        at = next((a.t for a in reversed(history.actions) if a.name == "guard"), -1)
        if at < 0 or any(a.name == "spare" and a.t > at for a in history.actions):
            return None
        count = history.spared(t - at)
        if controls.most and t - at < PATIENCE:
            return []  # not over yet: nothing is turned
        if not controls.most and not count:
            return None
        if controls.most:  # not a few batches, but all there are: the usual checks take over
            why = f"{count} batches in a row were left out for their loss: they are taken as they come"
            return [Action(t, "spare", why, "most", controls.most, 0.0)]
        batches = "batch was" if count == 1 else "batches were"
        why = f"{count} {batches} left out, with a loss far above the usual at weights that were good"
        done = [Action(t, "spare", why, "", None, float(count))]
        turns = [a for a in history.actions if a.dial == "rate" and a.t >= at]
        if len(turns) == 1 and turns[0].name == "turn" and (turns[0].before or 0.0) > controls.rate:
            was = "the batches were at fault, not the learning rate: it is what it was"
            done.append(Action(t, "recover", was, "rate", controls.rate, turns[0].before))
        return done


def leap(history: History, t: int) -> tuple[int, float] | None:
    """(the step at which the rate leapt up and no remedy had turned it, what brings that of now back), the last within 60 steps."""
    lr, turned = history.lr, {a.t for a in history.actions if a.dial == "rate"}
    for k in range(min(t, len(lr) - 1), max(t - 60, EARLY), -1):
        if lr[k] > LEAP * lr[k - 1] > 0.0 and k - 1 not in turned and k not in turned:
            before = max(lr[k - 1], 0.1 * max(lr[:k]))  # a restart from next to nothing is meant so
            return (k, before / lr[-1]) if lr[-1] > 0.0 else None
    return None


def fallen(history: History, since: int) -> bool:
    """Whether the rate has leapt down by itself after this step."""
    lr = history.lr
    return any(0.0 < LEAP * lr[k] < lr[k - 1] for k in range(since + 2, len(lr)))


def row(history: History, controls: Controls, t: int) -> list[Action]:
    """The rewinds before step t that came one soon after the other, and soon before it."""
    near, found = max(100, controls.end // 10), []
    for action in reversed([a for a in history.actions if a.name == "rewind" and a.t < t]):
        if t - action.t > near:
            break
        found.insert(0, action)
        t = action.t
    return found


def raise_before(history: History, controls: Controls, t: int) -> Action | None:
    """The last action that raised the rate, where it was soon before step t and no rewind came after it."""
    near, last = max(100, controls.end // 10), history.last_action("rewind")
    raises = [
        a for a in history.actions if a.dial == "rate" and (a.after or 0.0) > (a.before or 0.0) and a.name in ("warm", "restart")
    ]
    return raises[-1] if raises and raises[-1].t > max(t - near, last) else None


def spoilt_data(history: History) -> bool:
    """Whether the loss stood high right after the last rewind, at weights that were good: no rate has that effect."""
    last = next((a for a in reversed(history.actions) if a.name == "rewind"), None)
    if last is None or last.after is None:
        return False
    before = [history.loss[t] for t in history.standing(int(last.after), RECENT)]
    first = worst(history.loss[last.t + 1 : last.t + 2])  # the second is after a step at the rate in doubt
    return bool(first and before) and first[0] > far(before)


def onset(finding: Finding, history: History) -> int:
    """A step before the trouble: it began where the finding says, else where the loss began to stand high till now."""
    told = finding.evidence.get("onset")
    if told is not None:
        return int(told) - MARGIN
    if finding.name == "unstable":  # it stands where it began, or higher: all that has been done was for nothing
        return 0
    t, back = finding.t, history.last_action("rewind") + 1
    first = max(t - int(finding.evidence.get("in_a_row", finding.evidence.get("window", 1))) + 1, back)
    losses = history.loss[: first if finding.name == "non-finite" else t + 1]
    for i in range(max(back + 20, t - 200), min(first, len(losses) - 2)):
        bar = high([losses[k] for k in history.standing(i, RECENT)])
        if median(worst(losses[i : i + 5])) > bar and median(worst(losses[i:])) > bar:
            return i - MARGIN
    return first if finding.name == "non-finite" else first - MARGIN  # blocked steps have done nothing


def suffering(history: History, finding: Finding) -> bool:
    """Whether the last losses stand far above those before the trouble."""
    start = int(finding.evidence.get("onset", finding.t - 20))
    return median(worst(history.loss[-9:])) > high([history.loss[t] for t in history.standing(start, RECENT)])


def high(losses: Sequence[float]) -> float:
    """What is above these losses, were they all of one level."""
    if not losses:
        return math.inf
    level = median(losses)
    return level + 6.0 * median(abs(x - level) for x in losses) + 0.1 * abs(level)


def far(losses: Sequence[float]) -> float:
    """What no batch like these has, at weights that gave them."""
    return max(high(losses), 1.1 * max(losses))


def worst(losses: Sequence[float]) -> list[float]:
    """With infinity for what is not a number."""
    return [x if x - x == 0.0 else math.inf for x in losses]
