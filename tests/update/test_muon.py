"""Muon: the formula written out slowly in float64, torch's own in one shape, and what is a matrix."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.polar import orthogonalise_
from gradlearn.update.muon import Muon

OPTIONS: list[dict[str, Any]] = [{}, {"coefficients": "polar_express"}, {"normalise": True}, {"scale": "original"}]
SHAPES = [(12, 7), (7, 12), (12, 7), (6, 4, 3, 3), (5, 5)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def polynomial(x: Tensor, name: str = "classic") -> Tensor:
    """Five steps on one matrix, by its singular values."""
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    s = s / x.norm() / (1.02 if name == "polar_express" else 1.0)
    express = [(8.15655, -22.48329, 15.87877), (4.04293, -2.80892, 0.50002), (3.89167, -2.77248, 0.50606)]
    express += [(3.28575, -2.36813, 0.46449), (2.34654, -1.70978, 0.42324)]
    for a, b, c in [(3.4445, -4.7750, 2.0315)] * 5 if name == "classic" else express:
        s = a * s + b * s**3 + c * s**5
    return u @ torch.diag(s) @ vt


def slow(w: Tensor, grads: list[Tensor], lr: float, options: dict[str, Any]) -> Tensor:
    """One tensor, one formula, float64."""
    w, m, rows = w.clone(), torch.zeros_like(w), torch.zeros(w.shape[0], 1, dtype=w.dtype)
    for t, g in enumerate(grads):
        m = 0.95 * m + 0.05 * g
        u = polynomial((0.05 * g + 0.95 * m).flatten(1), options.get("coefficients", "classic"))
        if options.get("normalise"):
            before = u.norm()
            rows = 0.95 * rows + 0.05 * (u * u).mean(1, keepdim=True)
            u = u / rows.sqrt()
            u = u * before / u.norm()
        long, wide = u.shape
        scale = 0.2 * max(long, wide) ** 0.5 if options.get("scale", "rms") == "rms" else max(1, long / wide) ** 0.5
        rate = lr * (1 + t % 3)
        w = w - rate * (scale * u.view(w.shape) + 0.1 * w)
    return w


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
@pytest.mark.parametrize(
    "options",
    [{}, {"coefficients": "polar_express"}, {"normalise": True}, {"scale": "original"}],
    ids=lambda o: "-".join(o) or "plain",
)
def test_a_hundred_steps_are_the_formula(options: dict[str, Any], dtype: torch.dtype, close: float):
    params = [nn.Parameter(draw(*shape, seed=i).to(dtype)) for i, shape in enumerate(SHAPES)]
    update = Muon(params, lr=0.01, weight_decay=0.1, **options)
    grads = [[draw(*p.shape, seed=1000 * i + t) for t in range(100)] for i, p in enumerate(params)]
    for t in range(100):
        for p, own in zip(params, grads, strict=True):
            p.grad = own[t].to(dtype)
        update.param_groups[0]["lr"] = 0.01 * (1 + t % 3)
        update.step()
    for i, (p, own) in enumerate(zip(params, grads, strict=True)):
        want = slow(draw(*SHAPES[i], seed=i), own, 0.01, options)
        tolerance = close if "coefficients" not in options else max(close, 1e-4)  # the reference has them to five places
        assert (p.double() - want).abs().max() < tolerance * 10


@pytest.mark.parametrize(("precision", "close"), [("float32", 0.03), ("bfloat16", 0.015)])
def test_it_is_torchs_muon_but_for_the_rounding_of_bfloat16(precision: str, close: float):
    """torch iterates in bfloat16, whose error over ten steps is about a percent of the way; all else is the same."""
    a, b = nn.Parameter(draw(16, 9).float()), nn.Parameter(draw(16, 9).float())
    ours = Muon([a], lr=0.02, weight_decay=0.0, precision=precision)
    theirs = torch.optim.Muon([b], lr=0.02, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    start = a.detach().clone()
    for t in range(10):
        a.grad = draw(16, 9, seed=t + 1).float()
        b.grad = a.grad.clone()
        ours.step()
        theirs.step()
    assert (a - b).norm() < close * (a - start).norm()


def test_in_half_precision_a_step_goes_along_the_factor_in_half_precision_and_to_no_other_place():
    g, moved = draw(16, 40).float(), {}
    for precision in ("float32", "bfloat16"):
        p = nn.Parameter(torch.zeros(16, 40))
        p.grad = g.clone()
        Muon([p], lr=1.0, precision=precision).step()
        u = orthogonalise_((g * (0.05 + 0.95 * 0.05)).unsqueeze(0), precision=precision)[0]
        moved[precision] = p.detach()
        torch.testing.assert_close(-p.detach(), 0.2 * 40**0.5 * u, rtol=2e-2 if precision == "bfloat16" else 1e-4, atol=2e-3)
        assert Muon([p], precision=precision).writable() is (precision == "float32"), "programs know no half precision"
    assert not torch.equal(moved["float32"], moved["bfloat16"])


def test_every_step_is_as_long_as_adamws():
    """Root mean square about 0.2 lr for every shape, where the momentum has full rank."""
    for shape in ((30, 30), (10, 60), (60, 10), (8, 4, 3, 3)):
        p = nn.Parameter(torch.zeros(shape))
        p.grad = draw(*shape).float()
        Muon([p], lr=1.0).step()
        assert 0.15 < p.detach().square().mean().sqrt() < 0.25


def test_gates_are_matrices_of_their_own():
    p = nn.Parameter(draw(12, 5))
    apart = [nn.Parameter(piece.clone()) for piece in p.detach().chunk(3)]
    together, split = Muon([{"params": [p], "parts": 3}], lr=0.1), Muon(apart, lr=0.1)
    for t in range(5):
        p.grad = draw(12, 5, seed=t)
        for q, g in zip(apart, p.grad.chunk(3), strict=True):
            q.grad = g.clone()
        together.step()
        split.step()
    assert torch.equal(p, torch.cat(list(apart)))
    assert together.state[p]["momentum_buffer"].shape == (3, 4, 5)


def test_embeddings_head_biases_and_norms_are_stepped_by_adamw():
    params = [nn.Parameter(draw(6, 4, seed=i).float()) for i in range(4)]
    twins = [nn.Parameter(p.detach().clone()) for p in params]
    roles = ("matrix", "embedding", "head", "rest")
    ours = Muon([{"params": [p], "role": role} for p, role in zip(params, roles, strict=True)], lr=0.01, weight_decay=0.1)
    theirs = torch.optim.AdamW(twins, lr=0.01, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    for t in range(5):
        for p, q in zip(params, twins, strict=True):
            p.grad = draw(6, 4, seed=t).float()
            q.grad = p.grad.clone()
        ours.step()
        theirs.step()
    assert [torch.equal(p, q) for p, q in zip(params, twins, strict=True)] == [False, True, True, True]


@pytest.mark.parametrize(
    "bad", [{"coefficients": "classical"}, {"precision": "float16"}, {"scale": "rsm"}, {"momentum": 1.0}, {"steps": 0}]
)
def test_options_that_mean_nothing_are_refused(bad: dict[str, Any]):
    with pytest.raises(InputTrouble, match=rf"--muon\.{next(iter(bad))}"):
        Muon([nn.Parameter(torch.zeros(2, 2))], **bad)
