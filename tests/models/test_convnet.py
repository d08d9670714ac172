from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from gradlearn.models.convnet import ConvNet, plan_layers

SHAPES = [
    (6, 6, 1),
    (7, 9, 3),
    (8, 8, 1),
    (16, 16, 3),
    (17, 17, 1),
    (28, 28, 1),
    (32, 32, 3),
    (33, 40, 3),
    (64, 48, 3),
    (128, 128, 3),
]


def bytes_of(shape: tuple[int, int, int], n: int = 4, seed: int = 0) -> torch.Tensor:
    h, w, c = shape
    return torch.randint(0, 256, (n, c, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def make(shape: tuple[int, int, int], classes: int = 10, width: int = 8, seed: int = 0) -> ConvNet:
    torch.manual_seed(seed)
    return ConvNet(shape, classes, width)


def test_layers_adapt_to_the_size() -> None:
    assert plan_layers((8, 8, 1), 32) == ([32], [32, 64])
    assert plan_layers((28, 28, 1), 32) == ([32], [32, 64, 128])
    assert plan_layers((128, 128, 3), 32) == ([8, 16, 32], [32, 64, 128])


def test_multiplications_are_those_that_the_convolutions_do() -> None:
    for shape in SHAPES:
        net, counted = make(shape), 0

        def count(layer: nn.Module, _: object, out: torch.Tensor) -> None:
            nonlocal counted
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            counted += layer.weight.numel() * (out.shape[2] * out.shape[3] if out.ndim == 4 else 1)

        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(count)
        net(bytes_of(shape, 2))
        assert net.multiplications == counted


@pytest.mark.parametrize(
    ("shape", "width", "parameters"),
    [((8, 8, 1), 32, 75114), ((28, 28, 1), 32, 297450), ((32, 32, 3), 32, 298026), ((32, 32, 3), 64, 1185866)],
)
def test_parameter_count_table(shape: tuple[int, int, int], width: int, parameters: int) -> None:
    stem, stages = plan_layers(shape, width)
    assert sum(p.numel() for p in make(shape, 10, width).parameters()) == parameters
    widths = [shape[2], *stem, *(w for s in stages for w in (s, s))]
    formula = sum(9 * i * o + 2 * o for i, o in itertools.pairwise(widths)) + 10 * widths[-1] + 10
    assert formula == parameters
