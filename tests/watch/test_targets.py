"""Targets: classes that are all but absent, one value, one absurd number are said; what is merely uneven is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradlearn.watch.targets import Targets
from looks import Looked, draws, spoken

X = torch.randn(1000, 4, generator=draws())


def kind(y: Tensor, x: Tensor = X) -> str:
    finding = spoken(Targets(), Looked(x, y, loss="mse" if y.is_floating_point() else "cross_entropy"))
    return "" if finding is None else finding.evidence["kind"]


def rare(n: int) -> Tensor:
    return (torch.arange(1000) < n).long()


@pytest.mark.parametrize(("n", "said"), [(10, "imbalance"), (50, "imbalance"), (200, ""), (500, "")])
def test_two_classes(n: int, said: str):
    assert kind(rare(n)) == said
    assert kind(1 - rare(n)) == said
    assert kind(rare(n).float()) == said


def test_of_many_classes_each_is_measured_against_an_even_share():
    even = torch.arange(1000) % 50
    assert kind(even) == ""
    assert kind(torch.where((even == 7) & (torch.arange(1000) > 40), 8, even)) == ""  # 1 of 1,000, an even share is 20
    ten = torch.arange(1000) % 10
    assert kind(torch.where((ten == 7) & (torch.arange(1000) > 40), 8, ten)) == "imbalance"


def test_one_value_is_nothing_to_learn():
    assert kind(torch.full((1000, 1), 3.0)) == "constant target"
    assert kind(torch.full((1000,), 3)) == "constant target"
    assert kind(torch.zeros(1000), torch.zeros(1000, 1)) == "", "a function of the parameters alone"


def test_an_absurd_number_is_named_a_heavy_tail_is_not():
    y = torch.randn(1000, 1, generator=draws(1))
    assert kind(y.exp().square()) == ""
    y[123] = 1e5
    finding = spoken(Targets(), Looked(X, y, loss="mse"))
    assert finding is not None
    assert finding.evidence["kind"] == "absurd target"
    assert finding.evidence["example"] == 123
