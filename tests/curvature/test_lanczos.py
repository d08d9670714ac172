"""Both ends of a spectrum against the dense one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradlearn.curvature.lanczos import lanczos


def matrix(values: Tensor, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(len(values), len(values), generator=g, dtype=torch.float64))[0]
    H = (Q * values) @ Q.T
    return (H + H.T) / 2


@pytest.mark.parametrize("n", [1, 2, 5, 39, 40, 41, 300])
def test_both_ends_are_the_dense_ones(n: int):
    H = matrix(torch.linspace(-1, 2, n).double() ** 3 + (torch.arange(n) == 0) * -1.0)
    found = lanczos(lambda v: H @ v, torch.zeros(n).double(), products=2000, tol=1e-8)
    true = torch.linalg.eigvalsh(H)
    assert found.converged
    assert found.values[0] == pytest.approx(float(true[0]), abs=1e-9)
    assert found.values[-1] == pytest.approx(float(true[-1]), abs=1e-9)
    for end in (0, -1):
        v = found.vectors[end]
        assert float(v.norm()) == pytest.approx(1.0, abs=1e-10)
        assert float((H @ v - found.values[end] * v).norm()) <= found.residuals[end] + 1e-10


def test_a_smallest_one_at_the_edge_of_a_cluster_is_found_by_restarts():
    """As networks have them: most near zero, one a little below, some large."""
    values = torch.cat([torch.linspace(0, 1e-2, 380), torch.linspace(0.1, 3, 19), torch.tensor([-2e-5])]).double()
    H = matrix(values)
    found = lanczos(lambda v: H @ v, torch.zeros(400).double(), products=3000, tol=1e-7)
    assert found.products > 40
    assert found.converged
    assert found.values[0] == pytest.approx(-2e-5, abs=1e-9)
    assert found.values[-1] == pytest.approx(3.0, abs=1e-8)


def test_repeated_eigenvalues_and_invariant_spaces_are_gone_through():
    H = torch.diag(torch.tensor([1.0, 1, 1, 2, 2, -3])).double()
    found = lanczos(lambda v: H @ v, torch.tensor([1.0, 0, 0, 0, 0, 0]).double())
    assert torch.allclose(found.values, torch.tensor([-3.0, 1, 1, 1, 2, 2]).double(), atol=1e-10)


def test_the_vectors_stay_orthogonal():
    H = matrix(torch.logspace(-12, 3, 200).double())
    found = lanczos(lambda v: H @ v, torch.zeros(200).double(), products=400)
    assert torch.allclose(found.vectors @ found.vectors.T, torch.eye(len(found.vectors)).double(), atol=1e-12)


def test_no_more_products_than_allowed_and_the_truth_about_it():
    H = matrix(torch.linspace(0, 1, 500).double())
    found = lanczos(lambda v: H @ v, torch.zeros(500).double(), products=25, tol=1e-12)
    assert found.products == 25
    assert not found.converged
    assert float(found.residuals[0]) > 0


def test_the_same_seed_is_the_same_start():
    H = matrix(torch.linspace(0, 1, 60).double())
    a, b, c = (lanczos(lambda v: H @ v, torch.zeros(60).double(), products=20, seed=s) for s in (1, 1, 2))
    assert torch.equal(a.values, b.values)
    assert not torch.equal(a.values, c.values)
