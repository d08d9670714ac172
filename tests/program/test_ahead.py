"""Several steps a call, or one: nobody can tell from what is logged, watched, saved or learned."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.learn import planned, task_of
from gradlearn.loop import Descent, advance, train
from gradlearn.plan import Plan
from gradlearn.program.compiled import Program
from gradlearn.symbols import Action, Controls, Finding, History, Step


class Speaks:
    """A check that wants the numbers alone, and speaks after some steps."""

    every, cost, looks = 1, 0.0, False

    def __init__(self, at: tuple[int, ...]) -> None:
        self.at = at

    def measure(self, step: Step, theta: Any, objective: Any) -> float:
        return step.loss

    def judge(self, history: History) -> Finding | None:
        t = len(history.loss) - 1
        return Finding(t, "spoken", "warn", f"step {t}", "", "") if t in self.at else None


class Acts:
    """Turns the rate down, or rewinds."""

    answers = ("spoken",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, finding: Finding, history: History, controls: Controls) -> list[Action]:
        turn = Action(finding.t, "turn", "told to", "rate", controls.rate, controls.rate * 0.5)
        return [turn] if self.name == "turn" else [Action(finding.t, "rewind", "told to"), turn]


def made(update: str, checks: list[Any], remedies: list[Any], bad: bool = False) -> Descent:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(3, (300,), generator=g)
    x = torch.randn(300, 5, generator=g) + y[:, None]
    if bad:
        x[17] = float("nan")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    user = {"batch": 16, "steps": 130, "update": update, "compile": "on", "looks": 3, "ema.every": 3}
    d, _ = planned(task_of(model, (x, y), "cross_entropy", "auto", user, None, 0), Plan(user), 0.0)
    assert d.program is not None
    d.checks, d.remedies = [*d.checks, *checks], [*remedies, *d.remedies]
    return d


def told(d: Descent) -> dict[str, Any]:
    h = d.history
    tensors: list[Tensor] = [*d.theta.snapshot(), *d.average.state().values()]
    tensors += [t for state in d.update.state.values() for t in state.values()]  # pyright: ignore[reportAttributeAccessIssue]
    groups = [{k: v for k, v in group.items() if k != "params"} for group in d.update.param_groups]
    return {
        "tensors": [t.tolist() for t in tensors],
        "groups": groups,
        "rows": [h.loss, h.norm, h.lr, h.applied],
        "said": [h.findings, h.actions, h.scores],
        "t": (d.t, d.seen, [s.t for s in d.ring]),
    }


def both(make: Callable[[], Descent]) -> tuple[dict[str, Any], dict[str, Any], int]:
    """(one step a call, several a call, the most that were taken in one)."""
    most = [0]
    kept = Program.take

    def take(self: Program, d: Descent, count: int) -> list[Step]:
        most[0] = max(most[0], count)
        return kept(self, d, count)

    found = []
    for ahead in (False, True):
        d = make()
        most[0] = 0
        Program.take = take  # type: ignore[method-assign]
        try:
            steps = list(train(d, ahead=ahead))
        finally:
            Program.take = kept  # type: ignore[method-assign]
        assert [s.t for s in steps] == list(range(130))
        found.append(told(d))
        d.theta.release()
    return found[0], found[1], most[0]


@pytest.mark.parametrize("update", ["adamw", "sgd", "nadam", "split"])
def test_several_steps_a_call_are_the_same_steps(update: str):
    one, several, most = both(lambda: made(update, [], []))
    assert one == several
    assert most > 10


@pytest.mark.parametrize("act", ["turn", "rewind"])
@pytest.mark.parametrize("at", [(7,), (60, 61), (3, 99)])
def test_a_remedy_in_the_middle_of_a_call_acts_on_the_step_it_speaks_of(act: str, at: tuple[int, ...]):
    one, several, most = both(lambda: made("adamw", [Speaks(at)], [Acts(act)]))
    assert one == several
    assert most > 10
    done = [action for action in several["said"][1] if action.name != "recover"]
    assert len(done) == len(at) * (1 if act == "turn" else 2)


def test_a_damaged_example_blocks_the_same_steps():
    one, several, _ = both(lambda: made("adamw", [], [], bad=True))
    assert str(one) == str(several)  # NaN is not equal to itself
    assert 0 < several["rows"][3].count(False) < 20


def test_who_looks_at_theta_gets_every_step_when_it_is_done():
    d = made("adamw", [], [])
    seen = [d.theta.blocks[0].flat.clone() for _ in train(d)]
    assert all(not torch.equal(a, b) for a, b in pairwise(seen))
    d.theta.release()


def test_under_a_guard_steps_are_taken_one_by_one_and_together_again_after_it():
    """The dial `most` leaves out batches by their loss, which a program does not look at."""
    d = made("adamw", [], [])
    assert d.program is not None
    assert d.program.fits(d)
    d.controls.most = 1e-9
    assert not d.program.fits(d)
    before = [b.flat.clone() for b in d.theta.blocks]
    ((step,), back) = advance(d, True)
    assert not step.applied
    assert back is None
    assert all(torch.equal(b.flat, was) for b, was in zip(d.theta.blocks, before, strict=True))
    d.controls.most = 1e9
    ((step,), _) = advance(d, True)
    assert step.applied
    assert d.controls.most == 0.0
    assert d.program.fits(d)
