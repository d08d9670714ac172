"""Units: do they still do anything - none dead for every example, none at its bounds all the time?

    dead = share of rectified units that are zero for all examples,   saturated = share of |tanh| > 0.97 (sigmoid likewise)

A dead unit passes no gradient and stays dead; one at its bound passes next to none. Looked at by hooks on activation modules, over
twice a batch of training examples in evaluation mode, and over 256 where that looks bad; what is called as a function
(`torch.relu`) is not seen. Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010).
"""

from __future__ import annotations

from collections.abc import Mapping

from gradlearn import peek
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Units"]

MOST = 256  # examples
WHOLE = 0.65  # of all units


class Units:
    """Speaks where a layer is dead or at its bounds, or two thirds of all units are: "dead units", "saturated units".

    Args:
        every: steps between two looks; a look costs about a step.
        dead: share of the units of a layer.
        bound: share of the outputs of a layer.
    """

    cost = 0.7

    def __init__(self, *, every: int = 20, dead: float = 0.9, bound: float = 0.6) -> None:
        if every < 1:
            raise InputTrouble(f"--units.every {every}: must be at least 1")
        self.every, self.dead, self.bound = every, dead, bound

    def measure(self, step: Step, theta: Theta, objective: Objective) -> Mapping[str, float] | None:
        """The worst layer of each kind, and the share of all its units; None where no activation is seen."""
        data = peek.of(objective, "data")
        if data is None:
            return None
        rows = looked(objective, min(max(2 * step.n, 32), MOST))
        if rows and (rows.get("dead", 0.0) > 0.3 or rows.get("bound", 0.0) > 0.3) and 2 * step.n < MOST:
            rows = looked(objective, MOST)
        return rows or None

    def judge(self, history: History) -> Finding | None:
        """A finding where two looks agree, or one that leaves no doubt."""
        for kind, name, bar in (("dead", "dead units", self.dead), ("bound", "saturated units", self.bound)):
            seen = history.measured.get(f"units.{kind}", [])
            if kind == "dead" and any(f.name == "saddle" for f in history.findings):
                continue  # weights of zero: its units are dead because of that
            if not seen or not history.last or seen[-1][0] != history.last.t or any(f.name == name for f in history.findings):
                continue
            t, share = seen[-1]
            whole = history.measured[f"units.{kind}_all"][-1][1]
            layer = int(history.measured[f"units.{kind}_layer"][-1][1])
            if share > bar or whole > WHOLE:
                return found(t, name, share, whole, layer)
        return None


def looked(objective: Objective, examples: int) -> dict[str, float]:
    """{"dead": share in the worst layer, "dead_all": of all, "dead_layer": which, counted from 1}, "bound" likewise."""
    data = peek.of(objective, "data")
    assert data is not None
    with peek.untouched(objective.model):
        rows = peek.activity(objective.model, peek.taken(data, peek.chosen(data, examples, "units")).x)
    return gathered(rows)


def gathered(rows: list[tuple[str, str, int, float]]) -> dict[str, float]:
    """The numbers that `judge` goes by, from the activity of each layer."""
    out: dict[str, float] = {}
    for kind, what in (("dead", "dead"), ("bound", "saturated")):
        mine = [(share, units, k + 1) for k, (_, w, units, share) in enumerate(rows) if w == what]
        if mine:
            worst = max(mine, key=lambda row: row[0])
            whole = sum(s * n for s, n, _ in mine) / sum(n for _, n, _ in mine)
            out |= {kind: worst[0], f"{kind}_all": whole, f"{kind}_layer": float(worst[2])}
    return out


def found(t: int, name: str, share: float, whole: float, layer: int) -> Finding:
    """What is said of dead or saturated units."""
    evidence = {"share": share, "all": whole, "layer": layer}
    if name == "dead units":
        what = f"step {t}: {share:.0%} of the units of activation {layer} are zero for every example, {whole:.0%} of all"
        why = "a step that was too long has pushed their biases below anything the inputs can lift, or they began there"
        return Finding(
            t, name, "warn", what, why, "lower --lr, smaller or zero biases at the start, or a leaky activation", evidence
        )
    what = f"step {t}: {share:.0%} of the outputs of activation {layer} are at their bounds, {whole:.0%} of all"
    why = "weights or inputs are too large: next to no gradient comes through"
    return Finding(
        t, name, "warn", what, why, "standardise the inputs, smaller weights at the start, a norm before it, a lower --lr", evidence
    )


def sick() -> list[History]:
    """A layer that dies; tanh at its bounds."""
    return [
        told([{"dead": d, "dead_all": d / 2, "dead_layer": 2.0} for d in (0.1, 0.5, 0.9, 1.0)]),
        told([{"bound": b, "bound_all": b / 2, "bound_layer": 1.0} for b in (0.2, 0.5, 0.8, 0.9)]),
    ]


def well() -> list[History]:
    """A fifth of the units dead; a narrow layer of which half are; tanh at its bounds now and then."""
    return [
        told([{"dead": d, "dead_all": d, "dead_layer": 1.0} for d in (0.1, 0.15, 0.2, 0.2)]),
        told([{"dead": d, "dead_all": 0.2, "dead_layer": 2.0} for d in (0.3, 0.5, 0.6, 0.67)]),
        told([{"bound": b, "bound_all": b, "bound_layer": 1.0} for b in (0.0, 0.1, 0.2, 0.25)]),
    ]


def told(looks: list[dict[str, float]]) -> History:
    """A run of which every 100th step was looked at."""
    history = History()
    for t in range(100 * len(looks)):
        history.add(Step(t, 2.0 * 0.99**t + 0.1, 1.0, 0.1, 32, t * 0.1, True, 0.0))
        if (t + 1) % 100 == 0:
            history.note(t, "units", looks[t // 100])
    return history
