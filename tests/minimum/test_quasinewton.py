"""One descent: exact on quadratics, right at bounds, and the two memories agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gradlearn.minimum import quasinewton
from gradlearn.minimum.function import Calls, Function

F64 = torch.float64


def function(f, start, low=-math.inf, high=math.inf):
    def gradient(x):
        x = x.detach().requires_grad_()
        y = f(x)
        return float(y.detach()), torch.autograd.grad(y, x)[0]

    n = len(start)
    ends = torch.full((n,), low, dtype=F64), torch.full((n,), high, dtype=F64)
    return Function(Calls(lambda x: float(f(x)), gradient), start, *ends, 0.0)


@pytest.mark.parametrize("n", [5, 250])
def test_a_quadratic_ends_where_the_linear_solver_ends(n):
    g = torch.Generator().manual_seed(0)
    a = torch.randn(n, n, generator=g, dtype=F64) / math.sqrt(n)
    a = a @ a.T + torch.eye(n, dtype=F64)
    b = torch.randn(n, generator=g, dtype=F64)
    f = function(lambda x: 0.5 * x @ a @ x - b @ x, torch.zeros(n, dtype=F64))
    end = quasinewton.descend(f, f.start)
    assert end.why == "gradient"
    torch.testing.assert_close(end.x, torch.linalg.solve(a, b), rtol=1e-6, atol=1e-7)
    assert f.nfev == f.njev
    assert f.nfev < (25 if n == 5 else 80)


def test_the_memory_is_bfgs_written_out_slowly():
    g = torch.Generator().manual_seed(1)
    memory = quasinewton.Memory(5)
    pairs = [(s, s + 0.3 * torch.randn(5, generator=g, dtype=F64)) for s in torch.randn(4, 5, generator=g, dtype=F64)]
    pairs = [(s, y if s @ y > 0 else s) for s, y in pairs]
    for s, y in pairs:
        memory.learn(s.numpy(), y.numpy())
    h = torch.eye(5, dtype=F64) * (pairs[-1][0] @ pairs[-1][1]) / (pairs[-1][1] @ pairs[-1][1])
    for s, y in pairs:
        left = torch.eye(5, dtype=F64) - torch.outer(s, y) / (s @ y)
        h = left @ h @ left.T + torch.outer(s, s) / (s @ y)
    v = torch.randn(5, generator=g, dtype=F64)
    torch.testing.assert_close(torch.from_numpy(memory.times(v.numpy())), h @ v)


def test_the_memory_forgets_the_oldest():
    memory = quasinewton.Memory(3)
    g = torch.Generator().manual_seed(2)
    rows = torch.randn(quasinewton.PAIRS + 5, 3, generator=g, dtype=F64).numpy()
    other = quasinewton.Memory(3)
    for i, s in enumerate(rows):
        memory.learn(s, 2 * s + 0.1 * s[::-1])
        if i >= 5:
            other.learn(s, 2 * s + 0.1 * s[::-1])
    v = np.ones(3)
    np.testing.assert_allclose(memory.times(v), other.times(v))


def test_a_box_is_solved_as_by_clipping_where_coordinates_are_apart():
    c = torch.tensor([-3.0, 0.2, 7.0, 1.0], dtype=F64)
    f = function(lambda x: (torch.tensor([1.0, 50.0, 3.0, 1000.0]) * (x - c) ** 2).sum(), torch.zeros(4, dtype=F64), -1.0, 2.0)
    end = quasinewton.descend(f, f.start)
    torch.testing.assert_close(end.x, c.clamp(-1, 2), rtol=0, atol=1e-8)
    assert end.why == "gradient"


def test_every_point_asked_for_is_within_the_bounds():
    seen = []

    def f(x):
        seen.append(x.detach().clone())
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    quasinewton.descend(function(f, torch.full((4,), -0.5, dtype=F64), -1.0, 0.6), torch.full((4,), -0.5, dtype=F64))
    rows = torch.stack(seen)
    assert float(rows.min()) >= -1.0
    assert float(rows.max()) <= 0.6


def test_falling_without_end_is_told():
    f = function(lambda x: -x.pow(3).sum(), torch.ones(2, dtype=F64))
    assert quasinewton.descend(f, f.start).why == "unbounded"


def test_one_more_descent_of_a_solved_problem_takes_one_evaluation():
    f = function(lambda x: (x**2).sum(), torch.zeros(3, dtype=F64))
    assert quasinewton.descend(f, f.start).why == "gradient"
    assert f.nfev == 1


def test_pairs_of_very_different_scales_are_products_to_the_last_digits():
    """As two solves of triangles, which exchange no rows, and as the two loops over the pairs."""
    g = torch.Generator().manual_seed(3)
    memory = quasinewton.Memory(4)
    pairs = []
    for k in range(12):
        s = (10.0 ** (3 * k - 18) * torch.randn(4, generator=g, dtype=F64)).numpy()
        pairs.append((s, np.array([1.0, 30.0, 4.0, 0.5]) * s))
        memory.learn(*pairs[-1])
    q, shares = np.ones(4), []
    for s, y in reversed(pairs):
        shares.append((s @ q) / (s @ y))
        q = q - shares[-1] * y
    q = q * (pairs[-1][0] @ pairs[-1][1]) / (pairs[-1][1] @ pairs[-1][1])
    for (s, y), share in zip(pairs, reversed(shares), strict=True):
        q = q + (share - (y @ q) / (s @ y)) * s
    np.testing.assert_allclose(memory.times(np.ones(4)), q, rtol=1e-8)
