"""SOAP: the authors' algorithm written out for one tensor, every axis by its own tensordot, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn import sweep
from gradlearn.update.soap import SOAP

FULL = [(6, 6), (9, 9), (6, 6), (4, 3, 2, 2)]
CAPPED = [(8, 5), (5, 8), (8, 5), (4, 3, 2, 2), (20, 3)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def project(x: Tensor, bases: list[Tensor | None], back: bool = False) -> Tensor:
    """Each axis in turn by its basis; where there is none the axis only moves to the end."""
    for q in bases:
        x = x.movedim(0, -1) if q is None else torch.tensordot(x, q, dims=([0], [1 if back else 0]))
    return x


def slow(w: Tensor, grads: list[Tensor], cap: int, every: int = 10) -> Tensor:
    """(o, i) or (o, i, k). The momentum is kept as it is and projected in every step."""
    b1, b2, s, lr, decay, eps = 0.9, 0.95, 0.8, 0.01, 0.1, 1e-8
    w = w.clone()
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    axes = [a for a in range(w.ndim) if 1 < w.shape[a] <= cap]
    grams = {a: torch.zeros(w.shape[a], w.shape[a], dtype=w.dtype) for a in axes}
    bases: list[Tensor | None] = [None] * w.ndim
    for t, g in enumerate(grads):
        if t == 0:
            u = g / (g.abs() + eps)
        else:
            seen = project(g, bases)
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * seen * seen
            u = project(project(m, bases) / (v.sqrt() + eps), bases, back=True)
            u = u * (1 - b2**t) ** 0.5 / (1 - b1**t)
        w = w - lr * (u + decay * w)
        for a in axes:
            rest = [x for x in range(w.ndim) if x != a]
            grams[a] = s * grams[a] + (1 - s) * torch.tensordot(g, g, dims=(rest, rest))
            q = bases[a]
            if t == 0:
                bases[a] = torch.linalg.eigh(grams[a])[1].flip(1)
            elif t % every == 0 and q is not None:
                order = torch.argsort((q * (grams[a] @ q)).sum(0), descending=True)
                v = v.index_select(a, order)
                bases[a] = torch.linalg.qr((grams[a] @ q)[:, order])[0]
    return w


def stretched(shape: tuple[int, ...], seed: int) -> Tensor:
    """A gradient whose columns are of unlike lengths."""
    return draw(*shape, seed=seed) * torch.linspace(0.1, 3, shape[1], dtype=torch.float64).view(1, -1, *[1] * (len(shape) - 2))


@pytest.mark.parametrize("enough", [sweep.ENOUGH, 0])
@pytest.mark.parametrize(("cap", "shapes"), [(2048, FULL), (6, CAPPED)])
def test_a_hundred_steps_are_the_authors_algorithm(cap: int, shapes: list[tuple[int, ...]], enough: int, monkeypatch: Any):
    """Where the first gradient has full rank on every side: the eigenvectors of a null space are anyone's."""
    monkeypatch.setattr(sweep, "ENOUGH", enough)
    params = [nn.Parameter(draw(*shape, seed=i)) for i, shape in enumerate(shapes)]
    update = SOAP(params, lr=0.01, betas=(0.9, 0.95), basis_beta=0.8, weight_decay=0.1, cap=cap)
    grads = [[stretched(shape, 1000 * i + t) for t in range(100)] for i, shape in enumerate(shapes)]
    for t in range(100):
        for p, own in zip(params, grads, strict=True):
            p.grad = own[t].clone()
        update.step()
    for i, (p, own) in enumerate(zip(params, grads, strict=True)):
        merge = (lambda x: x.flatten(2)) if p.ndim > 2 else (lambda x: x)
        want = slow(merge(draw(*shapes[i], seed=i)), [merge(g) for g in own], cap).view(p.shape)
        assert (p - want).abs().max() < 1e-8, shapes[i]


def test_float32_follows_float64():
    start = draw(9, 9)
    a, b = nn.Parameter(start.clone()), nn.Parameter(start.float())
    first, second = SOAP([a], lr=0.01), SOAP([b], lr=0.01)
    for t in range(60):
        a.grad = draw(9, 9, seed=t) * torch.arange(1, 10)
        b.grad = a.grad.float()
        first.step()
        second.step()
    assert (a - b).norm() < 1e-3 * (a - start).norm()


def test_its_steps_turn_with_the_space():
    """u(A g B) = A u(g) B for orthogonal A, B: what Adam is not, and the point of it. From the second step on."""
    left, right = (torch.linalg.qr(draw(6, 6, seed=seed))[0] for seed in (6, 4))
    a, b = nn.Parameter(torch.zeros(6, 6, dtype=torch.float64)), nn.Parameter(torch.zeros(6, 6, dtype=torch.float64))
    first, second = SOAP([a], weight_decay=0.0), SOAP([b], weight_decay=0.0)
    for t in range(30):
        a.grad = stretched((6, 6), t)
        b.grad = left @ a.grad @ right
        first.step()
        second.step()
        if t == 0:
            with torch.no_grad():
                b.copy_(left @ a @ right)
    assert (left @ a @ right - b).abs().max() < 1e-9
    assert a.abs().max() > 1e-3


def test_a_side_past_the_cap_has_no_basis_and_a_vector_is_adamws():
    params = [nn.Parameter(draw(20, 3).float()), nn.Parameter(draw(20).float()), nn.Parameter(draw(20, 30).float())]
    update = SOAP(params, cap=10)
    assert sorted(update.state[params[0]]) == ["basis2", "exp_avg", "exp_avg_sq", "gram2", "step"]
    assert sorted(update.state[params[1]]) == sorted(update.state[params[2]]) == ["exp_avg", "exp_avg_sq", "step"]


def test_gates_have_bases_of_their_own():
    p = nn.Parameter(draw(12, 5))
    apart = [nn.Parameter(piece.clone()) for piece in p.detach().chunk(3)]
    together, split = SOAP([{"params": [p], "parts": 3}]), SOAP(apart)
    for t in range(25):
        p.grad = draw(12, 5, seed=t)
        for q, g in zip(apart, p.grad.chunk(3), strict=True):
            q.grad = g.clone()
        together.step()
        split.step()
    assert torch.equal(p, torch.cat(list(apart)))
