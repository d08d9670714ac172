"""Orthogonality: zero exactly where singular values are one; else their distance from it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradlearn.objective.orthogonality import Orthogonality


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6), (1, 7), (7, 1)])
def test_it_is_the_sum_over_singular_values(shape: tuple[int, int]):
    """||W W^T - I||^2 on the smaller side = sum (s^2 - 1)^2."""
    model = nn.Linear(shape[1], shape[0], bias=False).double()
    values = torch.linalg.svdvals(model.weight.detach())
    with torch.no_grad():
        assert Orthogonality(weight=0.5)(model).item() == pytest.approx(
            0.5 * (values.square() - 1).square().sum().item(), rel=1e-10
        )


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6)])
def test_an_orthogonal_matrix_costs_nothing_and_is_left_alone(shape: tuple[int, int]):
    model = nn.Linear(shape[1], shape[0], bias=False).double()
    nn.init.orthogonal_(model.weight)
    found = Orthogonality(weight=1.0)(model)
    found.backward()
    assert found.item() < 1e-25
    assert model.weight.grad.abs().max() < 1e-12


def test_descent_makes_a_filter_bank_orthogonal():
    torch.manual_seed(0)
    model, penalty = nn.Conv2d(3, 4, 2, bias=False), Orthogonality(weight=1.0)
    update = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(300):
        update.zero_grad()
        penalty(model).backward()
        update.step()
    assert torch.allclose(torch.linalg.svdvals(model.weight.detach().flatten(1)), torch.ones(4), atol=1e-4)
