"""Line search: only steps that satisfy Armijo's rule are taken; where none does theta is put back; eta is the authors'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Estimate
from gradlearn.update.line_search import LineSearch


def rosenbrock(x: Tensor) -> Tensor:
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def closure_of(
    update: Any, x: nn.Parameter, seen: list[tuple[Tensor, float]], f: Callable[[Tensor], Tensor]
) -> Callable[[], float]:
    def closure() -> float:
        update.zero_grad()
        loss = f(x)
        loss.backward()
        seen.append((x.detach().clone(), loss.item()))
        return loss.item()

    return closure


def test_every_step_satisfies_armijo_and_the_one_before_it_in_line_did_not():
    x = nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    update = LineSearch([x], lr=0.05)
    for _ in range(60):
        seen: list[tuple[Tensor, float]] = []
        before = x.detach().clone()
        g = 0.05 * torch.autograd.grad(rosenbrock(x), x)[0]
        assert update.step(closure_of(update, x, seen, rosenbrock)) == seen[0][1]
        slope, eta = g.square().sum().item() / 0.05, update.param_groups[0]["eta"]
        after = rosenbrock(x).item()
        assert torch.allclose(x, before - eta * g, atol=1e-12)
        assert after <= seen[0][1] - 0.1 * eta * slope
        for point, loss in seen[1:-1]:  # all that was tried and not taken
            tried = ((before - point) @ g / (g @ g)).item()
            assert loss > seen[0][1] - 0.1 * tried * slope
    assert rosenbrock(x).item() < 4.0


def test_it_is_the_authors_search_step_for_step():
    x = nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    update, seen = LineSearch([x], lr=0.5, c=0.2, shrink=0.7, growth=1.3), []
    y, step = torch.tensor([-1.2, 1.0], dtype=torch.float64), 0.5
    for _ in range(50):
        update.step(closure_of(update, x, seen, rosenbrock))
        z = y.clone().requires_grad_()
        loss = rosenbrock(z)
        g = torch.autograd.grad(loss, z)[0]
        step = min(step * 1.3, 0.5)
        while rosenbrock(y - step * g) > loss - 0.2 * step * g @ g:
            step *= 0.7
        y = y - step * g
        assert torch.allclose(x, y, atol=1e-9)


def test_where_no_step_is_good_theta_is_as_it_was_bit_for_bit():
    x, y = nn.Parameter(torch.tensor([1.0, 0.3])), nn.Parameter(torch.tensor([0.7]))
    update = LineSearch([x, y], lr=1.0, tries=7)
    kept = [x.detach().clone(), y.detach().clone()]
    calls = []

    def closure() -> float:
        calls.append(0)
        x.grad, y.grad = torch.ones(2), torch.ones(1)
        return 1.0 if len(calls) == 1 else [float("nan"), float("inf"), 5.0][len(calls) % 3]

    assert update.step(closure) == 1.0
    assert len(calls) == 8
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])
    assert update.param_groups[0]["eta"] < 0.9**6


def test_a_loss_that_was_told_is_not_evaluated_again():
    x = nn.Parameter(torch.tensor([3.0]))
    update = LineSearch([x], lr=0.4)
    seen: list[tuple[Tensor, float]] = []
    x.grad = 2 * x.detach()
    update.observe(Estimate(9.0, 6.0, 1))
    assert update.step(closure_of(update, x, seen, lambda p: p[0] ** 2)) == 9.0
    assert len(seen) == 1  # the one try, which was good
    assert torch.allclose(x, torch.tensor([0.6]))


def test_a_told_loss_that_is_another_one_is_found_out():
    x = nn.Parameter(torch.tensor([3.0]))
    update = LineSearch([x], lr=0.4, tries=5)
    seen: list[tuple[Tensor, float]] = []
    x.grad = 2 * x.detach()
    update.observe(Estimate(-100.0, 6.0, 1))
    assert update.step(closure_of(update, x, seen, lambda p: p[0] ** 2)) == 9.0
    assert len(seen) == 5 + 1 + 1
    assert torch.allclose(x, torch.tensor([0.6]))


def test_decay_comes_after_the_search_and_by_its_group():
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    update = LineSearch([{"params": [a], "weight_decay": 0.5}, {"params": [b]}], lr=0.1)

    def closure() -> float:
        a.grad, b.grad = a.detach().clone(), b.detach().clone()
        return 0.5 * float(a.detach().square().sum() + b.detach().square().sum())

    update.step(closure)
    assert torch.allclose(a, torch.full((2,), 0.9 - 0.05))
    assert torch.allclose(b, torch.full((2,), 0.9))


def test_options_that_mean_nothing_are_refused():
    with pytest.raises(InputTrouble, match=r"--line_search\.c"):
        LineSearch([nn.Parameter(torch.ones(2))], c=1.5)
