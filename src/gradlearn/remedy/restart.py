"""Restart warm: on a plateau the rate goes up once more, and falls back.

    rate dial <- dial * times,     then back in a straight line of its logarithm over `length` of the run

Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017. At most `most` times, and only while enough
of the run is left to come down again. What goes wrong after it is undone by `rewind`. Where the loss has arrived, a restart gains
nothing; it is for a plateau that is not the end.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Action, Controls, Finding, History

__all__ = ["Restart"]


class Restart:
    """Answers a plateau.

    Args:
        times: factor on the learning rate, above 1.
        most: restarts in one run.
        length: share of the run in which the rate falls back, in (0, 1].
        left: share of the run that must be left, in [0, 1).
    """

    answers = ("plateau",)
    order = 45

    def __init__(self, *, times: float = 2.5, most: int = 2, length: float = 0.1, left: float = 0.2) -> None:
        if not times > 1.0:
            raise InputTrouble(f"--restart.times {times}: must be above 1")
        if not 0.0 < length <= 1.0:
            raise InputTrouble(f"--restart.length {length}: must be in (0, 1]")
        if not 0.0 <= left < 1.0:
            raise InputTrouble(f"--restart.left {left}: must be in [0, 1)")
        self.times, self.most, self.length, self.left = times, most, length, left

    def __call__(self, finding: Finding, history: History, controls: Controls) -> Sequence[Action] | None:
        """Raise the rate; None at the end of a run, after trouble, and where it has not helped twice."""
        soon = controls.end > 0 and controls.end - finding.t < self.left * controls.end  # 0: nobody knows the end
        last = history.last_action("restart")
        running = last >= 0 and finding.t - last < 1.5 * self.steps(controls)
        if history.count("restart") >= self.most or soon or running or history.count("rewind") or controls.finish >= 0:
            return None
        why = f"a plateau: learning rate x {self.times:g}, which falls back over {self.length:.0%} of the run"
        return [Action(finding.t, "restart", why, "rate", controls.rate, controls.rate * self.times)]

    def steps(self, controls: Controls) -> float:
        """In which the rate falls back."""
        return max(self.length * (controls.end or 2000), 1.0)

    def onward(self, history: History, controls: Controls) -> Sequence[Action]:
        """The next part of the way back."""
        turns = [a for a in history.actions if a.dial == "rate"]
        begun = next((a for a in reversed(turns) if a.name == "restart"), None)
        if begun is None or turns[-1].name not in ("restart", "settle"):
            return []  # never, or somebody else has turned the rate since
        t = len(history.loss) - 1
        share = min((t - begun.t) / self.steps(controls), 1.0)
        before, high = begun.before or 1.0, begun.after or 1.0
        after = high * (before / high) ** share
        if not after < controls.rate / (1.1 if share < 1.0 else 1.001):
            return []
        return [Action(t, "settle", "the learning rate falls back after the restart", "rate", controls.rate, after)]
