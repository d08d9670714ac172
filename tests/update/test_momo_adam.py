"""MoMo-Adam against the authors' code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from descents import close, ours, rate, slowly, start
from gradlearn.errors import InputTrouble
from gradlearn.update.momo_adam import MomoAdam


@pytest.mark.parametrize(
    ("decay", "proximal", "estimate", "bound"), [(0.0, True, False, 0.0), (0.1, True, True, 0.0), (0.1, False, False, 0.5)]
)
def test_a_hundred_steps_are_the_authors(decay: float, proximal: bool, estimate: bool, bound: float):
    b1, b2, eps = 0.8, 0.95, 1e-6
    book = {"loss": 0.0, "lb": bound, "gamma": 0.0}
    d, v = ([torch.zeros_like(p) for p in start()] for _ in range(2))

    def slow(params: list[Tensor], grads: list[Tensor], loss: float, t: int) -> None:
        lr, bias1, bias2 = rate(t, 0.1), 1 - b1**t, 1 - b2**t
        dot = norm = gained = 0.0
        scale = []
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            d[i] = b1 * d[i] + (1 - b1) * g
            v[i] = b2 * v[i] + (1 - b2) * g * g
            gained += (p * g).sum().item()
            scale.append((v[i] / bias2).sqrt() + eps)
            dot += (p * d[i]).sum().item()
            norm += (d[i] * d[i] / scale[i]).sum().item()
        book["gamma"] = b1 * book["gamma"] + (1 - b1) * gained
        book["loss"] = b1 * book["loss"] + (1 - b1) * loss
        grown = 1 + lr * decay
        if estimate:
            cap = grown * book["loss"] + dot - grown * book["gamma"]
            if cap < grown * bias1 * book["lb"]:
                book["lb"] = max(cap / (2 * grown * bias1), bound)
        nominator = grown * (book["loss"] - bias1 * book["lb"]) + dot - grown * book["gamma"]
        tau = min(lr / bias1, max(nominator, 0.0) / norm)
        if estimate:
            book["lb"] = max((book["loss"] + dot - book["gamma"] - 0.5 * tau * norm) / bias1, bound)
        for p, m, s in zip(params, d, scale, strict=True):
            if decay and not proximal:
                p.mul_(1 - decay * lr)
            p.sub_(tau * m / s)
            if decay and proximal:
                p.div_(grown)

    params = start()
    groups = [{"params": params[:1]}, {"params": params[1:]}]
    if estimate:
        groups = [{"params": params}]  # the authors move the bound once a group
    update = MomoAdam(
        groups, lr=0.1, betas=(b1, b2), eps=eps, weight_decay=decay, proximal=proximal, estimate=estimate, bound=bound
    )
    assert close(ours(update, params, 0.1), slowly(slow), 1e-10)
    assert update.param_groups[0]["bound"] == pytest.approx(book["lb"], rel=1e-9)


def test_without_a_loss_it_says_what_it_needs():
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    with pytest.raises(InputTrouble, match="momo_adam: needs the loss"):
        MomoAdam([p]).step()
