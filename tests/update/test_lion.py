"""Lion against the formula of the paper."""

from __future__ import annotations

import torch
from torch import Tensor

from descents import close, ours, rate, slowly, start
from gradlearn.update.lion import Lion


def test_a_hundred_steps_are_the_formula():
    moments: list[Tensor] = [torch.zeros_like(p) for p in start()]

    def slow(params: list[Tensor], grads: list[Tensor], loss: float, t: int) -> None:
        for p, g, m in zip(params, grads, moments, strict=True):
            lr = rate(t, 0.01)
            u = torch.sign(0.8 * m + 0.2 * g)
            p.sub_(lr * (u + 0.1 * p))
            m.mul_(0.95).add_(0.05 * g)

    params = start()
    assert close(ours(Lion(params, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1), params, 0.01), slowly(slow))
