"""Central differences: the digits they promise, each parameter by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradlearn.curvature import reverse
from gradlearn.errors import InputTrouble
from gradlearn.gradient.finite_difference import FiniteDifference
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta


class Of:
    data = None

    def __init__(self, model: nn.Module) -> None:
        self.model, self.calls = model, 0

    def __call__(self, batch: Batch) -> Losses:
        self.calls += 1
        return Losses(self.model(batch.x).square().sum(1), torch.ones(batch.n))


def made(dtype: torch.dtype) -> tuple[Of, Theta, Batch]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.3), nn.Linear(4, 1)).to(dtype)
    return Of(model), Theta(model), Batch(torch.randn(9, 3, dtype=dtype), None, torch.arange(9), 8)


def flat(theta: Theta) -> Tensor:
    return torch.cat([m.grad.flatten() for m in theta.members])


@pytest.mark.parametrize(
    ("dtype", "points", "digits"), [(torch.float32, 2, 2e-3), (torch.float64, 2, 1e-8), (torch.float64, 4, 1e-10)]
)
def test_it_has_the_digits_that_precision_allows(dtype: torch.dtype, points: int, digits: float):
    objective, theta, batch = made(dtype)
    reverse(objective, theta, batch)
    true = flat(theta)
    objective.calls = 0
    FiniteDifference(points=points)(objective, theta, batch)
    assert float((flat(theta) - true).norm()) <= digits * float(true.norm())
    assert objective.calls == 1 + points * len(theta)


def test_four_points_are_of_the_fourth_order():
    objective, theta, batch = made(torch.float64)
    g = []
    for step in (0.08, 0.04, 0.02):
        FiniteDifference(step=step, points=4)(objective, theta, batch)
        g.append(flat(theta))
    assert (g[0] - g[1]).norm() / (g[1] - g[2]).norm() == pytest.approx(16, rel=0.1)


def test_a_step_that_is_larger_for_larger_parameters_is_exact_on_a_parabola():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 1e6)
    theta = Theta(model)
    FiniteDifference()(Of(model), theta, Batch(torch.ones(1, 1).double(), None, torch.arange(1)))
    assert float(model.weight.grad) == pytest.approx(2e6, rel=1e-9)


def test_bad_options_are_refused():
    with pytest.raises(InputTrouble, match=r"--finite_difference\.points 3"):
        FiniteDifference(points=3)
    with pytest.raises(InputTrouble, match=r"--finite_difference\.step -1"):
        FiniteDifference(step=-1)
