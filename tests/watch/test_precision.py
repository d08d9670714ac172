"""Precision: steps lost to rounding, gradients that underflow, columns far from zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import gradlearn
from gradlearn.adapt import Examples
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding
from gradlearn.watch.precision import Precision, offset_of


def found(
    kind: torch.dtype = torch.float32, lr: float = 0.1, scale: float = 1.0, shift: float = 0.0, **given: Any
) -> list[Finding]:
    torch.manual_seed(0)
    x = torch.randn(256, 8)
    y = (x[:, :1] * 0.5).to(kind)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)).to(kind)

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return scale * (output - target).square().mean(1)

    given = {"steps": 120, "update": "adamw", "batch": 32, "watch": ["precision"], "valid": None, "act": False} | given
    return gradlearn.fit(model, ((x + shift).to(kind), y), loss, lr=lr, rate=["constant"], compile="off", **given).findings


@pytest.mark.parametrize(
    ("kind", "lr", "heard"),
    [(torch.bfloat16, 1e-5, True), (torch.bfloat16, 0.01, False), (torch.float32, 1e-5, False), (torch.float16, 1e-6, True)],
)
def test_steps_that_rounding_eats_are_heard(kind: torch.dtype, lr: float, heard: bool):
    said = [f for f in found(kind, lr) if f.evidence["kind"] == "still"]
    assert bool(said) == heard
    if heard:
        assert said[0].t == 74
        assert said[0].evidence["share"] > 0.5


def test_what_is_not_meant_to_move_yet_is_not_lost():
    assert found(lr=0.01, head_first=1.0) == []
    assert found(lr=0.01, head_first=0.5) == []


@pytest.mark.parametrize(("scale", "heard"), [(1e-3, True), (1.0, False)])
def test_gradients_that_underflow_are_heard(scale: float, heard: bool):
    assert any(f.evidence["kind"] == "underflow" for f in found(torch.float16, 0.01, scale)) == heard


@pytest.mark.parametrize(("shift", "heard"), [(0.0, False), (1e3, False), (1e7, True)])
def test_columns_far_from_zero_are_heard_once(shift: float, heard: bool):
    said = found(lr=1e-16, shift=shift)  # and steps that float32 loses, too
    assert [f.evidence["kind"] for f in said] == ["offset"] * heard + ["still"]


def test_the_offset_is_counted_in_units_of_rounding():
    class Known:
        model = nn.Linear(1, 1)

        def __init__(self, x: torch.Tensor) -> None:
            self.data = Examples(x, torch.zeros(len(x)))

    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 5.0
    assert offset_of(Known(x), 300) < 1e-7  # type: ignore[arg-type]
    far = x + torch.tensor([2.0**16, 0.0])
    eps = torch.finfo(torch.float32).eps
    assert offset_of(Known(far), 300) == pytest.approx(eps * 2**16 / float(x[:, 0].std()), rel=0.05)  # type: ignore[arg-type]


def test_options_are_checked():
    for name, value in (("every", 0), ("examples", 0), ("most", 1.0)):
        with pytest.raises(InputTrouble, match=rf"--precision\.{name}"):
            Precision(**{name: value})  # type: ignore[arg-type]
