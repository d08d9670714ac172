"""Flat: saddles, plateaus and minima are told apart where a run stands still; runs that learn are never asked."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

import gradlearn
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Step
from gradlearn.watch.flat import Flat, equal_rows


def found(model: nn.Module, data: Any, loss: Any = "mse", **given: Any) -> list[Finding]:
    """What is said of a run that is only watched."""
    given = {"steps": 300, "update": "sgd", "lr": 0.05, "batch": 32, "watch": ["flat"], "valid": None, "act": False} | given
    return gradlearn.fit(model, data, loss, compile="off", **given).findings


class Product(nn.Module):
    """(1 - x y)^2 from a start near (0, 0), for every example."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.x, self.y = (nn.Parameter(torch.full((3,), start)) for _ in range(2))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return (1 - self.x * self.y).square().mean().expand(len(given))


def rings(n: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return x, (x.norm(dim=1) > 1.18).long()


def net(*widths: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def test_a_saddle_by_its_curvature():
    said = found(Product(0.0), (torch.zeros(32, 1), torch.zeros(32)), lambda out, target: out, batch="full")
    assert [f.name for f in said] == ["saddle"]
    assert said[0].evidence["smallest"] == pytest.approx(-2 / 3, rel=1e-3), (
        "the Hessian of (1 - x y)^2 / 3 at 0 is -2 / 3 off the diagonal"
    )
    assert said[0].evidence["along"] > 0.05


@pytest.mark.parametrize(("rate", "said"), [(0.01, ["saddle"]), (0.3, [])])
def test_a_saddle_that_is_left_too_slowly_is_one_and_one_that_is_left_in_time_is_not(rate: float, said: list[str]):
    """From (s, s) the gradient points along the negative curvature and grows by 2 / 3 of the rate a step: 7 times, or e^60."""
    data = (torch.zeros(32, 1), torch.zeros(32))
    findings = found(Product(1e-5), data, lambda out, target: out, batch="full", lr=rate, rate=["constant"], sgd__momentum=0.0)
    assert [f.name for f in findings if f.level != "info"] == said


def test_units_that_are_all_equal_are_a_saddle():
    model = net(2, 16, 2)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.1)
    said = found(model, rings(), "cross_entropy")
    assert [f.name for f in said] == ["saddle"]
    assert said[0].evidence["kind"] == "equal units"
    assert found(net(2, 16, 2), rings(), "cross_entropy", lr=0.2) == []


def test_a_dead_network_is_on_a_plateau():
    model = net(2, 16, 16, 2)
    with torch.no_grad():
        model[0].bias.fill_(-50.0)  # type: ignore[operator]
    said = found(model, rings(), "cross_entropy", steps=500)
    assert [f.name for f in said] == ["plateau"]
    assert said[0].evidence["other"] == pytest.approx(said[0].evidence["loss"], rel=0.01)


def test_the_best_straight_line_is_a_minimum_and_a_remark():
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, :1] + 3 * torch.randn(400, 1, generator=torch.Generator().manual_seed(1))) / 3
    said = found(net(3, 1), (x, y), batch="full", steps=390, rate=["constant"])
    assert [(f.name, f.level) for f in said] == [("minimum", "info")]
    assert said[0].evidence["smallest"] > 0


def test_noise_of_batches_at_a_falling_rate_is_no_minimum():
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, :1] + 3 * torch.randn(400, 1, generator=torch.Generator().manual_seed(1))) / 3
    for batch, rate, said in ((200, "linear", []), (200, "constant", ["minimum"]), ("full", "linear", ["minimum"])):
        findings = found(net(3, 1), (x, y), batch=batch, steps=390, rate=[rate])
        assert [f.name for f in findings if f.name == "minimum"] == said, (batch, rate)


def question(losses: list[float], norm: float = 1.0, lr: float = 0.1, check: Flat | None = None) -> bool:
    """Whether a look is in question at the end."""
    history = History()
    for t, loss in enumerate(losses):
        history.add(Step(t, loss, norm, lr if t else 1.0, 512, 0.0, True, 0.0))
    history.lr = [lr] * len(losses)
    return (check or Flat())._in_question(history)


def test_only_a_run_that_stands_still_near_its_start_is_asked():
    still = [2.3 + 0.01 * math.sin(7 * t) for t in range(200)]
    assert question(still)
    assert not question(still[:90]), "too early"
    assert not question([x - 0.002 * t for t, x in enumerate(still)]), "it falls"
    assert not question([x if t < 50 else 0.2 * x for t, x in enumerate(still)]), "it has learned"
    history = History()
    for t, loss in enumerate(still):
        history.add(Step(t, loss, 1.0, 1.0 - t / 200, 32, 0.0, True, 0.0))
    assert not Flat()._in_question(history), "the rate has fallen"
    history.lr, history.norm = [1.0] * 200, [1.01**t for t in range(200)]
    assert not Flat()._in_question(history), "the gradient grows: it is on its way"
    history.norm = [1.0] * 200
    assert Flat()._in_question(history)
    history.findings.append(Finding(10, "crawling", "warn", "", "", ""))
    assert not Flat()._in_question(history), "a rate that is too low explains it"


def test_equal_rows():
    assert equal_rows(torch.zeros(3, 2))
    assert equal_rows(torch.ones(3, 2, 2))
    assert not equal_rows(torch.eye(3))


def test_options_are_checked():
    for name, value in (
        ("every", 0),
        ("least", 1),
        ("examples", 1),
        ("products", 1),
        ("share", 1.0),
        ("gain", -0.1),
        ("budget", 1.0),
    ):
        with pytest.raises(InputTrouble, match=rf"--flat\.{name}"):
            Flat(**{name: value})  # type: ignore[arg-type]


def test_a_run_that_has_learned_and_moves_no_more_is_at_a_minimum_and_one_that_moves_is_not():
    for rest, said in ((0.0, ["minimum"]), (1e-3, [])):
        history, check = History(), Flat()
        for t in range(300):
            history.add(Step(t, 0.1 + 2.0 * 0.9**t + rest * (t % 2), 1e-3, 0.1, 32, 0.0, True, 0.0))
        found = check._settled(299, history)
        assert [f.name for f in ([found] if found else [])] == said


def test_weights_that_decay_holds_at_zero_are_no_saddle():
    torch.manual_seed(0)
    x, y = torch.randn(200, 6), torch.randn(200, 1)
    for decay, said in ((0.0, ["saddle"]), (20.0, [])):
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
        with torch.no_grad():
            for p in model.parameters():
                p.fill_(0.0)
        given: dict[str, Any] = {"update": "adamw", "lr": 0.01, "adamw__weight_decay": decay, "compile": "off"}
        run = gradlearn.fit(model, (x, y), "mse", steps=200, batch=32, valid=None, watch=["flat"], act=False, **given)
        assert sorted({f.name for f in run.findings}) == said
