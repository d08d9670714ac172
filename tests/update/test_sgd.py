"""SGD: torch's own, by its fused kernel where that does what it should."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradlearn.update.sgd import SGD


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_moves_as_in_torch(dtype: torch.dtype, momentum: float):
    """torch's fused kernel leaves such tensors as they are on a processor."""
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 40).to(dtype)) for _ in range(2))
    a = SGD([ours], lr=0.1, momentum=momentum, nesterov=momentum > 0, weight_decay=0.0)
    b = torch.optim.SGD([theirs], lr=0.1, momentum=momentum, nesterov=momentum > 0)
    for k in range(3):
        for p in (ours, theirs):
            p.grad = torch.full_like(p, 0.5 + k)
        a.step()
        b.step()
    assert torch.equal(ours, theirs)
    assert ours.detach().float().mean() < -0.1
