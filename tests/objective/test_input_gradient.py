"""Input gradient: closed forms of a linear model, several inputs, and what it is for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.objective.input_gradient import InputGradient


def test_of_a_linear_model_with_squared_error_it_is_known():
    """total = (w x + b - y)^2, slope = 2 (w x + b - y) w: R = weight 4 (w x + b - y)^2 |w|^2, and so is dR / dw."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1).double()
    x, y = torch.randn(6, 4, dtype=torch.float64, requires_grad=True), torch.randn(6, 1, dtype=torch.float64)
    total = (model(x) - y).square()[:, 0]
    found = InputGradient(weight=0.3)(x, total)
    w, error = model.weight.detach()[0], (model(x) - y).detach()[:, 0]
    assert torch.allclose(found, 0.3 * 4 * error.square() * w.square().sum(), rtol=1e-12)
    (dw,) = torch.autograd.grad(found.sum(), model.weight)
    rows = 8 * error[:, None] * x.detach() * w.square().sum() + 8 * error.square()[:, None] * w
    assert torch.allclose(dw[0], 0.3 * rows.sum(0), rtol=1e-10)


def test_all_inputs_count_and_those_without_a_say_do_not():
    a, b, c = (torch.randn(5, k, requires_grad=True) for k in (2, 3, 1))
    total = 2 * a.sum(1) + 3 * b.sum(1)
    assert torch.allclose(InputGradient(weight=1.0)([a, b, c], total), torch.full((5,), 4.0 * 2 + 9.0 * 3))


def test_slopes_get_flatter():
    torch.manual_seed(0)
    x = torch.randn(64, 5)
    y = (x[:, 0] * x[:, 1] > 0).long()
    steep = []
    for weight in (0.0, 0.5):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 2))
        update, penalty = torch.optim.Adam(model.parameters(), lr=0.01), InputGradient(weight=weight)
        for _ in range(150):
            into = x.clone().requires_grad_()
            total = F.cross_entropy(model(into), y, reduction="none")
            update.zero_grad()
            (total + penalty(into, total)).mean().backward()
            update.step()
        into = x.clone().requires_grad_()
        total = F.cross_entropy(model(into), y, reduction="none")
        steep.append(InputGradient(weight=1.0)(into, total).mean().item())
    assert steep[1] < 0.6 * steep[0]


def test_a_loss_without_a_graph_is_refused():
    with pytest.raises(InputTrouble, match="--penalty input_gradient: the loss does not depend on its inputs"):
        InputGradient()(torch.zeros(3, 2), torch.zeros(3))
