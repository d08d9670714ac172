"""Stop: end the run, keeping the best that is known to be good, with an exit code that says why.

Last in the line of remedies: what nothing else answered. Training on with weights that cannot recover wastes hours; saving them
over good ones would be worse, so the weights of the last good snapshot are what the run ends with.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradlearn.errors import NumericsTrouble
from gradlearn.symbols import Action, Controls, Finding, History

__all__ = ["Stop"]


class Stop:
    """Ends the run with exit code 3.

    Args:
        answers: names of the findings that end it.
    """

    order = 90

    def __init__(self, *, answers: Sequence[str] = ("non-finite",)) -> None:
        self.answers = tuple(answers)

    def __call__(self, finding: Finding, history: History, controls: Controls) -> Sequence[Action] | None:
        """The end; before it, back to good weights where the weights themselves have gone bad."""
        end = Action(finding.t, "stop", finding.what, "stop", controls.stop, NumericsTrouble.code)
        if history.count("rewind"):
            return [Action(finding.t, "rewind", "the run ends with its last good weights"), end]
        return [end]  # the update of a first bad step was blocked: theta is as good as it was
