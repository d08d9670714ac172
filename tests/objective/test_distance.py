"""Distance: nothing at the start, half the squared way from it after; the start comes back with the run."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.objective.distance import Distance


def moved(model: nn.Module, by: float) -> None:
    with torch.no_grad():
        for p in model.parameters():
            p.add_(by)


def test_it_is_half_the_squared_way_from_the_first_model_it_met():
    model, penalty = nn.Linear(3, 4).double(), Distance(weight=0.5)
    assert penalty(model).item() == 0.0
    moved(model, 2.0)
    found = penalty(model)
    found.backward()
    assert found.item() == pytest.approx(0.25 * 16 * 4.0)
    assert torch.allclose(model.weight.grad, torch.full((4, 3), 1.0, dtype=torch.float64))
    assert torch.allclose(model.bias.grad, torch.full((4,), 1.0, dtype=torch.float64))


def test_begin_sets_the_start_anew():
    model, penalty = nn.Linear(3, 4), Distance()
    penalty(model)
    moved(model, 1.0)
    penalty.begin(model)
    assert penalty(model).item() == 0.0


def test_the_start_is_a_copy_and_goes_round():
    model, penalty = nn.Linear(3, 4), Distance(weight=1.0)
    penalty.begin(model)
    moved(model, 1.0)
    other = Distance(weight=1.0)
    other.begin(model)
    other.load(penalty.state())
    assert torch.equal(other(model), penalty(model))
    kept = copy.deepcopy(other.start)
    penalty.start[0].add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(other.start, kept, strict=True))
    fresh = Distance(weight=1.0)
    fresh.load(other.state())
    assert torch.equal(fresh(model), other(model))


def test_frozen_parameters_have_no_way_to_go():
    model, penalty = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), Distance(weight=2.0)
    model[0].requires_grad_(False)
    penalty.begin(model)
    moved(model, 1.0)
    assert penalty(model).item() == 6.0


def test_another_model_is_refused():
    penalty = Distance()
    penalty.begin(nn.Linear(3, 4))
    with pytest.raises(InputTrouble, match="--penalty distance: the model's parameters are not those it began with"):
        penalty(nn.Linear(3, 5))
