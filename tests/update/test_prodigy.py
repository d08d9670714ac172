"""Prodigy against the authors' code, written out slowly."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from descents import close, slope, slowly, start
from gradlearn.errors import InputTrouble
from gradlearn.update.prodigy import Prodigy


def authors(decay: float, growth: float, bias: bool, safeguard: bool, coef: float) -> tuple[Any, dict[str, float]]:
    """prodigyopt's step; the rate is 1."""
    b1, b2, eps, d0 = 0.8, 0.97, 1e-6, 1e-3
    b3 = math.sqrt(b2)
    p0 = [p.detach().clone() for p in start()]
    m, v, s = ([torch.zeros_like(p) for p in p0] for _ in range(3))
    book = {"d": d0, "d_max": d0, "numerator": 0.0}

    def slow(params: list[Tensor], grads: list[Tensor], loss: float, t: int) -> None:
        d = book["d"]
        dlr = d * (math.sqrt(1 - b2**t) / (1 - b1**t) if bias else 1.0)
        numerator, denominator = book["numerator"] * b3, 0.0
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            numerator += d / d0 * dlr * (g * (p0[i] - p)).sum().item()
            m[i].mul_(b1).add_(g, alpha=d * (1 - b1))
            v[i].mul_(b2).addcmul_(g, g, value=d * d * (1 - b2))
            s[i].mul_(b3).add_(g, alpha=d / d0 * (d if safeguard else dlr))
            denominator += s[i].abs().sum().item()
        guess = coef * numerator / denominator
        if d == d0:
            d = max(d, guess)
        book["d_max"] = max(book["d_max"], guess)
        book["d"] = d = min(book["d_max"], d * growth)
        book["numerator"] = numerator
        for i, p in enumerate(params):
            p.add_(p, alpha=-decay * dlr)
            p.addcdiv_(m[i], v[i].sqrt().add_(d * eps), value=-dlr)

    return slow, book


CASES = [(0.0, math.inf, False, False, 1.0), (0.1, 1.05, True, False, 2.0), (0.05, math.inf, True, True, 0.5)]


@pytest.mark.parametrize("case", CASES)
def test_a_hundred_steps_are_the_authors(case: tuple[float, float, bool, bool, float]):
    decay, growth, bias, safeguard, coef = case
    slow, book = authors(*case)
    params = start()
    update = Prodigy(
        [{"params": params[:2]}, {"params": params[2:]}],
        betas=(0.8, 0.97),
        eps=1e-6,
        d0=1e-3,
        weight_decay=decay,
        growth=growth,
        bias_correction=bias,
        safeguard_warmup=safeguard,
        d_coef=coef,
    )
    for t in range(1, 101):
        for p, g in zip(params, slope(params, t)[1], strict=True):
            p.grad = g
        update.step()
    assert close([p.detach() for p in params], slowly(slow), 1e-11)
    assert update.param_groups[0]["d"] == pytest.approx(book["d"], rel=1e-11)
    assert all(group["d"] == update.param_groups[0]["d"] for group in update.param_groups)
    assert book["d"] > 1e-3


def test_from_the_step_of_freezing_on_it_is_adam_at_the_rate_that_was_found():
    params = start()
    update = Prodigy(params, d0=1e-3, betas=(0.9, 0.99), freeze=20, weight_decay=0.1)
    for t in range(1, 41):
        before = [p.detach().clone() for p in params]
        moments = [{k: update.state[p][k].clone() for k in ("exp_avg", "exp_avg_sq", "s")} for p in params]
        found = update.param_groups[0]["d"]
        for p, g in zip(params, slope(params, t)[1], strict=True):
            p.grad = g
        update.step()
        if t <= 20:
            continue
        d = update.param_groups[0]["d"]
        assert d == found
        for p, q, kept in zip(params, before, moments, strict=True):
            assert p.grad is not None
            m = 0.9 * kept["exp_avg"] + 0.1 * d * p.grad
            v = 0.99 * kept["exp_avg_sq"] + 0.01 * d * d * p.grad**2
            assert torch.allclose(p, q * (1 - d * 0.1) - d * m / (v.sqrt() + d * 1e-8), rtol=1e-12)
            assert torch.equal(update.state[p]["s"], kept["s"])


def test_a_group_of_rate_zero_rests_and_other_rates_are_refused():
    a, b = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    update = Prodigy([{"params": [a]}, {"params": [b], "lr": 0.0}], d0=0.1)
    a.grad, b.grad = torch.ones(3), torch.ones(3)
    update.step()
    assert (a < 1.0).all()
    assert torch.equal(b, torch.ones(3))
    update.param_groups[1]["lr"] = 0.5
    with pytest.raises(InputTrouble, match="different learning rates"):
        update.step()


@pytest.mark.parametrize(("option", "value"), [("d0", 0.0), ("d_coef", -1.0), ("growth", 1.0)])
def test_numbers_out_of_range_are_refused(option: str, value: float):
    with pytest.raises(InputTrouble, match=rf"--prodigy\.{option}"):
        Prodigy([torch.nn.Parameter(torch.ones(2))], **{option: value})
