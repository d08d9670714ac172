"""Clip: no single gradient may be much longer than those of the run so far.

    bound = times * the `share` quantile of the last `last` norms ||g||_2
    g <- g * bound / ||g||_2   where ||g||_2 > bound;       g <- 0   where it is ten times that

Renewed at every snapshot, so a step costs nothing more: a damaged batch can then do no harm, and a run whose gradients grow is
followed. Norms between a snapshot and the rewind to it do not count. Chowdhery et al. (PaLM, arXiv 2204.02311) left such batches
out by hand; AdaGC and ZClip (2025) bound by the run's own history too. Needs a history: the first steps are not bounded.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Action, Controls, Finding, History

__all__ = ["Clip"]


class Clip:
    """Bounds every gradient by the run's own norms; says so where a check has found a batch that stands out.

    Args:
        times: the bound in units of the quantile, above 1.
        share: of the norms which are below the quantile, in (0, 1).
        last: so many norms, at least `first`.
        first: norms from which on there is a bound.
    """

    answers = ("data fault",)
    order = 15

    def __init__(self, *, times: float = 4.0, share: float = 0.98, last: int = 200, first: int = 50) -> None:
        if not times > 1.0:
            raise InputTrouble(f"--clip.times {times}: must be above 1")
        if not 0.0 < share < 1.0:
            raise InputTrouble(f"--clip.share {share}: must be in (0, 1)")
        if not 1 <= first <= last:
            raise InputTrouble(f"--clip.first {first}: must be from 1 to clip.last, {last}")
        self.times, self.share, self.last, self.first = times, share, last, first

    def __call__(self, finding: Finding, history: History, controls: Controls) -> Sequence[Action] | None:
        """One action that says what the bound has done to a batch that stands out; None where it was not reached."""
        at = int(finding.evidence.get("at", finding.t))
        norm = history.norm[at] if at < len(history.norm) else 0.0
        if finding.evidence.get("kind") != "outlier batch" or not 0.0 < controls.bound < norm:
            return None
        return [
            Action(finding.t, "clip", f"the gradient of step {at}, {norm:.3g} long, was bound to {controls.bound:.3g} or left out")
        ]

    def renew(self, history: History, controls: Controls) -> None:
        """Set the bound for the steps until the next snapshot; no bound while there are too few norms."""
        norms = sorted(history.norm[t] for t in history.standing(len(history.norm), self.last))
        controls.bound = self.times * norms[int(self.share * len(norms))] if len(norms) >= self.first else 0.0
