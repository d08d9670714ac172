"""PSGD-Kron: the authors' formula written out for one tensor with the same draws, and what the fit is for: P g is white."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.errors import InputTrouble
from gradlearn.matrix import normal
from gradlearn.update.kron import Kron, drawn, spectral_bound

TINY = 2.0**-126


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bound(a: Tensor) -> float:
    """The authors' lower bound of a spectral norm, line by line."""
    largest = a.abs().max()
    a = a / largest
    squares = a * a
    columns, rows = squares.sum(0), squares.sum(1)
    if columns.max() > rows.max():
        x = a[:, columns.argmax()] @ a
        return float(largest * ((x / x.norm()) @ a.T).norm())
    x = a @ a[rows.argmax()]
    return float(largest * (a.T @ (x / x.norm())).norm())


def slow(w: Tensor, grads: list[Tensor], probes: list[Tensor], full: tuple[bool, bool], flat: int) -> Tensor:
    """A matrix (o, i): Qo and Qi as dense matrices, diagonal ones too; inverses as inverses."""
    w, m = w.clone(), torch.zeros_like(w)
    left, right = (torch.eye(n, dtype=w.dtype) for n in w.shape)
    for t, (g, v) in enumerate(zip(grads, probes, strict=True), start=1):
        m = 0.9 * m + 0.1 * g
        hat = m / (1 - 0.9**t)
        if chance.uniform(3, "kron", t)[0] < min(1.0, max(0.2, math.exp(-0.001 * (t - 1 - flat)))):
            if chance.uniform(3, "kron balance", t)[0] < 0.01:
                big = (left.abs().max() * right.abs().max()).sqrt()
                left, right = left * big / left.abs().max(), right * big / right.abs().max()
            a = left @ hat @ right.T
            b = torch.linalg.inv(left).T @ v @ torch.linalg.inv(right)
            new = []
            for q, dense, first, second in ((left, full[0], a @ a.T, b @ b.T), (right, full[1], a.T @ a, b.T @ b)):
                if dense:
                    new.append(q - 0.1 * torch.triu(first - second) / (bound(first + second) + TINY) @ q)
                else:
                    difference, total = (first - second).diagonal(), (first + second).diagonal()
                    new.append(q - torch.diag(0.1 * difference * q.diagonal() / (total.max() + TINY)))
            left, right = new
        u = left.T @ left @ hat @ right.T @ right
        u = u * min(1.0, 1.1 / float(u.square().mean().sqrt() + 1e-6))
        w = w - 0.01 * (u + 0.1 * w)
    return w


def made(*params: Any, **options: Any) -> Kron:
    return Kron(list(params), lr=0.01, weight_decay=0.1, seed=3, least=0.2, flat=30, **options)


@pytest.mark.parametrize(("shape", "full"), [((6, 4), (True, True)), ((4, 6), (True, True)), ((9, 4), (False, True))])
def test_a_hundred_steps_are_the_authors_formula_with_the_same_draws(shape: tuple[int, int], full: tuple[bool, bool]):
    """Two tensors of one shape, so a batch; a side past the cap has a diagonal Q. Balancing is in the first hundred steps."""
    params = [nn.Parameter(draw(*shape, seed=i)) for i in range(2)]
    update = made(*params, cap=8)
    grads = [[0.01 * draw(*shape, seed=1000 * i + t) for t in range(160)] for i in range(2)]
    for t in range(160):
        for p, own in zip(params, grads, strict=True):
            p.grad = own[t].clone()
        update.step()
    probes = [normal((2, 1, *shape), params[0], chance.key(3, "kron probe", t, 0)) for t in range(1, 161)]
    assert any(chance.uniform(3, "kron balance", t)[0] < 0.01 for t in range(1, 161))
    for i, p in enumerate(params):
        want = slow(draw(*shape, seed=i), grads[i], [v[i, 0] for v in probes], full, 30)
        assert (p - want).abs().max() < 1e-8


def test_a_vector_has_a_number_for_each_entry():
    p = nn.Parameter(draw(5))
    update = made(p)
    w, m, q = draw(5), torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    for t in range(1, 31):  # in the flat part of the schedule: fitted every time
        p.grad = draw(5, seed=t)
        update.step()
        m = 0.9 * m + 0.1 * draw(5, seed=t)
        hat = m / (1 - 0.9**t)
        a = (q * hat) ** 2
        b = (normal((1, 1, 1, 5), p, chance.key(3, "kron probe", t, 0)).flatten() / q) ** 2
        q = q - 0.1 * (a - b) * q / ((a + b).max() + TINY)
        u = q * q * hat
        w = w - 0.01 * (u * min(1.0, 1.1 / float(u.square().mean().sqrt() + 1e-6)) + 0.1 * w)
    assert (p - w).abs().max() < 1e-10
    assert update.state[p]["q2"].shape == (1, 5)


def test_what_it_makes_of_gradients_is_white():
    """E[P g g^T P] = 1 on both sides, from gradients whose rows and columns are stretched a hundredfold."""
    left, right = torch.diag(torch.logspace(-1, 1, 5, dtype=torch.float64)), torch.eye(4, dtype=torch.float64) + 0.5 * draw(4, 4)
    p = nn.Parameter(torch.zeros(5, 4, dtype=torch.float64))
    update = Kron([p], lr=0.0, momentum=0.0, flat=10_000)
    for t in range(1000):
        p.grad = left @ draw(5, 4, seed=t) @ right
        update.step()
    qo, qi = update.state[p]["q1"][0], update.state[p]["q2"][0]
    out = torch.stack([qo.T @ qo @ left @ draw(5, 4, seed=9000 + t) @ right @ qi.T @ qi for t in range(500)])
    covariance = out.flatten(1).T @ out.flatten(1) / 500
    values = torch.linalg.eigvalsh(covariance)
    assert values.max() / values.min() < 30  # of 1e4 and more before
    assert 0.3 < values.mean() < 3


def test_the_probability_is_one_then_falls_to_its_least():
    group = {"seed": 0, "least": 0.03, "flat": 500}
    assert all(drawn(group, t) for t in range(1, 501))
    assert 0.01 < sum(drawn(group, t) for t in range(5000, 9000)) / 4000 < 0.05


def test_the_bound_is_below_the_largest_eigenvalue_and_near():
    x = draw(20, 12, 30)
    a = x @ x.mT
    true = torch.linalg.eigvalsh(a).amax(1)
    found = spectral_bound(a).flatten()
    assert (found <= true * (1 + 1e-12)).all()
    assert (found > 0.8 * true).all()
    assert torch.equal(spectral_bound(torch.zeros(1, 3, 3)), torch.zeros(1, 1, 1))


def test_another_seed_is_another_walk_and_the_same_seed_the_same():
    ends = []
    for seed in (0, 0, 1):
        p = nn.Parameter(torch.ones(4, 3))
        update = Kron([p], lr=0.01, seed=seed)
        for t in range(20):
            p.grad = draw(4, 3, seed=t).float()
            update.step()
        ends.append(p.detach().clone())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_options_that_mean_nothing_are_refused():
    with pytest.raises(InputTrouble, match=r"--kron\.least"):
        Kron([nn.Parameter(torch.zeros(2))], least=0.0)
