"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner, where the curvature of a matrix is nearly diagonal.

    L <- s L + (1 - s) g g^T;   R <- s R + (1 - s) g^T g;   L = QL D QL^T, R = QR E QR^T   (at times, by a step of power iteration)
    g' = QL^T g QR;   m <- b1 m + (1 - b1) g';   v <- b2 v + (1 - b2) g'^2
    theta <- theta - lr * (QL (mhat / (sqrt(vhat) + eps)) QR^T + weight_decay * theta)

Vyas et al., "SOAP: improving and stabilizing Shampoo using Adam", 2024. Among the updates that need the fewest steps; six matrix
products a step. Convolutions have a third basis, over the places of the kernel. The first step is Adam's in the original basis,
and its moments are forgotten: a basis must not be made of the gradient that is turned into it. State of a matrix (o, i):
2 o i + 2 o^2 + 2 i^2 numbers; a side longer than `cap` has no basis; vectors are stepped by AdamW.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.matrix import Whole, act, active, exact, gradients, gram_, move, shape_of, sides, unfold, whole
from gradlearn.sweep import lerp, sqrt, sweep

__all__ = ["SOAP"]


def direction(m: Any, v: Any, g: Any, w1: float, w2: float, eps: float, scale: float) -> tuple[Any, ...]:
    """One coordinate: both moments, and Adam's direction in place of the gradient."""
    m = lerp(m, g, w1)
    v = lerp(v, g * g, w2)
    return m, v, m * scale / (sqrt(v) + eps)


class SOAP(Whole):
    """For every tensor of two or more dimensions with a side of at most `cap`.

    Args:
        params: tensors or groups of them; `parts=4` in a group of LSTM weights (3 for GRU) makes each gate a matrix of its own.
        lr: peak learning rate, above 0.
        betas: memory of the mean and of the square, each in [0, 1).
        basis_beta: memory of L and R, in [0, 1).
        eps: added to the root of the square, above 0.
        weight_decay: pull towards zero, as a share of `lr` a step.
        every: steps between two turns of the bases, at least 1.
        cap: the longest side that gets a basis.
    """

    adaptive = True  # steps of about lr in every coordinate: the plan has a rule for it

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.95, 0.95),
        basis_beta: float = 0.95,
        eps: float = 1e-8,
        weight_decay: float = 0.05,
        every: int = 10,
        cap: int = 2048,
    ) -> None:
        if not 0.0 <= basis_beta < 1.0:
            raise InputTrouble(f"--soap.basis_beta {basis_beta}: must be in [0, 1)")
        if every < 1:
            raise InputTrouble(f"--soap.every {every}: must be at least 1")
        defaults = {"lr": lr, "betas": betas, "basis_beta": basis_beta, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"every": every, "cap": cap})

    def takes(self, p: Tensor, group: dict[str, Any]) -> bool:
        """What has a side with a basis."""
        return bool(active(shape_of(p, group), group["cap"]))

    def begin(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """Moments in the eigenbasis, (parts, k, o, i); for each side the statistics (L, R) and the basis, (parts, n, n)."""
        shape = shape_of(p, group)
        like = {"dtype": exact(p), "device": p.device}
        state = {"exp_avg": torch.zeros(shape, **like), "exp_avg_sq": torch.zeros(shape, **like)}
        for side in active(shape, group["cap"]):
            n = shape[1 + side]
            state[f"gram{side}"] = torch.zeros(shape[0], n, n, **like)
            state[f"basis{side}"] = torch.eye(n, **like).repeat(shape[0], 1, 1)
        return state

    def turn(self, params: list[Tensor], group: dict[str, Any], step: int) -> None:
        """One step for tensors of one shape."""
        g = sides(gradients(params), shape_of(params[0], group)[0]).contiguous()
        where = active(g.shape, group["cap"])
        bases = {side: self.stack(params, f"basis{side}").flatten(0, 1) for side in where}
        grams = {side: self.stack(params, f"gram{side}").flatten(0, 1) for side in where}
        m, v = (self.stack(params, name).flatten(0, 1) for name in ("exp_avg", "exp_avg_sq"))
        if step == 1:
            u = g / (g.abs() + group["eps"])
        else:
            u = g
            for side in where:
                u = act(bases[side].mT, u, side)
            b1, b2 = group["betas"]
            scale = (1.0 - b2 ** (step - 1)) ** 0.5 / (1.0 - b1 ** (step - 1))
            sweep(direction, [[m], [v], [u]], [], (1.0 - b1, 1.0 - b2, group["eps"], scale))
            for side in where:
                u = act(bases[side], u, side)
        move(params, unfold(u, params), group["lr"], group["weight_decay"])
        for side in where:
            gram_(grams[side], g, side, group["basis_beta"], 1.0 - group["basis_beta"], half=True)
            if step == 1:
                bases[side].copy_(eigenbasis(grams[side]))
            elif (step - 1) % group["every"] == 0:
                old = bases[side].clone()
                order = turn_(bases[side], grams[side])
                index = order.view([-1, *(order.shape[1] if axis == side else 1 for axis in range(3))])
                v.copy_(torch.take_along_dim(v, index, 1 + side))
                m.copy_(act(bases[side].mT @ old, m, side))


def eigenbasis(gram: Tensor) -> Tensor:
    """Eigenvectors as columns, largest eigenvalue first: (n, s, s)."""
    try:
        return torch.linalg.eigh(gram, UPLO="U")[1].flip(2)
    except RuntimeError:  # float32 does not always converge
        return torch.linalg.eigh(gram.double(), UPLO="U")[1].flip(2).to(gram.dtype)


def turn_(basis: Tensor, gram: Tensor) -> Tensor:
    """One step of power iteration from the old basis, in place. Returns the new order of the old vectors, (n, s)."""
    product = whole(gram) @ basis
    order = (basis * product).sum(1).argsort(dim=1, descending=True, stable=True)
    basis.copy_(torch.linalg.qr(product.take_along_dim(order.unsqueeze(1), 2))[0])
    return order
