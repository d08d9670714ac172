"""Warm: a learning rate that gets nowhere in this run is raised, step by step.

    rate dial <- dial * min(factor, times)      factor as the check has measured it; dial <= most, and below what went wrong before
    rate dial <- usual                          where the plan has a rate of its own further up, and the factor is ten or more

A rate given by hand stays what it is: the dial multiplies it, and the turn is logged and told. What goes wrong after a raise is
undone by `rewind`, which takes the raise back. Peers raise no rate by themselves; by hand it is the first thing to try (Smith,
"Cyclical learning rates", WACV 2017).
"""

from __future__ import annotations

from collections.abc import Sequence

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Action, Controls, Finding, History

__all__ = ["Warm"]

SURE = 10.0  # a measured factor that leaves no doubt: it is what the rate should be times at least


class Warm:
    """Answers a rate that is too low for the steps that are left.

    Args:
        times: factor of one raise at most, above 1.
        most: rate dial at most, at least 1.
        usual: rate dial at which the rate is the one that the plan would have chosen; 0 where it has chosen it.
    """

    answers = ("crawling",)
    order = 30

    def __init__(self, *, times: float = 10.0, most: float = 1e4, usual: float = 0.0) -> None:
        if not times > 1.0:
            raise InputTrouble(f"--warm.times {times}: must be above 1")
        if not most >= 1.0:
            raise InputTrouble(f"--warm.most {most}: must be at least 1")
        if not usual >= 0.0:
            raise InputTrouble(f"--warm.usual {usual}: must be at least 0")
        self.times, self.most, self.usual = times, most, usual

    def __call__(self, finding: Finding, history: History, controls: Controls) -> Sequence[Action] | None:
        """Raise the rate; None where it is as high as it may be."""
        factor = min(float(finding.evidence.get("factor", 3.0)), self.times)
        troubled = [a.before for a in history.actions if a.dial == "rate" and a.before and (a.after or 0.0) < a.before]
        further = self.usual if factor >= SURE else 0.0
        after = max(controls.rate * factor, further if controls.rate < further else 0.0)
        after = min(after, self.most, 0.5 * min(troubled, default=float("inf")))
        if not after > 1.1 * controls.rate:
            return None
        why = f"learning rate x {after / controls.rate:.3g}: it is too low for the steps that are left"
        return [Action(finding.t, "warm", why, "rate", controls.rate, after)]
