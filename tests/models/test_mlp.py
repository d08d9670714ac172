from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.models.mlp import MLP


@pytest.mark.parametrize("hidden", [(), (5,), (64, 64), (3, 4, 5)])
def test_shape_and_gradient(hidden: tuple[int, ...]) -> None:
    net = MLP(7, 3, hidden)
    out = net(torch.randn(11, 7))
    assert out.shape == (11, 3)
    nn.functional.cross_entropy(out, torch.arange(11) % 3).backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    widths = [7, *hidden, 3]
    assert sum(p.numel() for p in net.parameters()) == sum(i * o + o for i, o in itertools.pairwise(widths))


def test_no_hidden_layer_is_a_linear_model() -> None:
    net, x = MLP(4, 2, ()), torch.randn(6, 4)
    only = net.layers[0]
    assert isinstance(only, nn.Linear)
    torch.testing.assert_close(net(x), x @ only.weight.T + only.bias)


def test_the_formula_by_hand() -> None:
    net, x = MLP(4, 2, (8,)), torch.randn(6, 4)
    first, last = (layer for layer in net.layers if isinstance(layer, nn.Linear))
    by_hand = (x @ first.weight.T + first.bias).clamp_min(0) @ last.weight.T + last.bias
    torch.testing.assert_close(net(x), by_hand)


def test_same_seed_same_network() -> None:
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(MLP(4, 2).state_dict())
    assert all(torch.equal(nets[0][k], nets[1][k]) for k in nets[0])


def test_variance_stays_through_the_layers() -> None:
    torch.manual_seed(0)
    net, x = MLP(256, 10, (256,) * 6), torch.randn(512, 256)
    for layer in list(net.layers)[:-1]:
        x = layer(x).relu()
    assert 0.4 < x.square().mean().item() < 2.5


def test_no_width_is_refused() -> None:
    with pytest.raises(InputTrouble, match="at least 1"):
        MLP(4, 2, (0,))
