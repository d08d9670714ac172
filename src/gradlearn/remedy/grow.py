"""Grow: a larger batch where the gradient has become mostly noise.

    batch <- times batch,   rate dial <- rate dial * times^rate,   end <- t + (end - t) / times

Smith et al., "Don't decay the learning rate, increase the batch size", ICLR 2018. The steps that are left see as many
examples as they would have, so passes over the data stay what they were and the rate falls in a straight line to the new end.
It pays where a large batch costs less for each example than a small one; a processor that is busy with a small batch already
gains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Action, Controls, Finding, History

__all__ = ["Grow"]


class Grow:
    """Answers the noise floor.

    Args:
        times: factor on the batch, a whole number of at least 2.
        most: examples that a batch does not go beyond.
        rate: power of the factor that the learning rate grows by: 0 keeps it, 0.5 is usual for Adam's kin, 1 for plain SGD.
        keep: "examples": the end of the run moves, so that it sees as many; "steps": it does not.
        begin: share of the run before which nothing is done: the warm-up.
    """

    answers = ("noise floor",)
    order = 60
    usual = False  # on a processor a batch that is larger from the start saves more

    def __init__(self, *, times: int = 2, most: int = 1024, rate: float = 0.5, keep: str = "examples", begin: float = 0.2) -> None:
        if times < 2:
            raise InputTrouble(f"--grow.times {times}: must be at least 2")
        if not 0.0 <= rate <= 1.0:
            raise InputTrouble(f"--grow.rate {rate}: must be in [0, 1]")
        if keep not in ("examples", "steps"):
            raise InputTrouble(f"--grow.keep {keep}: must be examples or steps")
        self.times, self.most, self.rate, self.keep, self.begin = times, most, rate, keep, begin

    def __call__(self, finding: Finding, history: History, controls: Controls) -> Sequence[Action] | None:
        """Turn the batch, the rate and the end; None at the largest batch, in the warm-up, and where the run is as good as over."""
        t, batch = finding.t, int(finding.evidence["batch"])
        left = controls.end - (t + 1)
        soon, late = t + 1 < self.begin * controls.end, controls.end > 0 and left < 10 * self.times
        if batch * self.times > self.most or soon or late:
            return None
        why = f"noise scale {finding.evidence['noise']:.0f} examples: batches of {batch * self.times} after {batch}"
        actions = [Action(t, "turn", why, "batch", controls.batch or batch, batch * self.times)]
        if self.rate:
            after = controls.rate * self.times**self.rate
            actions.append(
                Action(t, "turn", f"batch x {self.times}: rate x {self.times**self.rate:.3g}", "rate", controls.rate, after)
            )
        if self.keep == "examples" and controls.end:  # 0: nobody knows the end
            end = t + 1 + round(left / self.times)
            actions.append(Action(t, "finish", "as many examples in fewer steps", "end", float(controls.end), float(end)))
        return actions
