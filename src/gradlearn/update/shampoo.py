"""Shampoo with grafting: each matrix's gradient is divided by the root of its own second moments, from both sides.

    L <- s L + (1 - s) g g^T;   R <- s R + (1 - s) g^T g;   m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
    u = Lhat^(-1/4) mhat Rhat^(-1/4);   a = mhat / (sqrt(vhat) + 1e-8)                 (one root a side: -1/6 for convolutions)
    theta <- theta - lr * (u ||a|| / ||u|| + weight_decay * theta)

Gupta, Koren, Singer, ICML 2018; Shi et al., "A distributed data-parallel PyTorch implementation of Shampoo", 2023: the direction is
Shampoo's, the length is Adam's. Its external tuning won AlgoPerf; SOAP is the same idea with fresher scales, and less sensitive to
`every`. Roots by eigenvalues. State of a matrix (o, i): 2 o i + 2 o^2 + 2 i^2 numbers; a side longer than `cap` has no root;
vectors are stepped by AdamW.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.matrix import Family, Whole, act, active, adam, exact, gram_, move, shape_of

__all__ = ["Shampoo"]


class Shampoo(Whole):
    """For every tensor of two or more dimensions with a side of at most `cap`.

    Args:
        params: tensors or groups of them; `parts=4` in a group of LSTM weights (3 for GRU) makes each gate a matrix of its own.
        lr: peak learning rate, above 0; as AdamW's.
        betas: memory of the mean and of the square, each in [0, 1).
        root_beta: memory of L and R, in [0, 1).
        damping: added to the eigenvalues of L and R, above 0; not above 1e-8.
        eps: Adam's, above 0.
        weight_decay: pull towards zero, as a share of `lr` a step.
        every: steps between two computations of the roots, at least 1.
        cap: the longest side that gets a root.
    """

    adaptive = True  # steps of about lr in every coordinate: the plan has a rule for it

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.99),
        root_beta: float = 0.95,
        damping: float = 1e-12,
        eps: float = 1e-8,
        weight_decay: float = 0.05,
        every: int = 10,
        cap: int = 1024,
    ) -> None:
        if not 0.0 <= root_beta < 1.0:
            raise InputTrouble(f"--shampoo.root_beta {root_beta}: must be in [0, 1)")
        if every < 1:
            raise InputTrouble(f"--shampoo.every {every}: must be at least 1")
        defaults = {"lr": lr, "betas": betas, "root_beta": root_beta, "damping": damping, "eps": eps}
        super().__init__(params, defaults | {"weight_decay": weight_decay, "every": every, "cap": cap})

    def takes(self, p: Tensor, group: dict[str, Any]) -> bool:
        """What has a side with a root."""
        return bool(active(shape_of(p, group), group["cap"]))

    def begin(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """Both moments, (parts, k, o, i); for each side the statistics (L, R) and their root, (parts, n, n)."""
        shape = shape_of(p, group)
        like = {"dtype": exact(p), "device": p.device}
        state = {"exp_avg": torch.zeros(shape, **like), "exp_avg_sq": torch.zeros(shape, **like)}
        for side in active(shape, group["cap"]):
            n = shape[1 + side]
            state[f"gram{side}"] = torch.zeros(shape[0], n, n, **like)
            state[f"root{side}"] = torch.eye(n, **like).repeat(shape[0], 1, 1)
        return state

    def turn(self, families: list[Family], group: dict[str, Any], step: int) -> None:
        """One step for families of one age."""
        grads = [family.gradients() for family in families]
        m, v = ([family.stack(name) for family in families] for name in ("exp_avg", "exp_avg_sq"))
        lengths = adam(m, v, grads, group["betas"], group["eps"], step)
        params, steps = [], []
        for family, g, own, adams in zip(families, grads, m, lengths, strict=True):
            u = self._rooted(family, g, own, group, step)
            u = u * (norm(adams) / norm(u).clamp(min=1e-30))
            params += family.params
            steps += family.unfold(u)
        move(params, steps, group["lr"], group["weight_decay"])

    @staticmethod
    def _rooted(family: Family, g: Tensor, m: Tensor, group: dict[str, Any], step: int) -> Tensor:
        """L^-1/p m R^-1/p, the roots of the statistics made anew where it is time to."""
        where, beta = active(family.shape, group["cap"]), group["root_beta"]
        for side in where:
            root, gram = family.stack(f"root{side}"), gram_(family.stack(f"gram{side}"), g, side, beta, 1.0 - beta, half=True)
            if step == 1 or step % group["every"] == 0:
                root.copy_(inverse_root(gram / (1.0 - beta**step), 2 * len(where), group["damping"]))
            m = act(root, m, side)
        return m


def norm(x: Tensor) -> Tensor:
    """The length of each: (n, k, o, i) -> (n, 1, 1, 1)."""
    return torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True)


def inverse_root(gram: Tensor, degree: int, damping: float) -> Tensor:
    """(gram + damping)^(-1 / degree) of (n, s, s), its upper half; eigenvalues that rounding made negative count as zero."""
    try:
        values, vectors = torch.linalg.eigh(gram, UPLO="U")
    except RuntimeError:  # float32 does not always converge
        values, vectors = (x.to(gram.dtype) for x in torch.linalg.eigh(gram.double(), UPLO="U"))
    values = values - values[:, :1].clamp(max=0.0) + damping
    return (vectors * values.pow(-1.0 / degree).unsqueeze(1)) @ vectors.mT
