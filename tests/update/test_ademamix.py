"""AdEMAMix against the authors' code, with and without its warm-ups."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from descents import close, ours, rate, slowly, start
from gradlearn.update.ademamix import AdEMAMix


@pytest.mark.parametrize("warmup", [0, 45, 1000])
def test_a_hundred_steps_are_the_authors(warmup: int):
    b1, b2, last, alpha_end, eps, decay = 0.8, 0.95, 0.999, 5.0, 1e-6, 0.1
    m, slow_m, v = ([torch.zeros_like(p) for p in start()] for _ in range(3))

    def half_life(beta: float) -> float:
        return math.log(0.5) / math.log(beta + 1e-8) - 1

    def slow(params: list[Tensor], grads: list[Tensor], loss: float, t: int) -> None:
        alpha, b3 = alpha_end, last
        if t < warmup:
            a = t / warmup
            alpha = a * alpha_end
            b3 = 0.5 ** (1 / ((1 - a) * half_life(b1) + a * half_life(last) + 1))
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            m[i] = b1 * m[i] + (1 - b1) * g
            slow_m[i] = b3 * slow_m[i] + (1 - b3) * g
            v[i] = b2 * v[i] + (1 - b2) * g * g
            denominator = v[i].sqrt() / math.sqrt(1 - b2**t) + eps
            u = (m[i] / (1 - b1**t) + alpha * slow_m[i]) / denominator
            p.sub_(rate(t, 0.01) * (u + decay * p))

    params = start()
    update = AdEMAMix(params, lr=0.01, betas=(b1, b2, last), alpha=alpha_end, warmup=warmup, eps=eps, weight_decay=decay)
    assert close(ours(update, params, 0.01), slowly(slow))
