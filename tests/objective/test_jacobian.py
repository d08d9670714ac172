"""Jacobian: torch's own Jacobian, and projections that are right on average."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.objective.jacobian import Jacobian


def network() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    return model, torch.randn(5, 4, dtype=torch.float64, requires_grad=True)


def exact(model: nn.Module, x: Tensor) -> Tensor:
    return torch.stack([torch.autograd.functional.jacobian(model, row).square().sum() for row in x.detach()])


def test_of_all_outputs_it_is_torchs_jacobian():
    model, x = network()
    assert torch.allclose(Jacobian(weight=0.4, projections=0)(x, model(x)), 0.2 * exact(model, x), rtol=1e-12)


@pytest.mark.parametrize("projections", [1, 3])
def test_projections_are_right_on_average(projections: int):
    model, x = network()
    torch.manual_seed(1)
    draws = torch.stack([Jacobian(weight=2.0, projections=projections)(x, model(x)).detach() for _ in range(2000)])
    error = draws.std(0) / 2000**0.5
    assert ((draws.mean(0) - exact(model, x)).abs() < 4 * error).all()
    assert (error < 0.05 * exact(model, x)).all()


def test_of_one_output_any_projection_is_exact():
    model, x = network()
    model = nn.Sequential(model, nn.Linear(3, 1).double())
    assert torch.allclose(Jacobian(weight=2.0)(x, model(x)), exact(model, x), rtol=1e-12)


def test_the_same_generator_gives_the_same_bits():
    model, x = network()
    torch.manual_seed(3)
    a = Jacobian()(x, model(x))
    torch.manual_seed(3)
    assert torch.equal(a, Jacobian()(x, model(x)))


def test_what_cannot_be_is_refused():
    model, x = network()
    with pytest.raises(InputTrouble, match=r"--jacobian.projections -1: must be 0"):
        Jacobian(projections=-1)
    with pytest.raises(InputTrouble, match="--penalty jacobian: needs a model with one tensor as its output"):
        Jacobian()(x, (model(x), 1))  # type: ignore[arg-type]
