"""The largest curvature of a batch: that of the dense Hessian, without a trace, and None where there is none to be had."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.adapt import loss_of
from gradlearn.curvature.edge import largest
from gradlearn.symbols import Batch, Losses


class Mean:
    data = None

    def __init__(self, model: nn.Module) -> None:
        self.model, self.loss = model, loss_of("mse")

    def __call__(self, batch: Batch) -> Losses:
        return self.loss(self.model(batch.x), batch.y)


def batch(n: int = 64) -> Batch:
    g = torch.Generator().manual_seed(0)
    return Batch(torch.randn(n, 5, generator=g), torch.randn(n, 1, generator=g), torch.arange(n))


def test_it_is_the_largest_eigenvalue_of_the_dense_hessian():
    torch.manual_seed(0)
    model, some = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1)), batch()
    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    shapes = {k: p.shape for k, p in model.named_parameters()}

    def f(x: Tensor) -> Tensor:
        parts = x.split([s.numel() for s in shapes.values()])
        given = {k: part.view(s) for (k, s), part in zip(shapes.items(), parts, strict=True)}
        return (torch.func.functional_call(model, given, (some.x,)) - some.y).square().mean()

    top = torch.linalg.eigvalsh(torch.autograd.functional.hessian(f, start))[-1].item()  # pyright: ignore
    random = torch.get_rng_state()
    assert largest(Mean(model), some) == pytest.approx(top, rel=1e-3)
    assert torch.equal(random, torch.get_rng_state())
    assert torch.equal(start, nn.utils.parameters_to_vector(model.parameters()).detach())


def test_little_time_is_ten_products():
    model = nn.Linear(5, 1)
    assert largest(Mean(model), batch(), seconds=0.0) == pytest.approx(largest(Mean(model), batch()) or 0.0, rel=1e-3)


def test_a_layer_that_refuses_gives_none():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
            raise RuntimeError("no derivative here")

    class Refusing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return Once.apply(self.inner(x))  # type: ignore[return-value]

    assert largest(Mean(Refusing()), batch()) is None
