"""Noise, rarity and change: what the gradient says is not what the loss is, or not for long."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .trap import Point, Trap, problem, rotation, spectrum


def _noisy_bowl(noise: Tensor) -> Trap:
    """A bowl in 20 dimensions whose gradient at step t has noise[t] added; passes at a twentieth of the first loss."""
    centre = torch.sign(torch.randn(20))
    model = Point(torch.zeros(20))

    def loss(t: int) -> Tensor:
        return (0.5 * (model.x - centre).square().sum() + noise[t] @ model.x).reshape(1)

    return Trap(model, loss, lambda t: float((model.x - centre).square().mean()), 0.05)


@problem(steps=300, sigma=(2.0, 4.0, 6.0))
def white_noise(sigma: float) -> Trap:
    """Gradient noise, normal, independent from step to step, up to six times the signal."""
    return _noisy_bowl(sigma * torch.randn(300, 20))


@problem(steps=300, sigma=(0.5, 1.0, 1.5))
def slow_noise(sigma: float) -> Trap:
    """Gradient noise that remembers, n <- 0.9 n + ...: its mean over the run is four times less sure than it looks."""
    draws, n = torch.randn(300, 20), torch.zeros(20)
    rows = []
    for draw in draws:
        n = 0.9 * n + math.sqrt(1 - 0.9**2) * draw
        rows.append(sigma * n)
    return _noisy_bowl(torch.stack(rows))


@problem(steps=300, tail=(2.0, 1.5, 1.0))
def heavy_noise(tail: float) -> Trap:
    """Gradient noise with heavy tails, Student's t: from infinite variance (2) to Cauchy (1), which has no mean."""
    normal, chi = torch.randn(300, 20), torch.distributions.Gamma(tail / 2, 0.5).sample((300, 20))
    return _noisy_bowl(normal / (chi / tail).sqrt())


@problem(steps=300, share=(0.1, 0.03, 0.01))
def sparse_gradient(share: float) -> Trap:
    """A bowl in 200 dimensions, of which each step sees a share: at 0.01 every coordinate is met three times."""
    centre = torch.sign(torch.randn(200))
    model = Point(torch.zeros(200))
    seen = torch.rand(300, 200) < share

    def loss(t: int) -> Tensor:
        return torch.where(seen[t], 0.5 * (model.x - centre).square(), 0.0).sum().reshape(1)

    return Trap(model, loss, lambda t: float((model.x - centre).square().mean()), 0.05)


@problem(steps=300, depth=(1, 2, 3), sigma=(2.0, 1.0, 1.0))
def noisy_matmul(depth: int, sigma: float) -> Trap:
    """A product of matrices learned from eight noisy examples a step."""
    target = rotation(12)
    layers = [nn.Linear(12, 12, bias=False) for _ in range(depth)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.5 / math.sqrt(12))
    model = nn.Sequential(*layers)

    def loss(t: int) -> Tensor:
        x = torch.randn(8, 12)
        return (model(x) - x @ target - sigma * torch.randn(8, 12)).square().sum(1)

    return Trap(model, loss, lambda t: float((model(torch.eye(12)) - target).square().sum()) / 12, 0.1, 8)


@problem(steps=300, turns=(0.5, 1.5, 3.0))
def moving_target(turns: float) -> Trap:
    """A bowl whose centre goes round; passes where the gap is small for a tenth of the run on end."""
    model, history = Point(torch.zeros(8)), list[float]()
    phase = 2.0 * math.pi * torch.rand(4)

    def centre(t: int) -> Tensor:
        angle = phase + 2.0 * math.pi * turns * t / 300
        return torch.cat([torch.cos(angle), torch.sin(angle)])

    def gap(t: int) -> float:
        history.append(float((model.x - centre(t)).square().sum()) / 4)
        return max(history[-5:]) if len(history) >= 5 else math.inf  # 5 looks of 50

    return Trap(model, lambda t: 0.5 * (model.x - centre(t)).square().sum().reshape(1), gap, 0.05)


@problem(steps=300, batch=(8, 2, 1))
def batch_size(batch: int) -> Trap:
    """A small network taught by another one, from batches of 8 down to a single example."""
    teacher = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).requires_grad_(False)
    for p in teacher.parameters():
        nn.init.normal_(p, std=0.8)
    model = nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 1))
    x = torch.randn(256, 6)
    y = teacher(x)
    y = (y - y.mean()) / y.std()

    def loss(t: int) -> Tensor:
        rows = torch.randint(256, (batch,))
        return (model(x[rows]) - y[rows]).square().sum(1)

    return Trap(model, loss, lambda t: float((model(x) - y).square().mean()), 0.05, batch)


@problem(steps=300, rare=(64, 12, 6))
def class_imbalance(rare: int) -> Trap:
    """A few examples of one class inside a ring of 1,000 of the other; both must be known to nine in ten."""
    angle = 2.0 * math.pi * torch.rand(1000)
    ring = torch.stack([torch.cos(angle), torch.sin(angle)], 1) * (1.0 + 0.1 * torch.randn(1000, 1))
    x = torch.cat([0.25 * torch.randn(rare, 2), ring])
    y = (torch.arange(len(x)) < rare).float()
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))

    def loss(t: int) -> Tensor:
        rows = torch.randint(len(x), (32,))
        return nn.functional.binary_cross_entropy_with_logits(model(x[rows])[:, 0], y[rows], reduction="none")

    def gap(t: int) -> float:
        right = (model(x)[:, 0] > 0) == (y > 0.5)
        return 1.0 - min(float(right[:rare].float().mean()), float(right[rare:].float().mean()))

    return Trap(model, loss, gap, 0.1, 32)


@problem(steps=300, condition=(1e1, 1e2, 1e3))
def correlated_inputs(condition: float) -> Trap:
    """Linear regression on inputs whose covariance is rotated and ill-conditioned, 16 examples a step."""
    mix = torch.diag(spectrum(16, condition).sqrt()) @ rotation(16)
    mix = mix / mix.square().sum().div(16).sqrt()
    target = torch.linalg.solve(mix, torch.randn(16, 8) / 4)
    model = nn.Linear(16, 8, bias=False)

    def loss(t: int) -> Tensor:
        x = torch.randn(16, 16) @ mix
        return (model(x) - x @ target).square().sum(1)

    def gap(t: int) -> float:
        return float((mix @ (model.weight.T - target)).square().sum()) / 8

    return Trap(model, loss, gap, 0.05, 16)
