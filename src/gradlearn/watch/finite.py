"""Finite: is every number of this step a number?

    finite  <=>  loss + ||g||_2 is finite

A NaN or infinity in one example, one layer or the loss spreads to all of theta in one update. The update of such a step has been
blocked already; this says which step, which tensor, which examples. No peer names them, and one hides them by default.
"""

from __future__ import annotations

from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Finite"]


class Finite:
    """Speaks on every step whose loss or gradient is not finite."""

    every = 1
    cost = 0.0
    looks = False  # at the step alone, not at theta
    of = "blocked"

    def __init__(self) -> None:
        self._where = ""
        self._examples: list[int] = []

    def measure(self, step: Step, theta: Theta, objective: Objective) -> float | None:
        """1 if the step was blocked; remembers where the trouble is."""
        if step.applied or step.finite:
            return None
        place = theta.first_nonfinite()
        self._where = f"{place[1]} of {place[0]!r}" if place else "loss"
        self._examples = [] if step.index is None else step.index[:8].tolist()
        return 1.0

    def judge(self, history: History) -> Finding | None:
        """A finding for the last step, with the number of blocked steps in a row."""
        step = history.last
        if step is None or step.applied or step.finite:
            return None
        row = 0
        for applied in reversed(history.applied):
            if applied:
                break
            row += 1
        what = "loss" if step.loss - step.loss != 0 else self._where
        return Finding(
            step.t,
            "non-finite",
            "alarm",
            f"step {step.t}: {what} is {_name(step)}; the update was blocked and theta kept",
            "an example that is not a number, or a learning rate far too high",
            "look at the examples named; lower --lr",
            {
                "in_a_row": row,
                "loss": repr(step.loss),
                "norm": repr(step.norm),
                "where": self._where,
                "examples": self._examples,
            },
        )


def _name(step: Step) -> str:
    value = step.loss if step.loss - step.loss != 0 else step.norm
    return "NaN" if value != value else "infinite"


def sick() -> list[History]:
    """A run whose third step had no finite loss."""
    return [_run([2.3, 2.2, float("nan")])]


def well() -> list[History]:
    """A run that falls."""
    return [_run([2.3, 2.2, 2.1])]


def _run(losses: list[float]) -> History:
    history = History()
    for t, loss in enumerate(losses):
        history.add(Step(t, loss, 1.0, 0.1, 32, t * 0.1, loss == loss, 0.0))
    return history
