"""SPSA: Spall's formula, and a perturbation that fits the noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.curvature import Landscape, directions, reverse
from gradlearn.errors import InputTrouble
from gradlearn.gradient.spsa import Spsa, gains, perturbation
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta


class Bowl(nn.Module):
    def __init__(self, n: int = 6) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.linspace(1, 2, n).double())


class Of:
    data = None

    def __init__(self, noise: float = 0.0) -> None:
        self.model, self.noise, self.calls = Bowl(), noise, 0

    def __call__(self, batch: Batch) -> Losses:
        self.calls += 1
        extra = self.noise * float(chance.uniform(0, "noise", np.arange(self.calls, self.calls + 1))[0] - 0.5)  # of every call anew
        return Losses((self.model.w.square().sum() + 10 + extra)[None], torch.ones(1))


BATCH = Batch(torch.zeros(1), None, torch.arange(1), 11)


def flat(theta: Theta) -> Tensor:
    return torch.cat([m.grad.flatten() for m in theta.members])


def test_it_is_spalls_formula():
    objective = Of()
    theta = Theta(objective.model)
    Spsa(c=0.1, pairs=3)(objective, theta, BATCH)
    w, slow = theta.members[0].view.clone(), torch.zeros(6).double()
    for k in range(3):
        s = directions(theta, 11, "spsa", k, signs=True)[0][:6]
        slow += ((w + 0.1 * s).square().sum() - (w - 0.1 * s).square().sum()) / 0.2 * s / 3
    assert torch.allclose(flat(theta), slow)
    assert objective.calls == 7


def test_many_pairs_are_the_gradient():
    objective = Of()
    theta = Theta(objective.model)
    Spsa(pairs=3000)(objective, theta, BATCH)
    g = flat(theta)
    reverse(objective, theta, BATCH)
    assert float((g - flat(theta)).norm()) < 0.1 * float(flat(theta).norm())


def test_the_perturbation_follows_precision_size_and_noise():
    objective = Of()
    theta = Theta(objective.model)
    with Landscape(objective, theta, BATCH) as land:
        quiet = perturbation(land)
    size = float(theta.members[0].view.square().mean().sqrt())
    assert quiet == pytest.approx(torch.finfo(torch.float64).eps ** (1 / 3) * size)
    noisy = Of(noise=1.0)
    with Landscape(noisy, Theta(noisy.model), BATCH) as land:
        assert perturbation(land) > 1000 * quiet


def test_under_noise_the_found_perturbation_beats_a_tiny_one():
    """Errors of the mean slope along theta: noise / c against c^2."""

    def error(**options: float) -> float:
        objective = Of(noise=0.1)
        theta, total = Theta(objective.model), 0.0
        for draw in range(50):
            Spsa(**options)(objective, theta, BATCH._replace(draw=draw))
            s = directions(theta, draw, "spsa", 0, signs=True)[0][:6]
            total += abs(float(flat(theta) @ s) / 6 - float(2 * theta.members[0].view @ s))
        return total

    assert error() < 0.05 * error(c=1e-4)


def test_gains_make_the_first_step_as_large_as_asked_and_change_nothing():
    objective = Of()
    theta = Theta(objective.model)
    before = theta.members[0].view.clone()
    found = gains(objective, theta, BATCH, 1000, move=0.05)
    assert torch.equal(theta.members[0].view, before)
    assert (found.alpha, found.gamma, found.A) == (0.602, 0.101, 100.0)
    steps = []
    for draw in range(20):
        Spsa(c=found.c)(objective, theta, BATCH._replace(draw=draw))
        steps.append(float(flat(theta).abs().median()) * found.a / (found.A + 1) ** found.alpha)
    size = float(before.square().mean().sqrt())
    assert 0.02 * size < sorted(steps)[10] < 0.12 * size


def test_bad_options_are_refused():
    with pytest.raises(InputTrouble, match=r"--spsa\.pairs 0"):
        Spsa(pairs=0)
    with pytest.raises(InputTrouble, match=r"--spsa\.c -1"):
        Spsa(c=-1)
