"""PSGD-Kron: a preconditioner P = Q^T Q for each side of a matrix, fitted while training so that P g is white, whatever g was.

    m <- b m + (1 - b) g;   A = Qo mhat Qi^T;   B = Qo^-T V Qi^-1, V ~ N(0, 1)
    Q <- Q - precond_lr * triu(A A^T - B B^T) / ||A A^T + B B^T|| Q        on each side, with a probability that falls
    u = Qo^T Qo mhat Qi^T Qi;   theta <- theta - lr * (min(1, 1.1 / rms(u)) u + weight_decay * theta)

Li, "Preconditioned stochastic gradient descent", 2018, and psgd_torch; the schedule of the probability and the clipping are
kron_torch's. The fit is a descent on a Lie group: no root, no inverse, nothing that can fail to converge. Solves more odd problems
(plateaus, saddles, bad scales) than any other update of LightBench. All draws are functions of `seed` and the step. Vectors have
one number for each entry. State of a matrix (o, i): o i + o^2 + i^2 numbers; a side longer than `cap` has a diagonal Q.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.errors import InputTrouble
from gradlearn.matrix import Family, Whole, act, exact, gram_, move, normal, shape_of

__all__ = ["Kron"]

_TINY = 2.0**-126


class Kron(Whole):
    """For every tensor.

    Args:
        params: tensors or groups of them; `parts=4` in a group of LSTM weights (3 for GRU) makes each gate a matrix of its own.
        lr: peak learning rate, above 0.
        momentum: memory of past gradients in [0, 1).
        weight_decay: pull towards zero, as a share of `lr` a step.
        precond_lr: length of a step of Q, above 0.
        flat: steps in which Q is fitted every time; the probability then falls by a thousandth a step.
        least: the probability to which it falls, in (0, 1].
        cap: the longest side that gets a triangular Q.
        seed: of the probe V and of when Q is fitted.
    """

    dimensions = 0
    trial: ClassVar[dict[str, float]] = {"lr": 0.05}

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 3e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.05,
        precond_lr: float = 0.1,
        flat: int = 500,
        least: float = 0.03,
        cap: int = 2048,
        seed: int = 0,
    ) -> None:
        if not 0.0 < least <= 1.0:
            raise InputTrouble(f"--kron.least {least}: must be in (0, 1]")
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "precond_lr": precond_lr}
        super().__init__(params, defaults | {"flat": flat, "least": least, "cap": cap, "seed": seed})

    def takes(self, p: Tensor, group: dict[str, Any]) -> bool:
        """All that holds a number."""
        return True

    def begin(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """The momentum, (parts, k, o, i); for each side Q = 1, (parts, n, n) or its diagonal (parts, n)."""
        shape = shape_of(p, group)
        like = {"dtype": exact(p), "device": p.device}
        state = {"momentum_buffer": torch.zeros(shape, **like)}
        matrix = sum(n > 1 for n in shape[1:]) > 1
        for side in present(shape):
            n = shape[1 + side]
            full = matrix and 1 < n <= group["cap"]
            state[f"q{side}"] = torch.eye(n, **like).repeat(shape[0], 1, 1) if full else torch.ones(shape[0], n, **like)
        return state

    def turn(self, families: list[Family], group: dict[str, Any], step: int) -> None:
        """One step for families of one age."""
        for family in families:
            self._turn(family, group, step)

    def _turn(self, family: Family, group: dict[str, Any], step: int) -> None:
        m = family.stack("momentum_buffer")
        m.lerp_(family.gradients(), 1.0 - group["momentum"])
        hat = m / (1.0 - group["momentum"] ** step)
        factors = {side: family.stack(f"q{side}") for side in present(m.shape)}
        if drawn(group, step):
            if len(factors) > 1 and chance.uniform(group["seed"], "kron balance", step)[0] < 0.01:
                balance_(list(factors.values()))
            own = family.params[0]
            first = next(i for i, p in enumerate(p for g in self.param_groups for p in g["params"]) if p is own)
            fit_(factors, hat, normal(m.shape, m, chance.key(group["seed"], "kron probe", step, first)), group["precond_lr"])
        u = hat
        for side, q in factors.items():
            u = times(q, times(q, u, side), side, transposed=True)
        rms = u.square().mean((1, 2, 3), keepdim=True).sqrt()
        u = u * (1.1 / (rms + 1e-6)).clamp(max=1.0)
        move(family.params, family.unfold(u), group["lr"], group["weight_decay"])


def present(shape: Any) -> tuple[int, ...]:
    """The sides of (..., k, o, i) that have a Q: those longer than 1; the last one of a single number."""
    return tuple(side for side, n in enumerate(shape[-3:]) if n > 1) or (2,)


def drawn(group: dict[str, Any], step: int) -> bool:
    """Whether Q is fitted in this step."""
    probability = min(1.0, max(group["least"], math.exp(-0.001 * (step - 1 - group["flat"]))))
    return bool(chance.uniform(group["seed"], "kron", step)[0] < probability)


def fit_(factors: dict[int, Tensor], hat: Tensor, probe: Tensor, rate: float) -> None:
    """One step of each Q from a pair of gradient and probe, (n, k, o, i)."""
    a, b = hat, probe
    for side, q in factors.items():
        a, b = times(q, a, side), solve(q, b, side)
    for side, q in factors.items():
        if q.ndim == 2:
            first, second = (x.square().movedim(1 + side, 1).flatten(2).sum(2) for x in (a, b))
            q.sub_((first - second) * rate * q / ((first + second).amax(1, keepdim=True) + _TINY))
        else:
            first, second = (gram_(torch.empty_like(q), x, side, 0.0, 1.0) for x in (a, b))
            length = spectral_bound(first + second) + _TINY
            q.sub_((first - second).triu_().mul_(rate / length) @ q)


def times(q: Tensor, x: Tensor, side: int, transposed: bool = False) -> Tensor:
    """Q (or its transpose) on one side of (n, k, o, i)."""
    if q.ndim == 3:
        return act(q.mT if transposed else q, x, side)
    return x * q.view([-1, *(q.shape[1] if axis == side else 1 for axis in range(3))])


def solve(q: Tensor, x: Tensor, side: int) -> Tensor:
    """Q^-T on one side of (n, k, o, i)."""
    if q.ndim == 2:
        return x / q.view([-1, *(q.shape[1] if axis == side else 1 for axis in range(3))])
    last = x.movedim(1 + side, 3)
    solved = torch.linalg.solve_triangular(q, last.flatten(1, 2), upper=True, left=False)
    return solved.view(last.shape).movedim(3, 1 + side).contiguous()


def spectral_bound(a: Tensor) -> Tensor:
    """A lower bound, mostly within a few percent, of the largest eigenvalue of each symmetric matrix: (n, s, s) -> (n, 1, 1)."""
    largest = a.abs().amax((1, 2), keepdim=True)
    a = a / torch.where(largest > 0.0, largest, 1.0)
    row = a.square().sum(2).argmax(1)
    x = a @ a[torch.arange(a.shape[0], device=a.device), row].unsqueeze(2)
    x = a @ (x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp(min=_TINY))
    return largest * torch.linalg.vector_norm(x, dim=1, keepdim=True)


def balance_(factors: list[Tensor]) -> None:
    """Equal largest entries on all sides; their product stays."""
    norms = torch.stack([q.abs().flatten(1).amax(1) for q in factors])  # (sides, n)
    for q, factor in zip(factors, norms.prod(0) ** (1.0 / len(factors)) / norms, strict=True):
        q.mul_(factor.view([-1, *[1] * (q.ndim - 1)]))
