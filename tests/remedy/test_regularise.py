"""Regularise: stronger while the gap is wide and validation is at no new best, weaker when it has closed, seldom, and bounded."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

import gradlearn
from gradlearn.errors import InputTrouble
from gradlearn.remedy.regularise import LADDER, Regularise
from gradlearn.symbols import Action, Controls, History, Score, Step

WAYS = ["decay", "dropout", "mix", "smooth"]


def history(looks: Sequence[tuple[float, float]], every: int = 10, start: float = 2.0) -> History:
    """A run with these training and validation losses, one look after each `every` steps."""
    h = History()
    for k, (train, valid) in enumerate(looks):
        for _ in range(every):
            h.add(Step(len(h.loss), start if not k else train, 1.0, 0.1, 8, 0.0, True, 0.0))
        for split, loss in (("train", train), ("valid", valid)):
            h.scores.append(((k + 1) * every, split, Score("accuracy", True, 0.5, {"accuracy": 0.5, "loss": loss})))
    return h


def followed(remedy: Regularise, looks: Sequence[tuple[float, float]], end: int = 1000) -> tuple[Controls, History]:
    """Every look of a run, each turn carried out."""
    controls, acted = Controls(end=end), []
    h = History()
    for k in range(len(looks)):
        h = history(looks[: k + 1])
        h.actions = list(acted)
        for action in remedy.follow(h, controls) or ():
            setattr(controls, action.dial, action.after)
            acted.append(action)
    h.actions = acted
    return controls, h


def test_a_wide_gap_goes_up_a_rung_of_decay_and_of_the_first_other_way():
    remedy = Regularise(ways=WAYS, forget=1.0)
    actions = remedy.follow(history([(0.1, 0.5), (0.05, 0.6)]), Controls(end=1000))
    assert actions is not None
    assert [(a.name, a.dial, a.before, a.after, a.t) for a in actions] == [
        ("turn", "decay", 1.0, 2.5, 19),
        ("turn", "dropout", 0.0, 0.2, 19),
    ]
    assert "0.05 on training examples and 0.6 on others" in actions[0].why


@pytest.mark.parametrize(
    ("ways", "other"), [(["decay", "mix", "smooth"], "mix"), (["decay", "smooth"], "smooth"), (["mix"], "mix")]
)
def test_without_dropout_layers_another_way_is_turned(ways: list[str], other: str):
    actions = Regularise(ways=ways).follow(history([(0.1, 0.5), (0.05, 0.6)]), Controls(end=1000))
    assert actions is not None
    assert {a.dial for a in actions} == {other} | ({"decay"} & set(ways))


def test_nothing_is_turned_without_a_gap_or_before_validation_has_risen():
    remedy = Regularise(ways=WAYS)
    assert remedy.follow(history([(0.5, 0.55), (0.4, 0.5)]), Controls(end=1000)) is None
    assert remedy.follow(history([(0.3, 0.9), (0.1, 0.6)]), Controls(end=1000)) is None
    assert remedy.follow(history([(0.3, 0.6), (0.1, 0.62)]), Controls(end=1000)) is None
    assert remedy.follow(history([(0.3, 0.6), (0.1, 0.68)]), Controls(end=1000)) is None, "one look may be noise"
    assert remedy.follow(history([(0.3, 0.6), (0.1, 0.66), (0.1, 0.68)]), Controls(end=1000)) is not None
    assert remedy.follow(history([(0.3, 0.6), (0.1, 0.7)]), Controls(end=1000)) is not None, "too far for noise"


def test_a_gap_that_is_next_to_nothing_is_left_alone():
    """The model is nearly always right: there is a gap of nearly all of the loss, and no harm in it."""
    assert Regularise().follow(history([(0.001, 0.05), (0.0001, 0.09)], start=2.0), Controls(end=1000)) is None
    assert Regularise().follow(history([(0.001, 0.05), (0.0001, 0.09)], start=0.7), Controls(end=1000)) is not None


def test_turns_are_looks_apart_and_end_at_the_top_of_the_ladder():
    controls, h = followed(Regularise(ways=WAYS, forget=1.0), [(0.01, 1.0 + 0.2 * k) for k in range(20)])
    turns = [a.t for a in h.actions if a.dial == "decay"]
    assert turns == [19, 39, 59]
    assert (controls.decay, controls.dropout) == (LADDER["decay"][-1], LADDER["dropout"][-1])
    assert (controls.mix, controls.smooth) == (0.0, 0.0)


def test_nothing_is_turned_in_the_last_tenth():
    looks = [(0.1, 0.5), (0.05, 0.6)]
    assert Regularise().follow(history(looks), Controls(end=22)) is None
    assert Regularise().follow(history(looks), Controls(end=23)) is not None


def test_decay_goes_by_what_the_run_forgets_already():
    """Where the plan forgets more than a rung, that rung leaves the decay alone."""
    assert Regularise(forget=0.25).ladder["decay"] == (1.0, 10.0, 28.0, 56.0)
    assert Regularise(forget=5.0).ladder["decay"] == (1.0, 1.0, 1.4, 2.8)


def test_it_goes_down_again_when_the_gap_has_closed_and_training_is_held_back():
    looks = [(0.1, 0.5), (0.05, 0.6), (0.5, 0.5), (0.5, 0.5)]
    controls, h = followed(Regularise(ways=WAYS, forget=1.0), looks)
    assert [(a.dial, a.after) for a in h.actions] == [("decay", 2.5), ("dropout", 0.2), ("decay", 1.0), ("dropout", 0.0)]
    assert controls == Controls(end=1000)


def test_a_small_gap_with_a_low_training_loss_stays():
    looks = [(0.1, 0.5), (0.05, 0.6), (0.05, 0.05), (0.05, 0.05)]
    controls, _ = followed(Regularise(ways=WAYS, forget=1.0), looks)
    assert controls.dropout == 0.2


def test_a_module_that_came_trained_gets_no_mixed_losses():
    """Its loss would rise far above where it began, and look like divergence."""
    looks = [(0.01, 0.5), (0.01, 0.6)]
    actions = Regularise(ways=["decay", "mix"]).follow(history(looks, start=0.05), Controls(end=1000))
    assert actions is not None
    assert [a.dial for a in actions] == ["decay"]


def test_losses_that_are_no_numbers_are_no_looks():
    assert Regularise().follow(history([(0.1, float("nan")), (0.05, float("nan"))]), Controls(end=1000)) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"wide": 1.0}, "--regularise.wide 1.0"),
        ({"narrow": 0.4}, "--regularise.wide 0.3: must be in .* above regularise.narrow, 0.4"),
        ({"looks": 0}, "--regularise.looks 0"),
        ({"ways": ["decay", "sleep"]}, "--regularise.ways sleep: must be among decay"),
        ({"forget": 0.0}, "--regularise.forget 0.0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], said: str):
    with pytest.raises(InputTrouble, match=said):
        Regularise(**options)  # type: ignore[arg-type]


def by_heart(**more: object) -> gradlearn.Run:
    """A run that can only learn by heart: labels without a reason."""
    torch.manual_seed(0)
    x, y = torch.randn(60, 8), torch.randint(2, (60,))
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.0), nn.Linear(64, 2))
    valid = (torch.randn(60, 8), torch.randint(2, (60,)))
    return gradlearn.fit(model, (x, y), valid=valid, steps=200, batch=16, lr=0.02, **more)  # type: ignore[arg-type]


def test_in_a_run_the_gap_narrows_and_each_turn_is_said():
    run, plain = by_heart(), by_heart(act=False)
    assert {"decay", "dropout"} <= {a.dial for a in run.actions if a.name == "turn"}
    assert not plain.actions
    gap = lambda r: r.history["val_loss"][-2] - r.history["train_loss"][-2]  # noqa: E731
    assert gap(run) < 0.8 * gap(plain)


def test_it_is_left_out_by_name():
    run = by_heart(without=["regularise"])
    assert not any(isinstance(a, Action) and a.name == "turn" for a in run.actions)
