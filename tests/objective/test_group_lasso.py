"""Group lasso: norms of rows, filters or columns; a neuron that is out stays out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.objective.group_lasso import GroupLasso


@pytest.mark.parametrize("by", ["output", "input"])
def test_it_is_the_slow_sum_over_neurons(by: str):
    model = nn.Sequential(nn.Conv2d(2, 3, (2, 5)), nn.Linear(4, 6)).double()
    slow = 0.0
    for w in (model[0].weight, model[1].weight):
        for i in range(w.shape[0 if by == "output" else 1]):
            group = w[i] if by == "output" else w[:, i]
            slow += math.sqrt(group.numel()) * math.sqrt(sum(v.item() ** 2 for v in group.reshape(-1)))
    with torch.no_grad():
        assert GroupLasso(weight=0.7, by=by)(model).item() == pytest.approx(0.7 * slow, rel=1e-12)


def test_its_gradient_has_one_length_for_every_group_and_none_where_a_group_is_zero():
    model = nn.Linear(9, 4, bias=False).double()
    with torch.no_grad():
        model.weight[2] = 0.0
    GroupLasso(weight=0.5)(model).backward()
    lengths = model.weight.grad.norm(dim=1)
    assert lengths[2] == 0.0
    assert torch.allclose(lengths[[0, 1, 3]], torch.tensor(0.5 * 3.0, dtype=torch.float64))


def test_useless_inputs_fade_as_a_whole():
    torch.manual_seed(0)
    x = torch.randn(200, 6)
    y = x[:, :2] @ torch.tensor([[1.0, -1.0], [2.0, 0.5]])
    model, penalty = nn.Linear(6, 2), GroupLasso(weight=0.05, by="input")
    update = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(300):
        update.zero_grad()
        ((model(x) - y).square().mean() + penalty(model)).backward()
        update.step()
    norms = model.weight.detach().norm(dim=0)
    assert norms[2:].max() < 0.01 < 0.3 < norms[:2].min()


def test_an_unknown_group_is_refused_with_the_nearest():
    with pytest.raises(InputTrouble, match=r"--group_lasso.by outputs: must be output or input.*did you mean 'output'"):
        GroupLasso(by="outputs")
