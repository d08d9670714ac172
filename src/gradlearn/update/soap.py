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
from gradlearn.matrix import Family, Whole, act, active, adam, exact, gram_, move, shape_of, whole

__all__ = ["SOAP"]


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

    def turn(self, families: list[Family], group: dict[str, Any], step: int) -> None:
        """One step for families of one age: each turned into its eigenbases, Adam's step for all, each turned back."""
        found = [Turned(family, group["cap"]) for family in families]
        if step == 1:
            u = [each.g / (each.g.abs() + group["eps"]) for each in found]
        else:
            scale = (1.0 - group["betas"][1] ** (step - 1)) ** 0.5  # SOAP adds eps before the correction of the square, AdamW after
            turned = [each.into(each.g) for each in found]
            u = adam([e.m for e in found], [e.v for e in found], turned, group["betas"], group["eps"] / scale, step - 1)
            u = [each.back(x) for each, x in zip(found, u, strict=True)]
        params = [p for family in families for p in family.params]
        steps = [x for family, each in zip(families, u, strict=True) for x in family.unfold(each)]
        move(params, steps, group["lr"], group["weight_decay"])
        for each in found:
            each.learn(group["basis_beta"], step == 1, (step - 1) % group["every"] == 0)


class Turned:
    """A family's gradients, moments and bases: (n parts, k, o, i), or (n parts, o, i) where k is 1."""

    __slots__ = ("bases", "family", "g", "m", "v", "where")

    def __init__(self, family: Family, cap: int) -> None:
        self.family, self.where = family, active(family.shape, cap)
        self.bases = [family.stack(f"basis{side}") for side in self.where]
        self.g, self.m, self.v = family.gradients(), family.stack("exp_avg"), family.stack("exp_avg_sq")
        if family.shape[1] == 1:
            self.g, self.m, self.v = self.g.squeeze(1), self.m.squeeze(1), self.v.squeeze(1)

    def into(self, x: Tensor) -> Tensor:
        """x in the eigenbases."""
        for side, basis in zip(self.where, self.bases, strict=True):
            x = act(basis.mT, x, side)
        return x

    def back(self, x: Tensor) -> Tensor:
        """x out of the eigenbases."""
        for side, basis in zip(self.where, self.bases, strict=True):
            x = act(basis, x, side)
        return x

    def learn(self, beta: float, first: bool, turn: bool) -> None:
        """Take the gradient into the statistics, and turn the bases, with the moments in them, where it is time to."""
        for side, basis in zip(self.where, self.bases, strict=True):
            gram = gram_(self.family.stack(f"gram{side}"), self.g, side, beta, 1.0 - beta, half=True)
            if first:
                basis.copy_(eigenbasis(gram))
            elif turn:
                old = basis.clone()
                order = turn_(basis, gram)
                axis = side if self.m.ndim == 4 else side - 1
                index = order.view([-1, *(order.shape[1] if i == axis else 1 for i in range(self.m.ndim - 1))])
                self.v.copy_(torch.take_along_dim(self.v, index, 1 + axis))
                self.m.copy_(act(basis.mT, act(old, self.m, side), side))


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
