"""Edge: the largest curvature is the right one, and only a loss that rises above the edge is heard."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import gradlearn
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding

X = torch.randn(100, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1.0, 0.5, 0.1])
LARGEST = float(torch.linalg.eigvalsh(2 * X.T @ X / 100)[-1])  # of the Hessian of the mean square


def found(lr: float, steps: int = 150, **given: Any) -> list[Finding]:
    torch.manual_seed(0)
    given = {"sgd__momentum": 0.0, "rate": ["constant"], "average": "plain", "edge__examples": 100, "inputs": "as given"} | given
    return gradlearn.fit(
        nn.Linear(4, 1, bias=False), (X, X.sum(1, keepdim=True)), "mse", steps=steps, batch="full", update="sgd", lr=lr,
        sgd__weight_decay=0.0, watch=["edge"], valid=None, act=False, compile="off", **given,
    ).findings  # fmt: skip


def test_above_the_edge_the_ratio_is_that_of_the_spectrum():
    said = found(2.6 / LARGEST)
    assert [f.name for f in said][:1] == ["unstable"]
    assert said[0].evidence["largest"] == pytest.approx(LARGEST, rel=1e-3)
    assert said[0].evidence["ratio"] == pytest.approx(1.3, rel=1e-3)


def test_below_it_nothing_is_said():
    assert found(1.8 / LARGEST) == []


def test_it_is_not_usual_and_options_are_checked():
    from gradlearn.watch.edge import Edge

    assert Edge.usual is False
    for name, value in (("every", 0), ("limit", 0.5), ("momentum", 1.0), ("examples", 0), ("products", 1)):
        with pytest.raises(InputTrouble, match=rf"--edge\.{name}"):
            Edge(**{name: value})  # type: ignore[arg-type]
