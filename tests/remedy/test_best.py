"""Best: the run ends with its best weights where the last are clearly worse on validation data, and with the last otherwise."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import gradlearn
from gradlearn.errors import InputTrouble
from gradlearn.remedy.best import Best
from gradlearn.symbols import Controls, Finding, History, Score, Step


def drawn(seed: int, rows: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets without a reason."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 8, generator=g), torch.randn(rows, 1, generator=g)


X, Y = drawn(0)
VALID = drawn(1)


def accuracy(value: float, loss: float = 0.5) -> Score:
    return Score("accuracy", True, value, {"accuracy": value, "loss": loss})


def mse(value: float) -> Score:
    return Score("mse", False, value, {"mse": value})


def chosen(best: Score, last: Score, n: int = 100) -> bool:
    action = Best().choose(best, 50, last, 200, n)
    if action is not None:
        assert (action.name, action.t, action.before, action.after) == ("keep", 199, 200.0, 50.0)
        assert "after step 50" in action.why
    return action is not None


def test_a_share_of_n_examples_is_worse_beyond_its_standard_error():
    error = math.sqrt(0.8 * 0.2 / 100)
    assert chosen(accuracy(0.8), accuracy(0.8 - 1.01 * error))
    assert not chosen(accuracy(0.8), accuracy(0.8 - 0.99 * error))
    assert chosen(accuracy(0.8), accuracy(0.78), n=10_000)


def test_more_often_right_by_chance_and_much_surer_is_no_better():
    error = math.sqrt(0.8 * 0.2 / 100)
    assert not chosen(accuracy(0.8, 0.9), accuracy(0.8 - 1.5 * error, 0.5))
    assert chosen(accuracy(0.8, 0.9), accuracy(0.8 - 2.1 * error, 0.5))


def test_the_best_so_far_is_more_often_right_or_less_sure():
    assert Best().better(accuracy(0.85, 0.9), accuracy(0.8, 0.5), 100)
    assert not Best().better(accuracy(0.83, 0.9), accuracy(0.8, 0.5), 100)
    assert Best().better(accuracy(0.79, 0.4), accuracy(0.8, 0.5), 100)
    assert not Best().better(accuracy(0.77, 0.4), accuracy(0.8, 0.5), 100)
    assert Best().better(mse(0.9), mse(1.0), 100)
    assert not Best().better(mse(1.0), mse(1.0), 100)


def test_a_number_is_worse_by_more_than_a_hundredth():
    assert chosen(mse(1.0), mse(1.02))
    assert not chosen(mse(1.0), mse(1.009))


def test_a_score_without_a_loss_is_judged_by_itself_alone():
    def precision(value: float) -> Score:
        return Score("mAP", True, value, {"mAP": value})

    assert not chosen(precision(0.4954), precision(0.4967))
    assert not chosen(precision(0.4967), precision(0.4954))
    assert chosen(precision(0.51), precision(0.4954))


def test_as_often_right_but_far_too_sure_is_worse():
    assert chosen(accuracy(0.8, 0.5), accuracy(0.8, 0.71))
    assert not chosen(accuracy(0.8, 0.5), accuracy(0.8, 0.69))
    assert chosen(accuracy(0.8, 0.5), accuracy(0.8, 0.56), n=10_000)
    assert not chosen(accuracy(0.7, 0.5), accuracy(0.8, 2.0)), "clearly more often right at the end"


def test_what_is_no_number_is_worse_than_all_others():
    assert chosen(mse(1.0), mse(float("nan")))


def overfit(looks: list[float], end: int, level: str = "warn") -> tuple[History, Finding]:
    h = History()
    for k, loss in enumerate(looks):
        for _ in range(10):
            h.add(Step(len(h.loss), 1.0, 1.0, 0.1, 8, 0.0, True, 0.0))
        h.scores.append((10 * k + 10, "valid", mse(loss)))
    found = Finding(len(h.loss) - 1, "overfit", level, "what", "why", "remedy")
    h.findings.append(found)
    return h, found


def test_a_run_ends_early_only_late_and_when_nothing_has_become_better_for_long():
    worse, still = [1.0, 0.5] + [0.6] * 8, [1.0, 0.5] + [0.6] * 7
    for looks, end, ends in ((worse, 150, True), (worse, 200, False), (still, 150, False), ([*worse[:-1], 0.4], 150, False)):
        h, found = overfit(looks, end)
        actions = Best()(found, h, Controls(end=end))
        assert (actions is not None) == ends
        assert Best().follow(h, Controls(end=end)) == actions
        assert Best(patience=0)(found, h, Controls(end=end)) is None
        if actions is not None:
            assert [(a.name, a.dial, a.before, a.after) for a in actions] == [("finish", "end", float(end), float(len(h.loss) + 1))]


def test_a_remark_ends_no_run():
    h, found = overfit([1.0, 0.5] + [0.6] * 8, 150, "info")
    assert Best()(found, h, Controls(end=150)) is None
    assert Best().follow(h, Controls(end=150)) is None


@pytest.mark.parametrize("options", [{"times": 0.0}, {"patience": -1}, {"late": 2.0}])
def test_options_out_of_range_are_refused(options: dict[str, Any]):
    with pytest.raises(InputTrouble, match=rf"--best.{next(iter(options))} "):
        Best(**options)


def trained(**more: Any) -> gradlearn.Run:
    """The longer, the worse on others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1))
    return gradlearn.fit(model, (X, Y), "mse", valid=VALID, steps=120, batch=8, lr=0.02, without=["regularise"], **more)


def test_the_run_ends_with_the_weights_that_were_shown_at_the_best_look():
    run = trained()
    (kept,) = (a for a in run.actions if a.name == "keep")
    at = run.history["val_step"].index(kept.after or 0.0)
    assert run.history["val_mse"][at] == min(run.history["val_mse"])
    assert run.score is not None
    assert run.score.value == pytest.approx(run.history["val_mse"][at], rel=1e-6)
    assert nn.functional.mse_loss(run.model(VALID[0]), VALID[1]).item() == pytest.approx(run.history["val_mse"][at], rel=1e-5)


def test_what_is_kept_depends_on_nothing_but_the_scores():
    """The steps are those of a run that keeps nothing."""
    assert trained(best__patience=0).history["loss"] == trained(act=False).history["loss"]


def test_a_run_that_ends_early_says_so():
    run = trained(best__patience=2, best__late=0.1)
    assert any(f.name == "overfit" and f.level == "warn" for f in run.findings)
    early = [a for a in run.actions if a.name == "finish"]
    assert early
    assert run.steps == early[0].after
    assert run.stop["reason"] == "done"
    assert "ended early" in run.stop["message"]
