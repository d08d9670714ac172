"""DoG and L-DoG against the authors' code, with their average."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from descents import close, ours, rate, slowly, start
from gradlearn.errors import InputTrouble
from gradlearn.update.dog import DoG


@pytest.mark.parametrize("layers", [False, True])
def test_a_hundred_steps_and_their_mean_are_the_authors(layers: bool):
    far, eps, decay = 1e-2, 1e-4, 0.05
    p0 = [p.detach().clone() for p in start()]
    mean = [p.clone() for p in p0]
    known: dict[int, list[float]] = {}

    def slow(params: list[Tensor], grads: list[Tensor], loss: float, t: int) -> None:
        for parts in [[i] for i in range(3)] if layers else [[0, 1, 2]]:
            if t == 1:
                known[parts[0]] = [far * (1 + math.sqrt(sum(p0[i].square().sum().item() for i in parts))), eps]
            else:
                gone = math.sqrt(sum((params[i] - p0[i]).square().sum().item() for i in parts))
                known[parts[0]][0] = max(known[parts[0]][0], gone)
            g = {i: grads[i] + decay * params[i] for i in parts}
            known[parts[0]][1] += sum(v.square().sum().item() for v in g.values())
            eta = rate(t, 1.0) * known[parts[0]][0] / math.sqrt(known[parts[0]][1])
            for i in parts:
                params[i].sub_(eta * g[i])
                share = 9 / (t + 8)
                mean[i] = mean[i] * (1 - share) + params[i] * share

    params = start()
    groups = [{"params": params[:2]}, {"params": params[2:]}]
    update = DoG(groups, lr=1.0, far=far, layers=layers, eps=eps, weight_decay=decay)
    assert close(ours(update, params, 1.0), slowly(slow), 1e-11)
    with update.shown():
        assert close([p.detach().clone() for p in params], mean, 1e-11)


def test_no_first_step_is_refused():
    with pytest.raises(InputTrouble, match=r"--dog\.far"):
        DoG([torch.nn.Parameter(torch.ones(2))], far=0.0)
