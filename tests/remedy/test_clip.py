"""Clip: the bound follows the run's own norms, and what is far beyond it leaves no trace."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from gradlearn import chance
from gradlearn.care import renew
from gradlearn.errors import InputTrouble
from gradlearn.loop import train
from gradlearn.optimizer import pack
from gradlearn.remedy.clip import Clip
from gradlearn.step import limit, shrinking
from gradlearn.symbols import Action, Controls, Finding, History, Step
from toys import Line, descent


def told(norms: list[float], blocked: tuple[int, ...] = ()) -> History:
    history = History()
    for t, norm in enumerate(norms):
        history.add(Step(t, 1.0, norm, 0.1, 8, 0.0, t not in blocked, 0.0))
    return history


def bound(history: History, **options: Any) -> float:
    controls = Controls()
    Clip(**options).renew(history, controls)
    return controls.bound


def test_the_bound_is_four_times_the_98th_percentile_of_the_last_200_norms():
    norms = [100.0] * 300 + [1.0 + k / 200 for k in range(200)]
    assert bound(told(norms)) == pytest.approx(4.0 * (1.0 + 196 / 200))


def test_there_is_none_before_fifty_norms():
    assert bound(told([1.0] * 49)) == 0.0
    assert bound(told([1.0] * 50)) == 4.0
    assert bound(told([1.0] * 60, blocked=tuple(range(11)))) == 0.0, "blocked steps have no norm to speak of"


def test_norms_that_a_rewind_has_undone_do_not_count():
    history = told([1.0] * 100 + [1e3] * 30 + [1.0] * 20)
    assert bound(history) == pytest.approx(4e3)
    history.actions.append(Action(130, "rewind", "why", "t", 131.0, 95.0))
    assert bound(history) == 4.0


def test_a_gradient_is_cut_to_the_bound_and_left_out_ten_times_beyond_it():
    own = Controls(bound=2.0)
    assert [shrinking(own, norm) for norm in (1.0, 2.0, 4.0, 20.0, 20.1)] == [1.0, 1.0, 0.5, 0.1, 0.0]
    assert shrinking(Controls(clip=2.0), 2e6) == 1e-6, "a bound that the user gave only cuts"
    assert limit(Controls(clip=1.0, bound=2.0)) == 1.0
    assert shrinking(Controls(clip=1.0, bound=2.0), 1e9) == 1e-9


class Odd:
    """Data whose inputs are ten thousand times too large in one step."""

    def __init__(self, data: Any, draw: int) -> None:
        self.data, self.draw = data, draw

    def __len__(self) -> int:
        return len(self.data)

    def __call__(self, index: torch.Tensor, draw: int) -> Any:
        batch = self.data(index, draw)
        return batch._replace(y=batch.y * 1e4) if draw == self.draw else batch


@pytest.mark.parametrize("update", ["sgd", "adamw"])
def test_a_batch_ten_thousand_times_too_large_does_no_harm(update: str):
    ends = {}
    for name, remedies in (("clip", ("clip",)), ("none", ())):
        d = descent(Line(), 120, remedies=remedies, checks=(), update=update)
        d.data = Odd(d.data, chance.key(0, "batch", 80))
        list(train(d))
        memory = max(v.abs().max().item() for k, v in pack(d.update)[0].items() if "step" not in k)
        ends[name] = (d.history.norm[80], sum(d.history.loss[82:92]) / 10, memory)
    assert ends["clip"][0] > 1e3
    assert update == "adamw" or ends["clip"][1] < 0.5 * ends["none"][1]
    assert ends["clip"][2] < 10.0
    assert ends["none"][2] > 0.01 * ends["clip"][0], "a trace in the update's memory"


def test_it_is_renewed_at_every_snapshot_and_not_logged():
    d = descent(Line(), 80, remedies=("clip",), checks=())
    list(train(d))
    assert d.history.actions == []
    expected = Controls()
    Clip().renew(told(d.history.norm[:50]), expected)
    assert d.controls.bound == expected.bound > 0.0
    renew(d)
    assert d.controls.bound != expected.bound


def test_it_says_what_became_of_a_batch_that_stands_out():
    history = told([1.0] * 80 + [500.0] + [1.0] * 9)
    found = Finding(89, "data fault", "warn", "what", "why", "do", {"kind": "outlier batch", "at": 80})
    (action,) = Clip()(found, history, Controls(bound=4.0)) or ()
    assert (action.name, action.dial) == ("clip", "")
    assert "step 80" in action.why
    assert Clip()(found, history, Controls(bound=0.0)) is None
    assert Clip()(found, history, Controls(bound=600.0)) is None
    assert Clip()(dataclasses.replace(found, evidence={"kind": "imbalance"}), history, Controls(bound=4.0)) is None


@pytest.mark.parametrize("options", [{"times": 1.0}, {"share": 1.0}, {"share": 0.0}, {"first": 0}, {"first": 300}])
def test_options_out_of_range_are_refused(options: dict[str, float]):
    with pytest.raises(InputTrouble, match="--clip"):
        Clip(**options)  # pyright: ignore[reportArgumentType]
