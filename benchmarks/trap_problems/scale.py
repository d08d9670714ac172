"""Scales: coordinates, layers and depths whose gradients or optima differ by powers of ten."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from .trap import Trap, at_point, problem, rotation


@problem(steps=300, powers=(1.0, 2.5, 4.0))
def parameter_scale(powers: float) -> Trap:
    """sum (s_i x_i - 1)^2 with s over some powers of ten: the optimum is as far in one coordinate as it is near in another."""
    s = torch.logspace(-powers / 2, powers / 2, 10)
    return at_point(torch.zeros(10), lambda x: (s * x - 1.0).square().mean(), 0.02)


@problem(steps=300, powers=(2.0, 6.0, 12.0))
def gradient_scale(powers: float) -> Trap:
    """A sum of bowls of one width, their heights over many powers of ten; each must be left."""
    s, centre = torch.logspace(-powers / 2, powers / 2, 10), torch.sign(torch.randn(10))

    def gap(x: Tensor) -> Tensor:
        return (x - centre).square().amax()

    return at_point(torch.zeros(10), lambda x: 0.5 * (s * (x - centre).square()).sum(), 0.05, gap)


class Scaled(nn.Module):
    """tanh network, each layer's output multiplied by a number that its weights are divided by."""

    def __init__(self, sizes: list[int], scales: list[float]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.scales = scales
        for layer, scale in zip(self.layers, scales, strict=True):
            for p in layer.parameters():
                p.data.div_(scale)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in) -> (n, out)."""
        for k, (layer, scale) in enumerate(zip(self.layers, self.scales, strict=True)):
            x = layer(x) * scale
            x = torch.tanh(x) if k + 1 < len(self.layers) else x
        return x


@problem(steps=300, spread=(3.0, 30.0, 300.0))
def layer_scale(spread: float) -> Trap:
    """A network of four layers, one after another `spread` times too sensitive and too dull."""
    x = torch.randn(64, 4)
    y = torch.sin(2.0 * x[:, :1]) * x[:, 1:2]
    y = y / y.std()
    model = Scaled([4, 16, 16, 16, 1], [spread, 1 / spread, spread, 1 / spread])
    return Trap(model, lambda t: (model(x) - y).square().sum(1), lambda t: float((model(x) - y).square().mean()), 0.1, 64)


def _chain(depth: int, gain: float) -> Trap:
    """A deep linear network of 8 x 8 matrices, each `gain` times orthogonal, that is to become one rotation."""
    layers = [nn.Linear(8, 8, bias=False) for _ in range(depth)]
    for layer in layers:
        layer.weight.data = gain * rotation(8)
    model, target = nn.Sequential(*layers), rotation(8)
    if torch.linalg.det(target) * torch.stack([torch.linalg.det(layer.weight) for layer in layers]).prod() < 0:
        target[0] *= -1.0  # else no path of invertible maps leads there
    eye = torch.eye(8)

    def f() -> Tensor:
        return (model(eye) - target).square().sum(1)

    return Trap(model, lambda t: f(), lambda t: float(f().mean()), 0.02, 8)


@problem(steps=300, depth=(4, 5, 6), gain=(1.5, 1.6, 1.8))
def exploding_gradient(depth: int, gain: float) -> Trap:
    """A deep product of matrices that are too large: the first gradient is up to 1e3."""
    return _chain(depth, gain)


@problem(steps=300, depth=(4, 5, 6), gain=(0.5, 0.4, 0.4))
def vanishing_gradient(depth: int, gain: float) -> Trap:
    """A deep product of matrices that are too small: the first gradient is down to 1e-2."""
    return _chain(depth, gain)


@problem(steps=300, kinks=(2, 4, 6))
def relu_boundaries(kinks: int) -> Trap:
    """A zigzag to be fitted by 24 ReLU units whose biases start so low that most are dead on most of the data."""
    x = torch.linspace(-1.0, 1.0, 128)[:, None]
    phase = (x + 1.0) * kinks / 2.0
    y = (2.0 * (phase - torch.floor(phase + 0.5)).abs() - 0.5) * 2.0
    first, second = nn.Linear(1, 24), nn.Linear(24, 24)
    model = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(24, 1))
    for layer in (first, second):
        layer.bias.data.sub_(0.5 / math.sqrt(layer.in_features))
    return Trap(model, lambda t: (model(x) - y).square().sum(1), lambda t: float((model(x) - y).square().mean()), 0.02, 128)
