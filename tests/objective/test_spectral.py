"""Spectral: torch's own largest singular value, its gradient, and how near a few steps come."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.objective.spectral import Spectral, top


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6), (1, 7), (7, 1), (1, 1)])
def test_with_enough_steps_it_is_torchs_and_so_is_its_gradient(shape: tuple[int, int]):
    torch.manual_seed(0)
    ours, theirs = (nn.Linear(shape[1], shape[0], bias=False).double() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    found = Spectral(weight=0.6, steps=50)(ours)
    exact = 0.3 * torch.linalg.matrix_norm(theirs.weight, 2).square()
    assert found.item() == pytest.approx(exact.item(), rel=1e-12)
    found.backward()
    exact.backward()
    assert torch.allclose(ours.weight.grad, theirs.weight.grad, rtol=1e-9, atol=1e-12)


def test_a_filter_is_a_row():
    model = nn.Conv2d(3, 4, 5, bias=False).double()
    with torch.no_grad():
        found = Spectral(weight=2.0, steps=50)(model).item()
    assert found == pytest.approx(torch.linalg.matrix_norm(model.weight.detach().reshape(4, -1), 2).item() ** 2, rel=1e-12)


@pytest.mark.parametrize("shape", [(64, 64), (256, 128), (100, 400), (512, 512)])
def test_eight_steps_find_it_to_three_per_cent_from_below(shape: tuple[int, int]):
    for seed in range(10):
        w = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        model = nn.Linear(shape[1], shape[0], bias=False)
        with torch.no_grad():
            model.weight.copy_(w)
            found = (2 * Spectral(weight=1.0)(model)).sqrt().item()
        exact = torch.linalg.matrix_norm(w, 2).item()
        assert 0.97 * exact < found < 1.0001 * exact


def test_a_matrix_of_low_rank_or_of_zeros_is_no_trouble():
    for w in (torch.zeros(5, 4), torch.outer(torch.arange(5.0), torch.ones(4)), torch.eye(5)):
        model = nn.Linear(w.shape[1], 5, bias=False)
        with torch.no_grad():
            model.weight.copy_(w)
        found = Spectral(weight=2.0)(model)
        found.backward()
        assert found.item() == pytest.approx(torch.linalg.matrix_norm(w, 2).item() ** 2, abs=1e-4)
        assert model.weight.grad.isfinite().all()


def test_the_vectors_are_of_length_one_and_belong_together():
    w = torch.randn(30, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, v = top(w, torch.linspace(-1, 1, 20, dtype=torch.float64), 20)
    sigma = torch.linalg.matrix_norm(w, 2)
    assert torch.allclose(w @ v, sigma * u, atol=1e-10)
    assert u.norm().item() == pytest.approx(1.0)


def test_the_same_weights_give_the_same_bits_whatever_came_before():
    torch.manual_seed(0)
    model, other = nn.Linear(40, 30), nn.Linear(40, 30)
    used = Spectral()
    used(other)
    assert torch.equal(used(model), Spectral()(model))


def test_no_steps_are_refused():
    with pytest.raises(InputTrouble, match=r"--spectral.steps 0: must be at least 1"):
        Spectral(steps=0)
