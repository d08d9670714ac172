"""Split: each kind of tensor has its own update: hidden matrices one, the embedding, the head and all the rest another.

    theta_k <- theta_k - (lr rate_k) * u_k(g_k),        k = matrix, embedding, head, rest

One object: one list of groups, one state, one step. Muon's authors leave embeddings, the head, biases and norms to AdamW; here any
pair can be tried. Roles come from the groups ("role"); where these say none, tensors of two or more dimensions are matrices and
all others the rest. Equal to its parts run apart, bit for bit; state is theirs.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from gradlearn.around import Around
from gradlearn.errors import InputTrouble

__all__ = ["Split"]

_ROLES = ("matrix", "embedding", "head", "rest")


class Split(Around):
    """Routes groups by role. In direct use a part is a class, a function (params, lr) -> optimizer, or a name, ours or torch's.

    Args:
        params: tensors or groups of them, with `role` where it is known.
        lr: peak learning rate, above 0; each part's is this one times its entry of `rates`.
        matrix: the update of hidden matrices and convolutions.
        embedding: the update of embeddings.
        head: the update of the last matrix.
        rest: the update of biases, norms and all else.
        rates: learning rates of the four parts, in units of `lr`.
    """

    trial: ClassVar[dict[str, float]] = {"lr": 0.05}

    elementwise = False
    wraps = ("matrix", "embedding", "head", "rest")

    adaptive = True  # steps of about lr in every coordinate: the plan has a rule for it

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-2,
        matrix: Any = "muon",
        embedding: Any = "adamw",
        head: Any = "adamw",
        rest: Any = "adamw",
        rates: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    ) -> None:
        if len(rates) != 4 or min(rates) < 0.0:
            raise InputTrouble(f"--split.rates {rates}: four numbers of at least 0 are expected, of {', '.join(_ROLES)}")
        self._rates: dict[str, float] = dict(zip(_ROLES, rates, strict=True))
        super().__init__(params, lr, dict(zip(_ROLES, (matrix, embedding, head, rest), strict=True)))

    def share(self, group: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """The group as a whole where it says its role; else in two."""
        shares: dict[str, list[Any]] = {}
        for p in group["params"]:
            shares.setdefault(group.get("role", "matrix" if self._is_matrix(p) else "rest"), []).append(p)
        for role in shares:
            if role not in self._rates:
                raise InputTrouble(f"split: a group's role is {role!r}; expected one of {', '.join(_ROLES)}")
        return [(role, group | {"params": ps, "lr": group["lr"] * self._rates[role]}) for role, ps in shares.items()]

    def _is_matrix(self, p: torch.Tensor) -> bool:
        kind = self._makers["matrix"]
        flat = isinstance(kind, type) and issubclass(kind, torch.optim.Muon)  # torch's own knows no convolutions
        return p.ndim == 2 if flat else p.ndim >= 2

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_rates": self._rates}
