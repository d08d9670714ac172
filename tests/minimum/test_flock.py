"""Many descents at once come to where one careful descent comes."""

from __future__ import annotations

import math

import pytest
import torch

from gradlearn.minimum import flock
from gradlearn.minimum.function import Calls, Function, Spent

F64 = torch.float64


def function(f, n, low=-math.inf, high=math.inf):
    def gradient(x):
        x = x.detach().requires_grad_()
        y = f(x)
        return float(y.detach()), torch.autograd.grad(y, x)[0]

    calls = Calls(lambda x: float(f(x)), gradient, f)
    return Function(calls, torch.zeros(n, dtype=F64), torch.full((n,), low, dtype=F64), torch.full((n,), high, dtype=F64), 0.0)


def rosenbrock(x):
    return (100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2).sum(-1)


def test_every_row_finds_the_minimum_of_a_quadratic_as_the_linear_solver_does():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(6, 6, generator=g, dtype=F64)
    a = a @ a.T + 0.1 * torch.eye(6, dtype=F64)
    b = torch.randn(6, generator=g, dtype=F64)
    rows = torch.randn(9, 6, generator=g, dtype=F64)
    x, values = flock.descend(function(lambda x: 0.5 * ((x @ a) * x).sum(-1) - x @ b, 6), rows, 400, fall=1e-14)
    torch.testing.assert_close(x, torch.linalg.solve(a, b).expand(9, 6), rtol=1e-4, atol=1e-4)
    assert torch.allclose(values, values[0].expand(9), rtol=1e-9)


def test_rosenbrock_from_many_starts():
    g = torch.Generator().manual_seed(1)
    f = function(rosenbrock, 4)
    _, values = flock.descend(f, 4 * torch.rand(16, 4, generator=g, dtype=F64) - 2, 400)
    assert f.least == float(values.min())
    assert (values < 1e-6).sum() >= 8


def test_no_row_rises_and_none_leaves_the_bounds():
    seen = []

    def f(x):
        seen.append(x.detach().clone())
        return (torch.sin(3 * x) + 0.1 * (x - 4) ** 2).sum(-1)

    g = torch.Generator().manual_seed(2)
    rows = 2 * torch.rand(20, 3, generator=g, dtype=F64) - 1
    x, values = flock.descend(function(f, 3, -1.0, 1.0), rows, 60)
    assert (values <= f(rows) + 1e-12).all()
    assert min(float(s.min()) for s in seen) >= -1.0
    assert max(float(s.max()) for s in seen) <= 1.0
    grad = torch.func.grad(lambda x: f(x).sum())(x)
    inside = (x > -1) & (x < 1)
    assert (grad[inside].abs() < 1e-2).all()


def test_rows_that_are_not_finite_are_left_where_they_are():
    x, values = flock.descend(
        function(lambda x: torch.where(x > 0, x, math.nan).sum(-1), 1), torch.tensor([[-1.0], [2.0]], dtype=F64), 20
    )
    assert float(x[0]) == -1.0
    assert math.isinf(float(values[0]))
    assert 0.0 < float(values[1]) < 2.0


def test_the_budget_ends_it_and_the_best_is_kept():
    f = function(rosenbrock, 4)
    f.max_evals = 37
    with pytest.raises(Spent):
        flock.descend(f, torch.zeros(10, 4, dtype=F64), 100)
    assert f.nfev == 37
    assert f.least == float(rosenbrock(f.best))
