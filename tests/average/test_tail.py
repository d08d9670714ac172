"""Tail: the weighted mean of the last steps, written out slowly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gradlearn.average.tail import Tail
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now
from gradlearn.theta import Theta


def points(n: int) -> torch.Tensor:
    return torch.randn(n, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("power", [0.0, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_it_is_the_weighted_mean_of_the_last_share(share: float, power: float):
    """Weights of rho_k = (p + 1) / (k + p): w_k = (k + p - 1)! / (k - 1)! up to a factor, about k^p."""
    theta = Theta(nn.Linear(3, 4, bias=False).double())
    average, steps = Tail(theta, share=share, power=power), 50
    for t, p in enumerate(points(steps)):
        theta.blocks[0].flat[:12] = p
        average.see(theta, Now(t, steps, 0, 0))
    k = math.ceil(share * steps - 0.5) if share < 1 else steps
    last = points(steps)[-k:]
    weights = torch.tensor([math.exp(math.lgamma(j + power) - math.lgamma(j)) for j in range(1, k + 1)], dtype=torch.float64)
    with average.shown(theta):
        assert torch.allclose(theta.blocks[0].flat[:12], (weights[:, None] * last).sum(0) / weights.sum(), rtol=1e-10)


def test_it_beats_the_last_iterate_of_a_noisy_descent_with_a_steady_rate():
    """A quadratic with noisy gradients, twenty seeds."""
    wins = 0
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        theta = Theta(nn.Linear(10, 1, bias=False))
        average, flat = Tail(theta, share=0.5, power=3.0), theta.blocks[0].flat
        flat[:10] = 5.0
        for t in range(400):
            flat[:10] -= 0.1 * (flat[:10] + torch.randn(10, generator=g))
            average.see(theta, Now(t, 400, 0, 0))
        last = flat[:10].square().sum()
        with average.shown(theta):
            wins += bool(flat[:10].square().sum() < 0.5 * last)
    assert wins >= 18


@pytest.mark.parametrize(("options", "line"), [({"share": 0.0}, "share"), ({"share": 1.1}, "share"), ({"power": -1.0}, "power")])
def test_options_out_of_range_are_refused(options: dict[str, float], line: str):
    with pytest.raises(InputTrouble, match=f"--tail.{line} .*: must be"):
        Tail(Theta(nn.Linear(2, 2)), **options)
