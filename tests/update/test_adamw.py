"""AdamW's options against their formulas; AdamW itself is compared with torch's in the contract tests."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from descents import close, ours, rate, slowly, start
from gradlearn.errors import InputTrouble
from gradlearn.update.adamw import AdamW

OPTIONS = list(itertools.product([False, True], [False, True], ["plain", "cautious", "corrected"]))


@pytest.mark.parametrize(("cautious", "stable", "decay"), OPTIONS)
def test_a_hundred_steps_are_the_formula(cautious: bool, stable: bool, decay: str):
    b1, b2, eps, weight_decay = 0.8, 0.9, 1e-4, 0.1
    m, v = ([torch.zeros_like(p) for p in start()] for _ in range(2))

    def slow(params: list[Tensor], grads: list[Tensor], loss: float, t: int) -> None:
        lr = rate(t, 0.02)
        wd = weight_decay * (lr / 0.02 if decay == "corrected" else 1.0)
        for i, g in enumerate(grads):
            m[i] = b1 * m[i] + (1 - b1) * g
            v[i] = b2 * v[i] + (1 - b2) * g * g
        square = [x / (1 - b2**t) for x in v]
        n = sum(g.numel() for g in grads)
        agree = sum((x * g > 0).sum().item() for x, g in zip(m, grads, strict=True))
        outrun = sum((g * g / q.clamp(min=eps**2)).sum().item() for g, q in zip(grads, square, strict=True)) / n
        shorter = max(1.0, outrun**0.5) if stable else 1.0
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            u = m[i] / (square[i].sqrt() + eps)
            if cautious:
                u = torch.where(m[i] * g > 0, u * (n / max(agree, 1e-3 * n)), torch.zeros_like(u))
            shrink = wd * p if decay != "cautious" else torch.where(u * p > 0, wd * p, torch.zeros_like(p))
            p.sub_(lr * shrink + lr / shorter / (1 - b1**t) * u)

    params = start()
    update = AdamW(
        params, lr=0.02, betas=(b1, b2), eps=eps, weight_decay=weight_decay, cautious=cautious, stable=stable, decay=decay
    )
    assert close(ours(update, params, 0.02), slowly(slow), 1e-10)


def test_a_gradient_that_outruns_its_square_is_held_back_by_stable():
    plain, held = (torch.nn.Parameter(torch.zeros(4)) for _ in range(2))
    updates = [AdamW([plain], lr=0.1, weight_decay=0.0), AdamW([held], lr=0.1, weight_decay=0.0, stable=True)]
    for g in (1e-3, 1e-3, 1e-3, 10.0):
        before = [plain.detach().clone(), held.detach().clone()]
        for p, update in zip((plain, held), updates, strict=True):
            p.grad = torch.full((4,), g)
            update.step()
    long, short = ((p - q).abs().max().item() for p, q in zip((plain, held), before, strict=True))
    assert short < 0.6 * long


def test_a_tensor_that_joins_late_has_biases_of_its_own():
    a, b, alone = (torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(3))
    together, single = AdamW([a, b], decay="cautious"), AdamW([alone], decay="cautious")
    for t in range(6):
        a.grad = torch.ones_like(a)
        b.grad = None if t < 3 else torch.full_like(b, t + 1.0)
        together.step()
        if b.grad is not None:
            alone.grad = b.grad.clone()
            single.step()
    assert torch.allclose(b, alone, rtol=1e-14)


def test_an_unknown_decay_gets_the_nearest_known_one():
    with pytest.raises(InputTrouble, match="did you mean 'corrected'"):
        AdamW([torch.nn.Parameter(torch.ones(2))], decay="correct")
