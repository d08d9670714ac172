"""Underfit: a model behind a closed-form learner on its own examples is said; noise, and one that knows them, are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.symbols import Finding, History
from gradlearn.watch.underfit import Underfit
from looks import Looked, blobs, draws, measured, spoken


def trained(x: Any, y: Tensor, model: nn.Module, loss: Any, steps: int = 200) -> nn.Module:
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        adam.zero_grad()
        loss(model(x), y).backward()
        adam.step()
    return model


def mlp(width: int, outputs: int, inputs: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))


def rings(n: int = 500) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 2, generator=draws())
    return x, (x.norm(dim=1) > 1.18).long()


def test_a_line_on_rings_is_underfit_a_network_is_not():
    x, y = rings()
    cross = nn.functional.cross_entropy
    torch.manual_seed(0)
    finding = spoken(Underfit(), Looked(x, y, model=trained(x, y, nn.Linear(2, 2), cross)))
    assert finding is not None
    assert finding.evidence["reference"] > 0.9
    assert finding.evidence["own"] < 0.7
    assert spoken(Underfit(), Looked(x, y, model=trained(x, y, mlp(32, 2, 2), cross))) is None


@pytest.mark.parametrize("noise", [0.1, 1.0, 3.0])
def test_a_noise_floor_is_no_underfit(noise: float):
    x = torch.randn(500, 8, generator=draws())
    y = x[:, :1] * 2 + noise * torch.randn(500, 1, generator=draws(1))
    torch.manual_seed(0)
    assert spoken(Underfit(), Looked(x, y, model=trained(x, y, nn.Linear(8, 1), nn.functional.mse_loss, 600), loss="mse")) is None


def test_a_regression_that_was_hardly_trained_is_underfit():
    x = torch.randn(500, 8, generator=draws())
    y = (x[:, :1] * 2).sin() * 3 + x[:, 1:2]
    finding = spoken(Underfit(), Looked(x, y, model=nn.Linear(8, 1), loss="mse"))
    assert finding is not None
    assert "mean squared error" in finding.what


def test_random_labels_are_no_underfit_where_there_is_a_reference():
    x, y = torch.randn(500, 8, generator=draws()), torch.randint(0, 2, (500,), generator=draws(1))
    torch.manual_seed(0)
    assert spoken(Underfit(), Looked(x, y, model=nn.Linear(8, 2))) is None


def test_words_are_measured_against_chance():
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(50, 8), nn.Linear(8, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.embed(tokens).mean(1))

    torch.manual_seed(0)
    x = torch.randint(0, 50, (400, 6), generator=draws())
    y = (x < 25).sum(1).gt(3).long()
    model = Words()
    finding = spoken(Underfit(), Looked(x, y, model=model))
    assert finding is not None
    assert "as good as always the same answer" in finding.what
    assert spoken(Underfit(), Looked(x, y, model=trained(x, y, model, nn.functional.cross_entropy))) is None


def test_what_another_check_has_explained_is_not_said_again():
    x, y = rings()
    objective = Looked(x, y, model=nn.Linear(2, 2))
    for level, speaks in (("info", True), ("alarm", False)):
        history = History()
        history.findings.append(Finding(3, "diverged", level, "a", "b", "c"))
        assert (Underfit().judge(measured(Underfit(), objective, history)) is not None) is speaks


def test_a_model_that_returns_its_input_has_no_reference():
    x, _ = blobs(300)
    objective = Looked(x, x.clone(), model=nn.Linear(8, 8), loss="mse")
    assert "underfit.reference" not in measured(Underfit(), objective).measured
