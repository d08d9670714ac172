"""Shampoo with grafting: the formula written out for one tensor in float64, its roots as powers of matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradlearn.update.shampoo import Shampoo, inverse_root

SHAPES = [(8, 5), (5, 8), (8, 5), (4, 3, 2, 2), (1, 6), (20, 3)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(w: Tensor, grads: list[Tensor], cap: int, damping: float, every: int = 5) -> Tensor:
    """(o, i) or (o, i, k)."""
    b1, b2, s, lr, decay = 0.8, 0.95, 0.9, 0.01, 0.1
    w = w.clone()
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    axes = [a for a in range(w.ndim) if 1 < w.shape[a] <= cap]
    grams = {a: torch.zeros(w.shape[a], w.shape[a], dtype=w.dtype) for a in axes}
    roots = {}
    for t, g in enumerate(grads, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        for a in axes:
            rest = [x for x in range(w.ndim) if x != a]
            grams[a] = s * grams[a] + (1 - s) * torch.tensordot(g, g, dims=(rest, rest))
            if t == 1 or t % every == 0:
                d, q = torch.linalg.eigh(grams[a] / (1 - s**t))
                roots[a] = q @ torch.diag((d - d.min().clamp(max=0) + damping) ** (-1 / (2 * len(axes)))) @ q.T
        adam = m / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + 1e-8)
        u = m
        for a in axes:
            u = torch.tensordot(roots[a], u, dims=([1], [a])).movedim(0, a)
        w = w - lr * (u * adam.norm() / u.norm() + decay * w)
    return w


@pytest.mark.parametrize("cap", [1024, 6])
def test_a_hundred_steps_are_the_formula(cap: int):
    params = [nn.Parameter(draw(*shape, seed=i)) for i, shape in enumerate(SHAPES)]
    update = Shampoo(params, lr=0.01, betas=(0.8, 0.95), root_beta=0.9, weight_decay=0.1, every=5, cap=cap, damping=1e-8)
    grads = [[draw(*p.shape, seed=1000 * i + t) for t in range(100)] for i, p in enumerate(params)]
    for t in range(100):
        for p, own in zip(params, grads, strict=True):
            p.grad = own[t].clone()
        update.step()
    for i, (p, own) in enumerate(zip(params, grads, strict=True)):
        merge = (lambda x: x.flatten(2)) if p.ndim > 2 else (lambda x: x)
        want = slow(merge(draw(*SHAPES[i], seed=i)), [merge(g) for g in own], cap, 1e-8).view(p.shape)
        assert (p - want).abs().max() < 1e-8, SHAPES[i]


def test_inverse_root_to_its_power_is_the_inverse():
    x = draw(3, 6, 9)
    gram = x @ x.mT
    for degree in (2, 4, 6):
        root = inverse_root(gram, degree, 1e-12)
        assert torch.allclose(
            torch.linalg.matrix_power(root, degree) @ gram, torch.eye(6, dtype=gram.dtype).expand(3, 6, 6), atol=1e-8
        )


def test_the_length_of_a_step_is_adams_and_its_direction_the_preconditioned_one():
    p = nn.Parameter(torch.zeros(7, 4, dtype=torch.float64))
    p.grad = draw(7, 4)
    Shampoo([p], lr=1.0, weight_decay=0.0).step()
    u, _, vt = torch.linalg.svd(p.grad, full_matrices=False)  # L^-1/4 g R^-1/4 of a first gradient is its polar factor
    step = -p.detach()
    assert abs(step.norm() - 28**0.5) < 1e-6
    assert torch.allclose(step / step.norm(), u @ vt / 2.0, atol=1e-5)


def test_float32_stays_finite_on_gradients_without_full_rank():
    p = nn.Parameter(torch.zeros(16, 12))
    update = Shampoo([p], lr=0.01)
    for t in range(40):
        p.grad = (draw(16, 1, seed=t) @ draw(1, 12, seed=t)).float() * 1e-3
        update.step()
    assert torch.isfinite(p).all()
    assert p.abs().max() < 1.0
