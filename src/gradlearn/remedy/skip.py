"""Skip: leave one bad batch behind and go on.

The update of a non-finite step is blocked anyway; up to `row - 1` in a row are only named and counted. One damaged example in a
large set must not end a night's run, and must not be hidden either.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradlearn.symbols import Action, Controls, Finding, History

__all__ = ["Skip"]


class Skip:
    """Answers a non-finite step by naming the batch and going on.

    Args:
        row: this many blocked steps in a row, since the last rewind, are no longer one bad batch.
    """

    answers = ("non-finite",)
    order = 10

    def __init__(self, *, row: int = 3) -> None:
        self.row = row

    def __call__(self, finding: Finding, history: History, controls: Controls) -> Sequence[Action] | None:
        """One action, or None from the `row`-th in a row on."""
        row, back = int(finding.evidence.get("in_a_row", 1)), history.last_action("rewind")
        if back >= 0 and any(history.applied):  # a run that has never seen a number is not given more time
            row = min(row, finding.t - back)
        if row >= self.row:
            return None
        examples = ", ".join(map(str, finding.evidence.get("examples", [])))
        return [Action(finding.t, "skip", f"the batch was left out (examples {examples or 'unknown'})")]
