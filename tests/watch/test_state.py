"""State: a memory of the update that no gradient explains is found at the next look; all updates' own are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import gradlearn
from gradlearn.errors import InputTrouble
from gradlearn.find import find
from gradlearn.loop import train
from gradlearn.symbols import Finding, History, Step
from gradlearn.watch.state import State
from toys import Line, descent


def watched(
    update: str,
    steps: int = 260,
    spoil: Callable[[dict[str, Any]], None] | None = None,
    at: int = 120,
    every: int = 10,
    **more: Any,
) -> list[Finding]:
    d = descent(Line(), steps, update=update, checks=("finite", "state"), remedies=(), **more)
    d.checks[1].every = every
    for step in train(d):
        if spoil is not None and step.t == at:
            for state in d.update.state.values():  # pyright: ignore[reportAttributeAccessIssue]
                spoil(state)
    return [f for f in d.history.findings if f.name == "precision fault"]


def times(name: str, factor: float) -> Callable[[dict[str, Any]], None]:
    return lambda state: state[name].mul_(factor)


@pytest.mark.parametrize(
    ("update", "name", "factor"),
    [("adamw", "exp_avg_sq", 1e6), ("nadam", "exp_avg_sq", 1e6), ("rmsprop", "square_avg", 1e6)],
)
def test_a_spoilt_memory_is_found_at_the_next_look(update: str, name: str, factor: float):
    (found, *_) = watched(update, spoil=times(name, factor))
    assert found.t == 129
    assert found.evidence["kind"] == "update state"
    assert found.evidence["name"] == name
    assert found.evidence["onset"] == 119, "after step 119 it was good; what is kept before step 120 may not be"


@pytest.mark.parametrize(("update", "name"), [("adamw", "exp_avg_sq"), ("nadam", "exp_avg_sq"), ("rmsprop", "square_avg")])
def test_squares_that_were_taken_away_are_missed_long_after(update: str, name: str):
    """At a beta of 0.99 a fifth has come back after twenty steps: 0.8 of what was there is what they must have kept, and a bit."""
    found = watched(update, spoil=times(name, 0.0), at=103, every=25)
    assert [f.t for f in found] == [124]
    assert found[0].evidence["kind"] == "update state"
    assert found[0].evidence["onset"] == 99


def test_squares_are_missed_where_larger_gradients_hide_it_and_not_where_gradients_were_cut():
    def found(total: float, cut: float = 3.0) -> Finding | None:
        history, made = History(), 0.0
        for t in range(75):
            history.add(Step(t, 1.0, 3.0 if t > 54 else 1.0, 0.1, 8, 0.0, True, 0.0))
            if t > 54 and cut < 3.0:
                history.shorten(t, cut)
            if t in (24, 49):
                made = 1.0 - 0.99 ** (t + 1)
                history.note(t, "state", {"exp_avg_sq": made, "total": made, "keep": 0.99})
        history.note(74, "state", {"exp_avg_sq": total, "total": total, "keep": 0.99})
        return State().judge(history)

    since, rest = (1.0 - 0.99**20) * 9.0, 0.99**20 * (1.0 - 0.99**55)
    assert found(since + rest) is None
    assert (missing := found(since)) is not None, "five times what was there before, and still less than there must be"
    assert missing.evidence["name"] == "sum of squares"
    assert not missing.evidence["slows"]
    assert found(since, cut=2.6) is None, "shorter ones make less"


@pytest.mark.parametrize("update", ["adamw", "sgd", "nadam", "rmsprop", "lion", "muon", "split", "soap", "schedule_free"])
def test_what_updates_do_by_themselves_is_not(update: str):
    if getattr(find("update", update), "elementwise", True):
        assert watched(update, 500) == []


def told(norms: list[float], memory: list[float], name: str = "exp_avg_sq") -> Finding | None:
    history = History()
    for t, norm in enumerate(norms):
        history.add(Step(t, 1.0, norm, 0.1, 8, 0.0, True, 0.0))
        if (t + 1) % 50 == 0:
            history.note(t, "state", {name: memory[t // 50], "keep": 0.999, "mean": 0.9})
    return State().judge(history)


def test_a_memory_may_grow_as_its_gradients_do():
    assert told([1.0] * 100 + [30.0] * 50, [1.0, 1.0, 900.0]) is None
    assert told([1.0] * 100 + [1.1] * 50, [1.0, 1.0, 900.0]) is not None
    assert told([1.0] * 100 + [30.0] * 50, [1.0, 1.0, 900.0], "momentum_buffer") is not None, "squares grow with squares"


def test_a_memory_that_had_cancelled_may_hold_all_the_gradients_since():
    """Noise cancels in a sum; where it turns into a slope, the sum of its lengths is what no gradient can exceed."""
    assert told([1.0] * 150, [0.1, 0.01, 15.0], "momentum_buffer") is None
    assert told([1.0] * 150, [0.1, 0.01, 25.0], "momentum_buffer") is not None


def test_squares_keep_what_their_beta_says():
    def found(now: float) -> Finding | None:
        history = History()
        for t in range(75):
            history.add(Step(t, 1.0, 1.0, 0.1, 8, 0.0, True, 0.0))
        history.note(49, "state", {"exp_avg_sq": 1.0, "keep": 0.99})
        history.note(74, "state", {"exp_avg_sq": now, "keep": 0.99})
        return State().judge(history)

    assert found(0.99**25) is None
    assert (zeroed := found(1.0 - 0.99**25)) is not None
    assert not zeroed.evidence["slows"]


def test_running_statistics_that_a_batch_in_other_units_has_moved_are_found():
    d = descent(Line(), 150, checks=("state",), remedies=())
    for step in train(d):
        if step.t == 120:
            for buffer in d.theta.buffers():
                buffer.mul_(1e7 if buffer.is_floating_point() else 1)
    assert [(f.t, f.evidence["kind"]) for f in d.history.findings] == [(129, "running statistics")]


def test_it_costs_nothing_where_the_update_is_not_known():
    step = Step(0, 1.0, 1.0, 0.1, 8, 0.0, True, 0.0)
    assert State().measure(step, None, None) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"every": 0}, {"times": 1.0}])
def test_options_out_of_range_are_refused(options: dict[str, float]):
    with pytest.raises(InputTrouble, match="--state"):
        State(**options)  # pyright: ignore[reportArgumentType]


def test_what_a_bound_has_left_of_the_gradients_is_what_went_into_the_squares():
    def run(spoil: bool) -> list[Finding]:
        d = descent(Line(), 150, update="adamw", checks=("finite", "state"), remedies=())
        d.controls.clip = 0.05
        for step in train(d):
            if spoil and step.t == 103:
                for state in d.update.state.values():  # pyright: ignore[reportAttributeAccessIssue]
                    state["exp_avg_sq"].mul_(0.88)
        assert d.history.cut
        assert all(length == pytest.approx(0.05) for length in d.history.cut.values())
        return d.history.findings

    assert run(False) == []
    assert [f.evidence["name"] for f in run(True)] == ["sum of squares"], "an eighth is missed where all is accounted for"


def test_an_update_of_which_others_take_a_part_has_no_sum():
    seen: dict[str, bool] = {}
    for update in ("adamw", "split"):
        layers = [torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)]
        data, kept = (torch.randn(64, 4), torch.randint(2, (64,))), []
        given: dict[str, Any] = {"watch": ["state"], "steps": 25, "valid": None, "compile": "off", "batch": 8, "update": update}
        show = lambda d, _, kept=kept: kept.append(d.history)  # noqa: E731
        gradlearn.fit(torch.nn.Sequential(*layers), data, "cross_entropy", show=show, **given)
        seen[update] = "state.total" in kept[-1].measured
    assert seen == {"adamw": True, "split": False}
