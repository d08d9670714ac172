"""A hundred steps of an update and of its oracle on one noisy bowl, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Slow = Callable[[list[Tensor], list[Tensor], float, int], None]  # params, grads, loss, t from 1: one step, in place

SHAPES = [(4, 3), (5,), ()]


def start() -> list[nn.Parameter]:
    """Where both begin."""
    g = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=g, dtype=torch.float64)) for shape in SHAPES]


def slope(params: list[Any], t: int) -> tuple[float, list[Tensor]]:
    """Loss and gradient of a bowl with other stiffness in each coordinate, with noise that depends on t only."""
    g = torch.Generator().manual_seed(100 + t)
    loss, grads = 0.0, []
    for p in params:
        stiff = torch.linspace(0.3, 3.0, max(p.numel(), 1), dtype=torch.float64).reshape(p.shape)
        noise = 0.3 * torch.randn(p.shape, generator=g, dtype=torch.float64)
        x = p.detach() - 0.5
        loss += (0.5 * stiff * x * x).sum().item() + 1.0
        grads.append(stiff * x + noise)
    return loss, grads


def rate(t: int, lr: float) -> float:
    """A rate that changes with the step."""
    return lr * (1.0 + 0.5 * (t % 5))


def ours(update: Any, params: list[nn.Parameter], lr: float, steps: int = 100) -> list[Tensor]:
    """Where the update goes; the loss comes with the closure."""
    for t in range(1, steps + 1):
        for group in update.param_groups:
            group["lr"] = rate(t, lr)

        def closure(t: int = t) -> float:
            loss, grads = slope(params, t)
            for p, g in zip(params, grads, strict=True):
                p.grad = g
            return loss

        update.step(closure)
    return [p.detach().clone() for p in params]


def slowly(step: Slow, steps: int = 100) -> list[Tensor]:
    """Where a formula goes that is written out slowly."""
    params = [p.detach().clone() for p in start()]
    for t in range(1, steps + 1):
        loss, grads = slope(params, t)
        step(params, grads, loss, t)
    return params


def close(a: list[Tensor], b: list[Tensor], tolerance: float = 1e-12) -> bool:
    """Equal to rounding, and gone somewhere."""
    moved = all((p - q.detach()).abs().max() > 1e-4 for p, q in zip(a, start(), strict=True))
    return moved and all(torch.allclose(p, q, rtol=tolerance, atol=tolerance) for p, q in zip(a, b, strict=True))


def as_torchs(kind: type, twin: type, lr: float, mine: dict[str, Any], theirs: dict[str, Any], tolerance: float = 1e-12) -> bool:
    """Whether a hundred steps are those of a class of torch's, its loop over single tensors."""
    a, b = start(), start()
    return close(ours(kind(a, lr=lr, **mine), a, lr), ours(twin(b, lr=lr, foreach=False, **theirs), b, lr), tolerance)
