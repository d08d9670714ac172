"""Rewind and cool: back to good weights, on with half the rate.

    theta, update state, averages, buffers <- snapshot;   rate dial <- rate dial * cool;   t goes on

Chowdhery et al. (PaLM, arXiv 2204.02311) rewound about 100 steps and skipped the batches behind the spike, by hand; asked for in
Keras since 2017. t never goes back, so the bad batches stay behind and every row of the log stays unique.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Action, Controls, Finding, History

__all__ = ["Rewind"]


class Rewind:
    """Answers divergence, and non-finite steps that do not stop.

    Args:
        cool: factor on the learning rate, in (0, 1).
        most: rewinds in one run; after that the trouble is left to `stop`.
    """

    answers = ("non-finite", "diverged")
    order = 20

    def __init__(self, *, cool: float = 0.5, most: int = 4) -> None:
        if not 0.0 < cool < 1.0:
            raise InputTrouble(f"--rewind.cool {cool}: must be in (0, 1)")
        self.cool, self.most = cool, most

    def __call__(self, finding: Finding, history: History, controls: Controls) -> Sequence[Action] | None:
        """Rewind, then turn the rate down."""
        if history.count("rewind") >= self.most:
            return None
        after = controls.rate * self.cool
        return [
            Action(finding.t, "rewind", finding.what),
            Action(finding.t, "turn", f"learning rate x {self.cool:g} after the rewind", "rate", controls.rate, after),
        ]
