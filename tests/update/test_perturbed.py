"""Perturbed descent: it leaves a saddle that the update inside sits on, pushes only where and when it should, and by how much."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.update.adamw import AdamW
from gradlearn.update.perturbed import Perturbed


def on_the_saddle(update: torch.optim.Optimizer, x: nn.Parameter, steps: int) -> float:
    """x0^2 - x1^2 + x1^4 / 4 from its saddle at 0; the minima have the value -1."""
    value = 0.0
    for _ in range(steps):
        update.zero_grad()
        loss = x[0] ** 2 - x[1] ** 2 + x[1] ** 4 / 4
        loss.backward()
        update.step()
        value = loss.item()
    return value


@pytest.mark.parametrize("kind", ["sgd", AdamW])
def test_it_leaves_a_saddle_and_the_update_alone_does_not(kind: object):
    x = nn.Parameter(torch.zeros(2))
    assert on_the_saddle(Perturbed([x], lr=0.02, inner=kind), x, 600) < -0.99
    y = nn.Parameter(torch.zeros(2))
    assert on_the_saddle(AdamW([y], lr=0.02), y, 600) == 0.0


def test_a_push_comes_after_the_wait_and_lies_in_the_ball():
    a, b = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))
    update = Perturbed([{"params": [a]}, {"params": [b]}], lr=0.0, radius=0.5, wait=10)
    moved = []
    for t in range(1, 61):
        before = torch.cat([a.detach(), b.detach().flatten()]).clone()
        a.grad, b.grad = torch.zeros(3), torch.zeros(2, 2)
        update.step()
        length = (torch.cat([a.detach(), b.detach().flatten()]) - before).norm().item()
        if length:
            moved.append(t)
            assert length <= 0.5
    assert moved == [11, 22, 33, 44, 55]


def test_lengths_are_those_of_a_uniform_draw_from_the_ball():
    """Of d coordinates, (length / radius)^d is uniform on [0, 1]."""
    x = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    update = Perturbed([x], lr=0.0, radius=2.0, wait=1)
    lengths, directions = [], []
    for _ in range(4000):
        with torch.no_grad():
            x.zero_()
        x.grad = torch.zeros(3, dtype=torch.float64)
        update.step()
        if x.norm() > 0:
            lengths.append((x.norm().item() / 2.0) ** 3)
            directions.append(x.detach() / x.norm())
    assert len(lengths) == 2000 - 1 or len(lengths) == 2000
    drawn = torch.tensor(lengths).sort()[0]
    assert (drawn - torch.linspace(0, 1, len(lengths))).abs().max() < 0.04
    assert torch.stack(directions).mean(0).norm() < 0.06


def test_no_push_where_the_gradient_has_not_vanished():
    x, y = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    update, plain = Perturbed([x], lr=0.01, wait=1, inner=AdamW), AdamW([y], lr=0.01)
    for _ in range(20):
        x.grad, y.grad = torch.full((3,), 0.01), torch.full((3,), 0.01)
        update.step()
        plain.step()
    assert torch.equal(x, y)


def test_options_that_mean_nothing_are_refused():
    with pytest.raises(InputTrouble, match=r"--perturbed\.radius"):
        Perturbed([nn.Parameter(torch.ones(3))], radius=0.0)
