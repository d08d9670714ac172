"""Newton-Schulz is its polynomial of the singular values, near the polar factor, in float32 too, and of each matrix of a batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradlearn.polar import COEFFICIENTS, orthogonalise_


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 40), (2, 40, 5), (1, 1, 7)])
def test_newton_schulz_is_the_polynomial_of_the_singular_values(shape: tuple[int, ...]):
    """The iteration in exact arithmetic: each singular value goes through the same odd polynomials, the vectors stay."""
    for name, plan in COEFFICIENTS.items():
        x = draw(*shape)
        u, s, vt = torch.linalg.svd(x, full_matrices=False)
        s = s / torch.linalg.vector_norm(x, dim=(1, 2)).unsqueeze(1) / (1.02 if name == "polar_express" else 1.0)
        for k in range(5):
            a, b, c = plan[min(k, len(plan) - 1)]
            s = a * s + b * s**3 + c * s**5
        assert torch.allclose(orthogonalise_(x.clone(), 5, name), u * s.unsqueeze(1) @ vt, atol=1e-10)


@pytest.mark.parametrize(("name", "low", "high"), [("classic", 0.65, 1.25), ("polar_express", 0.85, 1.15)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_newton_schulz_is_near_the_polar_factor(name: str, low: float, high: float, dtype: torch.dtype):
    """Singular values within the known error of the coefficients, singular vectors those of the SVD."""
    x = draw(4, 24, 36, dtype=dtype)
    u, _, vt = torch.linalg.svd(x, full_matrices=False)
    middle = u.mT @ orthogonalise_(x.clone(), 5, name) @ vt.mT
    values = middle.diagonal(dim1=1, dim2=2)
    assert low < values.min()
    assert values.max() < high
    assert (middle - torch.diag_embed(values)).abs().max() < (1e-4 if dtype == torch.float32 else 1e-10)
    assert (1 - values).abs().mean() < (0.2 if name == "classic" else 0.1)


@pytest.mark.parametrize("shape", [(3, 64, 96), (3, 16, 200), (3, 200, 16)])
def test_newton_schulz_in_float32_is_newton_schulz_in_float64(shape: tuple[int, ...]):
    x = draw(*shape)
    exact = orthogonalise_(x.clone())
    assert (orthogonalise_(x.float()).double() - exact).abs().max() < 2e-5


def test_a_batch_larger_than_a_piece_is_its_matrices_one_by_one():
    x = draw(70, 25, 40, dtype=torch.float32)
    together = orthogonalise_(x.clone())
    alone = torch.cat([orthogonalise_(each.clone()) for each in x.split(1)])
    assert (together - alone).abs().max() < 1e-5


def test_zero_stays_zero():
    assert torch.equal(orthogonalise_(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("shape", [(3, 48, 96), (3, 32, 300), (3, 300, 32), (1, 128, 1152)])
def test_in_half_precision_it_is_as_near_the_polar_factor_though_singular_values_fall_over_three_decades(shape: tuple[int, ...]):
    """What a long matrix would do with the products of its small side alone: small singular values run away by rounding."""
    u, _, vt = torch.linalg.svd(draw(*shape, dtype=torch.float32), full_matrices=False)
    s = torch.logspace(0, -3, u.shape[2]).expand(shape[0], -1)
    x = u * s.unsqueeze(1) @ vt
    exact, half = (orthogonalise_(x.clone(), 3, "polar_express", precision=of) for of in ("float32", "bfloat16"))
    assert half.dtype == torch.float32
    assert torch.linalg.svdvals(half).max() < 1.05 * torch.linalg.svdvals(exact).max()
    cosine = (exact * half).sum((1, 2)) / torch.linalg.vector_norm(exact, dim=(1, 2)) / torch.linalg.vector_norm(half, dim=(1, 2))
    assert cosine.min() > 0.99
