"""Flow: gradients that vanish or explode on the way are named with their layers; healthy networks of any depth are not."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import gradlearn
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding
from gradlearn.watch.flow import Flow, fall_of


def deep(layers: int, act: type[nn.Module] = nn.ReLU, times: float = 1.0) -> nn.Sequential:
    torch.manual_seed(0)
    parts: list[nn.Module] = [nn.Linear(20, 16), act()]
    for _ in range(layers - 2):
        parts += [nn.Linear(16, 16), act()]
    model = nn.Sequential(*parts, nn.Linear(16, 3))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(times if p.ndim > 1 else 1.0)
    return model


def found(model: nn.Module, times: float = 1.0, **given: Any) -> list[Finding]:
    x = torch.randn(300, 20, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    given = {"steps": 130, "update": "adamw", "lr": 0.003, "batch": 16, "watch": ["flow"], "valid": None, "act": False} | given
    return gradlearn.fit(model, (x * times, y), compile="off", **given).findings


def test_twenty_sigmoid_layers_vanish_and_the_layers_are_named():
    said = found(deep(20, nn.Sigmoid))
    assert [f.name for f in said] == ["vanishing"]
    assert said[0].t == 79
    assert said[0].evidence["decades"] > 10
    assert said[0].evidence["low"] < said[0].evidence["high"]
    assert f"step {said[0].t}" in said[0].what


@pytest.mark.parametrize("layers", [2, 3, 6, 9])
@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh, nn.GELU])
def test_healthy_networks_are_left_alone(layers: int, act: type[nn.Module]):
    assert found(deep(layers, act), steps=90) == []


def test_weights_that_are_too_large_explode_and_inputs_are_not_blamed_on_them():
    said = found(deep(8, times=5.0))
    assert [f.name for f in said] == ["exploding"]
    assert said[0].evidence["first"] > 5 * said[0].evidence["silent"]
    assert [f.name for f in found(deep(3), times=1000.0)] == []


def test_the_fall_is_between_the_best_of_the_first_and_of_the_last_third():
    sizes = [(1e-6, 1.0), (1e-9, 1.0), (0.5, 1.0), (1e-3, 0.1), (1e-2, 1.0), (0.0, 1.0)]
    fall = fall_of(sizes)
    assert fall["fall"] == pytest.approx(math.log10(1e-2 / 1e-6))
    assert (fall["low"], fall["high"]) == (0.0, 4.0)
    back = fall_of(sizes[::-1])
    assert back["fall"] == pytest.approx(-4.0)
    assert fall_of([(0.0, 1.0), (1.0, 1.0)])["fall"] == 0.0, "no gradient at all is another trouble"


def test_options_are_checked():
    for name, value in (("decades", 0.5), ("start", 1.0), ("examples", 0)):
        with pytest.raises(InputTrouble, match=rf"--flow\.{name}"):
            Flow(**{name: value})  # type: ignore[arg-type]
