"""Elastic net: L1 at share 1, L2 at share 0, in between what scikit-learn minimises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.objective.elastic_net import ElasticNet
from gradlearn.objective.l1 import L1
from gradlearn.objective.l2 import L2


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("biases", [False, True])
def test_it_is_l1_and_l2_in_shares(share: float, biases: bool):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    with torch.no_grad():
        one, two = (penalty(weight=0.2, biases=biases)(model).item() for penalty in (L1, L2))
        found = ElasticNet(weight=0.2, share=share, biases=biases)(model).item()
    assert found == pytest.approx(share * one + (1 - share) * two, rel=1e-12)


def test_at_scikit_learns_minimum_its_gradient_is_zero_where_it_has_one():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 6, generator=g, dtype=torch.float64)
    y = x @ torch.tensor([2.0, -1.0, 0, 0, 0, 0.5], dtype=torch.float64) + 0.1 * torch.randn(60, generator=g, dtype=torch.float64)
    theirs = linear_model.ElasticNet(alpha=0.2, l1_ratio=0.4, fit_intercept=False, tol=1e-14, max_iter=100000).fit(
        x.numpy(), y.numpy()
    )
    model = nn.Linear(6, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(theirs.coef_)[None])
    ((model(x)[:, 0] - y).square().mean() / 2 + ElasticNet(weight=0.2, share=0.4)(model)).backward()
    there = model.weight.detach() != 0
    assert there.sum() >= 3
    assert model.weight.grad[there].abs().max() < 1e-7


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_zero_to_one_is_refused(share: float):
    with pytest.raises(InputTrouble, match=r"--elastic_net.share .*: must be in \[0, 1\]"):
        ElasticNet(share=share)
