"""SGLD: gradient descent at temperature 0; its noise is a function of seed and step, and has the variance it says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.update.sgld import SGLD


def test_without_temperature_it_is_gradient_descent():
    a, b = (nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    ours, theirs = SGLD([a], lr=0.1, temperature=0.0, weight_decay=0.3), torch.optim.SGD([b], lr=0.1, weight_decay=0.3)
    for t in range(100):
        a.grad = torch.sin(torch.arange(7.0) + t)
        b.grad = a.grad.clone()
        ours.step()
        theirs.step()
    assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(("lr", "temperature", "n"), [(0.01, 1.0, 100), (0.1, 4.0, 1000)])
def test_its_noise_has_the_variance_it_says(lr: float, temperature: float, n: int):
    x = nn.Parameter(torch.zeros(200_000))
    x.grad = torch.zeros(200_000)
    SGLD([x], lr=lr, temperature=temperature, n=n).step()
    spread = 2 * lr * temperature / n
    assert abs(x.detach().var().item() / spread - 1) < 0.02
    assert abs(x.detach().mean().item()) < 4 * (spread / 200_000) ** 0.5


def test_its_noise_is_a_function_of_seed_and_step():
    def walk(seed: int, steps: int, disturbed: bool = False) -> torch.Tensor:
        x, y = nn.Parameter(torch.zeros(50)), nn.Parameter(torch.zeros(50))
        update = SGLD([x, y], seed=seed)
        for _ in range(steps):
            if disturbed:
                torch.rand(3)
            x.grad, y.grad = torch.zeros(50), torch.zeros(50)
            update.step()
        assert not torch.equal(x, y)
        return x.detach()

    assert torch.equal(walk(0, 3), walk(0, 3, disturbed=True))
    assert not torch.equal(walk(0, 3), walk(1, 3))
    first, second = walk(0, 1), walk(0, 2) - walk(0, 1)
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.4


def test_on_a_bowl_it_samples_the_gaussian_of_its_temperature():
    """Curvature k, n examples: variance temperature / (n k), of 4,000 walkers after many relaxation times."""
    k, n, temperature, lr = 2.0, 50, 3.0, 0.02
    x = nn.Parameter(torch.full((4000,), 0.5))
    update = SGLD([x], lr=lr, temperature=temperature, n=n)
    for _ in range(400):
        x.grad = k * (x.detach() - 0.5)
        update.step()
    want = temperature / (n * k) / (1 - lr * k / 2)  # of the walk with steps of this length
    assert abs(x.detach().var().item() / want - 1) < 5 * (2 / 4000) ** 0.5
    assert abs(x.detach().mean().item() - 0.5) < 5 * (want / 4000) ** 0.5


def test_options_that_mean_nothing_are_refused():
    with pytest.raises(InputTrouble, match=r"--sgld\.temperature"):
        SGLD([nn.Parameter(torch.ones(3))], temperature=-1.0)
