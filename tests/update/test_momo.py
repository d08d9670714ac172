"""MoMo against the authors' code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from descents import close, ours, rate, slowly, start
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Estimate
from gradlearn.update.momo import Momo


@pytest.mark.parametrize(
    ("decay", "bias", "estimate", "bound"), [(0.0, False, False, 0.0), (0.1, True, False, 0.5), (0.1, False, True, 0.0)]
)
def test_a_hundred_steps_are_the_authors(decay: float, bias: bool, estimate: bool, bound: float):
    beta = 0.8
    book = {"loss": 0.0, "lb": bound, "gamma": 0.0}
    d = [torch.zeros_like(p) for p in start()]

    def slow(params: list[Tensor], grads: list[Tensor], loss: float, t: int) -> None:
        lr, rho = rate(t, 0.3), 1 - beta**t if bias else 1.0
        if t == 1 and not bias:
            book["loss"] = loss
            book["gamma"] = sum((p * g).sum().item() for p, g in zip(params, grads, strict=True))
            for i, g in enumerate(grads):
                d[i] = g.clone()
        book["loss"] = beta * book["loss"] + (1 - beta) * loss
        book["gamma"] = beta * book["gamma"] + (1 - beta) * sum((p * g).sum().item() for p, g in zip(params, grads, strict=True))
        for i, g in enumerate(grads):
            d[i] = beta * d[i] + (1 - beta) * g
        dot = sum((p * m).sum().item() for p, m in zip(params, d, strict=True))
        norm = sum((m * m).sum().item() for m in d)
        grown = 1 + lr * decay
        if estimate:
            cap = grown * book["loss"] + dot - grown * book["gamma"]
            if cap < grown * rho * book["lb"]:
                book["lb"] = max(cap / (2 * grown * rho), bound)
        nominator = grown * (book["loss"] - rho * book["lb"]) + dot - grown * book["gamma"]
        tau = min(lr / rho, max(nominator, 0.0) / norm)
        if estimate:
            h = book["loss"] + dot - book["gamma"]
            book["lb"] = max((h - 0.5 * tau * norm) / rho, bound)
        for p, m in zip(params, d, strict=True):
            p.add_(m, alpha=-tau).div_(grown)

    params = start()
    update = Momo(params, lr=0.3, beta=beta, weight_decay=decay, bias_correction=bias, estimate=estimate, bound=bound)
    assert close(ours(update, params, 0.3), slowly(slow), 1e-10)
    assert update.param_groups[0]["bound"] == pytest.approx(book["lb"], rel=1e-9)
    assert not estimate or book["lb"] > 0.0


def test_the_loss_may_be_observed_and_is_used_once():
    p, q = (torch.nn.Parameter(torch.full((2,), 3.0)) for _ in range(2))
    first, second = Momo([p]), Momo([q])
    p.grad, q.grad = torch.ones(2), torch.ones(2)
    first.observe(Estimate(0.5, 1.0, 1))
    first.step()
    second.step(lambda: torch.tensor(0.5, requires_grad=True))
    assert torch.equal(p, q)
    with pytest.raises(InputTrouble, match="needs the loss"):
        first.step()


def test_the_step_is_polyaks_where_lr_allows_it():
    p = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    update = Momo([p], lr=10.0, beta=0.0)
    p.grad = p.detach().clone()
    update.step(lambda: 12.5)  # of |p|^2 / 2: the model's zero is half way
    assert torch.allclose(p, torch.tensor([1.5, 2.0]))
