"""L2: half the squares; under plain gradient descent it is weight decay."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gradlearn.objective.l2 import L2


def test_its_gradient_is_the_weights():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    found = L2(weight=0.3)(model)
    found.backward()
    assert found.item() == pytest.approx(0.15 * sum(m.weight.square().sum().item() for m in model))
    assert all(torch.allclose(m.weight.grad, 0.3 * m.weight) for m in model)
    assert model[0].bias.grad is None


def test_under_sgd_it_is_torchs_weight_decay():
    torch.manual_seed(0)
    ours, x = nn.Linear(4, 3).double(), torch.randn(16, 4, dtype=torch.float64)
    theirs = copy.deepcopy(ours)
    a = torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    b = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=0.05)
    penalty = L2(weight=0.05, biases=True)
    for _ in range(30):
        for model, update, more in ((ours, a, penalty(ours)), (theirs, b, 0.0)):
            update.zero_grad()
            (model(x).square().mean() + more).backward()
            update.step()
    assert torch.allclose(ours.weight, theirs.weight, rtol=1e-12)
    assert torch.allclose(ours.bias, theirs.bias, rtol=1e-12)
