"""L1: the sum of absolute values, its sign as gradient, and the lasso of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gradlearn.objective.l1 import L1


def test_it_is_the_sum_of_absolute_values_and_its_gradient_their_sign():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    found = L1(weight=0.3)(model)
    found.backward()
    weights = [model[0].weight, model[2].weight]
    assert found.item() == pytest.approx(0.3 * sum(w.abs().sum().item() for w in weights))
    assert all(torch.equal(w.grad, 0.3 * w.sign()) for w in weights)
    assert model[0].bias.grad is model[1].weight.grad is None
    everything = L1(weight=0.3, biases=True)(model)
    assert everything.item() == pytest.approx(0.3 * sum(p.abs().sum().item() for p in model.parameters()))


def test_it_is_the_lasso():
    """Minimum of |y - x w|^2 / (2 n) + weight |w|_1 by proximal steps of its own gradient's smooth part: scikit-learn's answer."""
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 8, generator=g, dtype=torch.float64)
    y = x[:, 0] * 2 - x[:, 3] + 0.1 * torch.randn(60, generator=g, dtype=torch.float64)
    theirs = linear_model.Lasso(alpha=0.1, fit_intercept=False, tol=1e-12).fit(x.numpy(), y.numpy()).coef_
    model = nn.Linear(8, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(theirs)[None])

    def loss(move: torch.Tensor) -> float:
        with torch.no_grad():
            kept = model.weight.clone()
            model.weight.add_(move)
            found = (model(x)[:, 0] - y).square().mean() / 2 + L1(weight=0.1)(model)
            model.weight.copy_(kept)
        return float(found)

    best = loss(torch.zeros(1, 8, dtype=torch.float64))
    assert np.count_nonzero(theirs) == 2
    for size in (1e-4, 1e-2):
        assert all(loss(size * torch.randn(1, 8, generator=g, dtype=torch.float64)) > best for _ in range(50))
