"""Mechanic: the authors' update transcribed for one vector, around two updates; it finds a scale from a millionth on."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.around import named
from gradlearn.errors import InputTrouble
from gradlearn.update.adamw import AdamW
from gradlearn.update.mechanic import Mechanic
from gradlearn.update.sgd import SGD


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Transcribed:
    """mechanize of optax on one flat vector, with Delta kept instead of recomputed from theta."""

    def __init__(self, x: Tensor) -> None:
        self.x0, self.delta = x.clone(), torch.zeros_like(x)
        self.r, self.m, self.v, self.s = (torch.zeros(6, dtype=x.dtype) for _ in range(4))
        self.s += 1e-6
        self.betas = torch.tensor([0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999], dtype=x.dtype)

    def step(self, x: Tensor, g: Tensor, u: Tensor) -> Tensor:
        """x now, its gradient, and by how much the base update would change it."""
        g = g + 1e-2 * self.s.sum() * g.norm() / (x.norm() + 1e-8) * x
        h = (g * self.delta).sum()
        self.delta = self.delta - u
        clipped = torch.maximum(torch.minimum(h, self.m), -self.m)
        self.r = self.betas * self.r + clipped * self.s
        self.m = torch.maximum(self.betas * self.m, h.abs() + 1e-8)
        self.v = self.betas**2 * self.v + h**2
        self.s = (1e-6 / 6 * self.m + self.r.clamp(min=0)) / (self.v.sqrt() + 1e-8)
        return self.x0 - self.s.sum() * self.delta


@pytest.mark.parametrize("kind", [AdamW, SGD, named("rmsprop")])
def test_two_hundred_steps_are_the_authors_update(kind: Any):
    """On given gradients with a drift: two tensors of ours are one vector there."""
    start, drift = draw(12), draw(12, seed=1)
    a, b = nn.Parameter(start[:8].clone().view(4, 2)), nn.Parameter(start[8:].clone())
    update = Mechanic([{"params": [a]}, {"params": [b]}], lr=0.5, inner=kind)
    x = nn.Parameter(start.clone())
    base, slow = kind([x], lr=0.5), Transcribed(start)
    for t in range(200):
        g, before = drift + draw(12, seed=t + 2), x.detach().clone()
        a.grad, b.grad, x.grad = g[:8].clone().view(4, 2), g[8:].clone(), g.clone()
        update.step()
        base.step()
        with torch.no_grad():
            x.copy_(slow.step(before, g, x - before))
    assert abs(update.scale / float(slow.s.sum()) - 1) < 1e-9
    assert (torch.cat([a.flatten(), b]) - x).abs().max() < 1e-9 * x.abs().max()
    assert update.scale > 1e-3


@pytest.mark.parametrize("size", [1e-2, 1.0, 1e2])
def test_it_finds_the_minimum_whatever_the_size_of_the_problem(size: float):
    x = nn.Parameter(torch.zeros(5))
    target = size * draw(5).float()
    update = Mechanic([x], inner=partial(AdamW, weight_decay=0.0))
    for t in range(1000):
        update.param_groups[0]["lr"] = 1 - t / 1000
        x.grad = x.detach() - target
        update.step()
    assert (x - target).norm() < 0.05 * target.norm()


def test_the_tuners_numbers_are_in_every_group_and_a_late_group_gets_them():
    a, b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    update = Mechanic([a], inner=SGD)
    for _ in range(3):
        a.grad = a.detach().clone()
        update.step()
    update.add_param_group({"params": [b]})
    assert update.param_groups[1]["scales"] == update.param_groups[0]["scales"]
    assert len(update.param_groups[0]["scales"]) == 6


def test_options_that_mean_nothing_are_refused():
    with pytest.raises(InputTrouble, match=r"--mechanic\.memories"):
        Mechanic([nn.Parameter(torch.ones(3))], memories=0)
    with pytest.raises(InputTrouble, match=r"--mechanic\.start"):
        Mechanic([nn.Parameter(torch.ones(3))], start=0.0)
