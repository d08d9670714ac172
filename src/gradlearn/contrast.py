"""Twins: the same training done too fast, right and too slow, and with and without what keeps it from learning by heart.

    too high | chosen | too low        the plan's learning rate x 30, x 1, x 1 / 30;   all else the same
    by heart | held back               few of the examples;   every regularisation off, and as the plan has it

Same first weights, same order of the data, same number of steps; the watch looks, no remedy acts. One offline page shows them
side by side on one's own data, with what the watch said of each (`report/twins.py`). Use it to learn what a curve is saying; to
choose a rate, `fit` and `probe` are there.
"""

from __future__ import annotations

import copy
import time as clock_time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradlearn import chance
from gradlearn.adapt import Examples, Subset
from gradlearn.errors import InputTrouble
from gradlearn.loop import Descent, evaluating
from gradlearn.plan import Plan
from gradlearn.program.choice import again
from gradlearn.run import build, carry_out
from gradlearn.symbols import Data, Task
from gradlearn.variants import altered, few, held_of, longer, loosened, smaller

TIMES = 30.0  # of the plan's rate, and the part of it
SHORT = 40  # steps of each at least, where time and not the user says how many
SECONDS = 45.0  # for all five, where nothing else is said
Make = Callable[[Plan, torch.Tensor | None], tuple[Task, nn.Module | None]]  # of a plan, on all examples or on these


@dataclass(frozen=True, slots=True)
class Twin:
    """One of the five.

    Attributes:
        name: "chosen", "too high", "too low", "by heart" or "held back".
        lr: its peak learning rate.
        examples: that it trained on.
        held: what keeps it from learning by heart, as {"adamw.weight_decay": 0.05, ...}; empty where all is off.
        loss: of each step's batch.
        lrs: of each step.
        scores: {"t", "split", "name", "higher", "value", "all"} of each scoring on validation data.
        fit: the same kind of score on examples it trained on, at the end; None where it is not finite.
        findings: what the watch saw.
        stop: {"reason", "message"}.
        seconds: that it took.
    """

    name: str
    lr: float
    examples: int
    held: dict[str, Any]
    loss: list[float]
    lrs: list[float]
    scores: list[dict[str, Any]]
    fit: dict[str, Any] | None
    findings: list[dict[str, Any]]
    stop: dict[str, str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Twins:
    """All of them.

    Attributes:
        task: what was trained.
        twins: in the order above; the last two are missing where there are no validation data.
        steps: of each.
        update: the name of the update.
        judged: validation examples; 0 where there are none.
        seconds: in all.
    """

    task: str
    twins: tuple[Twin, ...]
    steps: int
    update: str
    judged: int
    seconds: float

    def __getitem__(self, name: str) -> Twin:
        """One of them by name."""
        return next(t for t in self.twins if t.name == name)

    def document(self) -> dict[str, Any]:
        """Plain values, for the page."""
        return {k: getattr(self, k) for k in ("task", "steps", "update", "judged", "seconds")} | {
            "twins": [asdict(t) for t in self.twins]
        }

    def explain(self) -> str:
        """A sentence for each: what it looks like, and what the watch said."""
        from gradlearn.report.twins import sentences

        return "\n".join(f"{name}: {said}" for name, said in sentences(self.document()).items())

    def page(self, path: str | Path = "twins.html") -> Path:
        """Write the page that shows them side by side; it needs nothing else. Raises ResourceTrouble."""
        from gradlearn.report.twins import write

        return write(self.document(), Path(path))


def twins(
    model: nn.Module,
    data: Any,
    loss: str | Callable[..., Any] = "cross_entropy",
    *,
    valid: Any = "auto",
    time: float | str | None = None,
    class_weight: Any = None,
    say: Callable[[str], None] = lambda line: None,
    **given: Any,
) -> Twins:
    """Train copies of a module five ways; the module itself stays as it is.

    Args:
        model, data, loss, valid, class_weight: as for `fit`; for the last two there must be validation data.
        time: seconds, or "60s", for all five; default 45 where neither steps nor epochs are given.
        say: called with a line as each begins.
        given: as for `fit`, less `run`, `resume` and `show`: of the training that the plan would choose.

    Returns:
        `.twins`, `["too high"]`, `.explain()`, `.page("twins.html")`.

    Raises:
        InputTrouble: as `fit`.
    """
    from gradlearn.learn import SETTINGS, choices_of, planned, task_of
    from gradlearn.plan import seconds_of
    from gradlearn.scales import standardise
    from gradlearn.supervised import Supervised

    begun = clock_time.monotonic()
    for name in ("run", "resume", "show"):
        if given.pop(name, None) is not None:
            raise InputTrouble(f"twins: takes no {name!r}; use fit")
    given |= {} if time is None else {"time": seconds_of(time)}
    user = shared(choices_of({k: given.pop(k, None) for k in SETTINGS} | {"act": False}, given), 0.0)
    with chance.preserved():
        first = task_of(copy.deepcopy(model), data, loss, valid, user, class_weight, user.get("seed", 0))
        sets, plan = dict(first.sets), Plan(user)
        planned(first, plan, clock_time.monotonic())[0].theta.release()
        whole = sets["train"]
        assert whole is not None, "task_of gives some"

        def make(own: Plan, rows: torch.Tensor | None) -> tuple[Task, nn.Module]:
            part = {} if rows is None else {"train": taken(whole, rows)}
            task = Supervised(copy.deepcopy(model), first.given, sets | part, first.class_weight)
            task.each = first.each
            task.use(own)
            standardise(task, own)
            return task, task.own

        found = side_by_side(plan, make, whole, sets["valid"], say)
    judged = len(sets["valid"] or ())
    return Twins("fit", found, len(found[0].loss), plan["update"], judged, clock_time.monotonic() - begun)


def taken(data: Data, rows: torch.Tensor) -> Data:
    """Some of the examples; of tensors in memory a copy, which is tensors again."""
    if not isinstance(data, Examples):
        return Subset(data, rows)
    batch = data(rows, -1)
    return Examples(batch.x, batch.y, batch.index)


def shared(user: dict[str, Any], overhead: float) -> dict[str, Any]:
    """The user's choices with a fifth of the time for each; `overhead`: seconds that a plan keeps back for the end of a run."""
    if "steps" in user or "epochs" in user:
        return user
    from gradlearn.plan import seconds_of

    seconds = seconds_of(user.get("time", SECONDS))
    return user | {"time": max(0.85 * seconds / 5, 0.02) + overhead}


def side_by_side(plan: Plan, make: Make, data: Data, valid: Data | None, say: Callable[[str], None]) -> tuple[Twin, ...]:
    """All that there are data for, one after the other."""
    if plan["steps"] < SHORT and plan.choices["steps"].by == "measured":
        say(f"warning: there is time for {plan['steps']} steps each, which would show nothing; {SHORT} are taken")
        plan = longer(plan, SHORT)
    rows = few(plan, len(data))
    rates = {"chosen": 1.0, "too high": TIMES, "too low": 1.0 / TIMES}
    wanted = [(name, altered(plan, plan["lr"] * times), None) for name, times in rates.items()]
    if valid is not None and len(valid):
        less = smaller(plan, len(rows))
        wanted += [("by heart", loosened(less), rows), ("held back", less, rows)]
    found = []
    for name, own, part in wanted:
        say(
            f"{name}: learning rate {own['lr']:.3g}, {len(data) if part is None else len(part):,} examples, {plan['steps']:,} steps"
        )
        found.append(one(name, own, make, part, valid))
    return tuple(found)


def one(name: str, plan: Plan, make: Make, rows: torch.Tensor | None, valid: Data | None) -> Twin:
    """Train one; its dropout is off where all regularisation is."""
    begun = clock_time.monotonic()
    task, model = make(plan, rows)
    d = build(task, plan, model, valid=None if valid is None else task.data("valid"))
    held = {} if name == "by heart" else held_of(plan)
    try:
        drops = [m for m in d.theta.model.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0.0]
        held |= {"dropout": max(m.p for m in drops)} if drops and name != "by heart" else {}
        for m in drops if name == "by heart" else ():
            m.p = 0.0
        again(d, plan)
        stop = carry_out(d)
        fit = fitted(d)
    finally:
        d.theta.release()
    return Twin(
        name=name,
        lr=plan["lr"],
        examples=len(d.data),
        held=held,
        loss=d.history.loss,
        lrs=d.history.lr,
        scores=[row(t, split, score) for t, split, score in d.history.scores if split == "valid"],
        fit=fit,
        findings=[asdict(f) for f in d.history.findings],
        stop=stop,
        seconds=clock_time.monotonic() - begun,
    )


def row(t: int, split: str, score: Any) -> dict[str, Any]:
    """A score as plain values."""
    return {"t": t, "split": split, "name": score.name, "higher": score.higher, "value": score.value, "all": dict(score.all)}


def fitted(d: Descent, most: int = 1000) -> dict[str, Any] | None:
    """The score on examples that it trained on, as they are, with the weights that are shown; None where they are not finite."""
    if not d.finite():
        return None
    data = Subset(d.data, torch.arange(min(len(d.data), most)))
    with d.shown(), evaluating(d.theta.model):
        return row(d.t, "train", d.task.score(d.theta.model, data))
