"""ASGD against torch's: where it goes, and the mean that it shows."""

from __future__ import annotations

import torch

from descents import close, slope, start
from gradlearn.update.asgd import ASGD


def test_a_hundred_steps_and_their_mean_are_torchs():
    a, b = start(), start()
    first = ASGD(a, lr=0.05, fall=0.1, power=0.6, after=20, weight_decay=0.1)
    second = torch.optim.ASGD(b, lr=0.05, lambd=0.1, alpha=0.6, t0=20, weight_decay=0.1, foreach=False)
    assert close(constant(first, a), constant(second, b), 1e-6)  # its rates are float32
    with first.shown():
        assert close([p.detach().clone() for p in a], [second.state[p]["ax"] for p in b], 1e-6)
    assert close([p.detach() for p in a], [p.detach() for p in b], 1e-6)


def constant(update: torch.optim.Optimizer, params: list[torch.nn.Parameter]) -> list[torch.Tensor]:
    for t in range(1, 101):
        for p, g in zip(params, slope(params, t)[1], strict=True):
            p.grad = g
        update.step()
    return [p.detach().clone() for p in params]
