"""NAdam against torch's."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from descents import as_torchs, close, ours, rate, slowly, start
from gradlearn.update.nadam import NAdam, product


def test_a_hundred_steps_are_torchs():
    options = {"betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1, "momentum_decay": 0.02}
    theirs = options | {"decoupled_weight_decay": True}
    assert as_torchs(NAdam, torch.optim.NAdam, 0.02, options, theirs, tolerance=1e-6)  # it multiplies momenta in float32


def test_a_hundred_steps_are_the_formula():
    m, v = ([torch.zeros_like(p) for p in start()] for _ in range(2))

    def slow(params: list[Tensor], grads: list[Tensor], loss: float, t: int) -> None:
        mu = [0.8 * (1 - 0.5 * 0.96 ** (s * 0.02)) for s in range(1, t + 2)]
        past, lr = math.prod(mu[:t]), rate(t, 0.02)
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            m[i] = 0.8 * m[i] + 0.2 * g
            v[i] = 0.99 * v[i] + 0.01 * g * g
            u = (1 - mu[t - 1]) * g / (1 - past) + mu[t] * m[i] / (1 - past * mu[t])
            p.sub_(lr * (u / ((v[i] / (1 - 0.99**t)).sqrt() + 1e-6) + 0.1 * p))

    params = start()
    update = NAdam(params, lr=0.02, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1, momentum_decay=0.02)
    assert close(ours(update, params, 0.02), slowly(slow))


def test_the_product_of_momenta_is_taken_as_zero_only_where_it_does_not_matter():
    assert product(0.9, 4e-3, 1) == 0.9 * (1 - 0.5 * 0.96**4e-3)
    assert 0.0 < product(0.9, 4e-3, 30) < 1e-10
    assert product(0.9, 4e-3, 10**9) == 0.0


def test_a_tensor_that_joins_late_begins_at_its_own_first_step():
    a, b, alone = (torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(3))
    together, single = NAdam([a, b], lr=0.1), NAdam([alone], lr=0.1)
    for t in range(8):
        a.grad = torch.full_like(a, 0.5)
        b.grad = None if t in (0, 1, 2, 5) else torch.full_like(b, t + 1.0)
        together.step()
        if b.grad is not None:
            alone.grad = b.grad.clone()
            single.step()
    assert torch.equal(b, alone)
    assert together.param_groups[0]["missed"] == (0, 4)
