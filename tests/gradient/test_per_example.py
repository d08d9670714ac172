"""Norms, variance, noise scale and clipping, against every example's gradient by autograd."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.gradient.per_example import PerExample, noise_scale
from gradlearn.symbols import Batch, Estimate, Losses
from gradlearn.theta import Theta


class Of:
    data = None

    def __init__(self, model: nn.Module, uneven: bool = False) -> None:
        self.model, self.uneven = model, uneven

    def __call__(self, batch: Batch) -> Losses:
        count = 1.0 + self.uneven * (batch.index % 3)
        return Losses((self.model(batch.x)[:, 0] - batch.y).square() * count, count)


def made(uneven: bool = False, n: int = 12) -> tuple[Of, Theta, Batch, Tensor]:
    """And each example's own gradient of the mean, (n, P)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    objective, batch = Of(model, uneven), Batch(torch.randn(n, 3).double(), torch.randn(n).double(), torch.arange(n), 2)
    theta = Theta(model)
    count = float(objective(batch).count.sum())
    params = [m.param for m in theta.members]
    rows = [torch.autograd.grad(objective(one).total.sum(), params) for one in batch.pieces(1)]
    return objective, theta, batch, torch.stack([torch.cat([g.flatten() for g in row]) for row in rows]) * n / count


@pytest.mark.parametrize("part", [0, 1, 5])
@pytest.mark.parametrize("uneven", [False, True])
def test_norms_and_variance_are_those_of_the_examples(uneven: bool, part: int):
    objective, theta, batch, G = made(uneven)
    found = PerExample(part=part)(objective, theta, batch)
    assert found.norms is not None
    assert torch.allclose(found.norms, G.norm(dim=1))
    assert found.variance == pytest.approx(float(G.var(0).sum()), rel=1e-10)
    assert torch.allclose(torch.cat([m.grad.flatten() for m in theta.members]), G.mean(0))
    assert PerExample().note == ""


@pytest.mark.parametrize("part", [0, 5])
@pytest.mark.parametrize("uneven", [False, True])
def test_each_example_is_clipped_by_itself(uneven: bool, part: int):
    objective, theta, batch, G = made(uneven)
    bound = float(G.norm(dim=1).median())
    found = PerExample(clip=bound, part=part)(objective, theta, batch)
    true = (G * (bound / G.norm(dim=1)).clamp(max=1)[:, None]).mean(0)
    assert torch.allclose(torch.cat([m.grad.flatten() for m in theta.members]), true)
    assert found.norm == pytest.approx(float(true.norm()))
    assert found.norm <= bound
    assert found.norms is not None
    assert torch.allclose(found.norms, G.norm(dim=1))


def test_one_outlier_loses_its_weight():
    objective, theta, batch, _ = made()
    batch.y[3] = 1e6
    assert PerExample(clip=1.0)(objective, theta, batch).norm <= 1.0
    assert PerExample()(objective, theta, batch).norm > 1e4


def test_the_noise_scale_is_that_of_a_known_noise():
    """y = w + noise: the gradient of one example has mean 2 (w - true) and variance 4."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 0.5)
    g = torch.Generator().manual_seed(0)
    n = 20_000
    batch = Batch(torch.ones(n, 1).double(), torch.randn(n, generator=g).double(), torch.arange(n))
    found = PerExample()(Of(model), Theta(model), batch)
    assert noise_scale(found) == pytest.approx(4.0 / 1.0, rel=0.1)
    assert noise_scale(Estimate(1.0, 0.1, 10, variance=1.0)) == math.inf
    with pytest.raises(InputTrouble, match="no variance"):
        noise_scale(Estimate(1.0, 0.1, 10))


def test_one_example_has_no_variance_and_bad_options_are_refused():
    objective, theta, batch, _ = made(n=1)
    assert PerExample()(objective, theta, batch).variance is None
    with pytest.raises(InputTrouble, match=r"--per_example\.clip -1"):
        PerExample(clip=-1)
