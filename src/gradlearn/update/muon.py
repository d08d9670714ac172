"""Muon: the momentum of each matrix is made orthogonal, so that all directions move equally far, not only the few that dominate.

    m <- b m + (1 - b) g;   u = NS5((1 - b) g + b m) = about U V^T of its singular value decomposition
    theta <- theta - lr * (0.2 sqrt(max(rows, columns)) * u + weight_decay * theta)

Jordan et al., "Muon", 2024; the scale is Liu et al., "Muon is scalable for LLM training", 2025: a step is as long as AdamW's, so
its rate and decay serve both. NorMuon: Li et al., 2025. For hidden matrices and convolutions; embeddings, head, biases and norms
are stepped by AdamW, in the same object. Fewer steps than AdamW, at fifteen matrix products a step: pays where a gradient costs
more than that. One number of state for each entry of a matrix, two for each of the rest.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble, nearest
from gradlearn.matrix import Family, Whole, exact, move, write_adamw
from gradlearn.polar import COEFFICIENTS, orthogonalise_

__all__ = ["Muon"]


class Muon(Whole):
    """For groups of role "matrix", or every tensor of two or more dimensions where nothing says the role.

    Args:
        params: tensors or groups of them; `parts=4` in a group of LSTM weights (3 for GRU) makes each gate a matrix of its own.
        lr: peak learning rate, above 0; as AdamW's.
        momentum: memory of past gradients in [0, 1).
        nesterov: look one step ahead with the momentum.
        weight_decay: pull towards zero, as a share of `lr` a step.
        steps: Newton-Schulz iterations, at least 1.
        coefficients: of the iteration: "classic", or "polar_express" (closer to orthogonal at equal cost).
        precision: of its products: "float32", or "bfloat16", several times as fast on a processor with AMX.
        scale: "rms" (as long as AdamW's steps) or "original" (sqrt(max(1, rows / columns)), with `lr` about 0.02).
        normalise: NorMuon: rows of the orthogonal matrix are divided by the root of their mean square so far.
        row_beta: memory of that mean square, in [0, 1).
        betas: AdamW's memories for all that is no matrix.
        eps: AdamW's, above 0.
    """

    trial: ClassVar[dict[str, float]] = {"lr": 0.1}

    adaptive = True  # steps of about lr in every coordinate: the plan has a rule for it

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-2,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.05,
        steps: int = 5,
        coefficients: str = "classic",
        precision: str = "float32",
        scale: str = "rms",
        normalise: bool = False,
        row_beta: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
    ) -> None:
        if coefficients not in COEFFICIENTS:
            raise InputTrouble(f"--muon.coefficients {coefficients!r}: not known{nearest(coefficients, tuple(COEFFICIENTS))}")
        if precision not in ("float32", "bfloat16"):
            raise InputTrouble(f"--muon.precision {precision!r}: not known{nearest(precision, ('float32', 'bfloat16'))}")
        if scale not in ("rms", "original"):
            raise InputTrouble(f"--muon.scale {scale!r}: not known{nearest(scale, ('rms', 'original'))}")
        if not 0.0 <= row_beta < 1.0:
            raise InputTrouble(f"--muon.row_beta {row_beta}: must be in [0, 1)")
        if steps < 1:
            raise InputTrouble(f"--muon.steps {steps}: must be at least 1")
        defaults = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay, "steps": steps}
        defaults |= {"coefficients": coefficients, "precision": precision, "scale": scale}
        defaults |= {"normalise": normalise, "row_beta": row_beta}
        super().__init__(params, defaults | {"betas": betas, "eps": eps})

    def takes(self, p: Tensor, group: dict[str, Any]) -> bool:
        """Hidden matrices and convolutions; what has one row or column has one direction, and is a vector."""
        return group.get("role", "matrix") in ("matrix", "all") and min(p.shape[0] // group["parts"], p.numel() // p.shape[0]) > 1

    def begin(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """The momentum, (parts, o, i k); the mean square of each row, where it is asked for."""
        shape = (group["parts"], p.shape[0] // group["parts"], p.numel() // p.shape[0])
        state = {"momentum_buffer": torch.zeros(shape, dtype=exact(p), device=p.device)}
        if group["normalise"]:
            state["row_sq"] = torch.zeros((*shape[:2], 1), dtype=exact(p), device=p.device)
        return state

    def turn(self, families: list[Family], group: dict[str, Any], step: int) -> None:
        """One step for families of one age."""
        params, steps = [], []
        for family in families:
            m = family.stack("momentum_buffer")  # (n parts, o, i k)
            g = torch.stack([p.grad for p in family.params if p.grad is not None]).to(exact(family.params[0])).reshape(m.shape)
            m.lerp_(g, 1.0 - group["momentum"])
            u = g.lerp_(m, group["momentum"]) if group["nesterov"] else g.copy_(m)
            orthogonalise_(u, group["steps"], group["coefficients"], group.get("precision", "float32"))
            if group["normalise"]:
                u = self._level(u, family.stack("row_sq"), group["row_beta"])
            rows, columns = m.shape[1:]
            scale = 0.2 * max(rows, columns) ** 0.5 if group["scale"] == "rms" else max(1.0, rows / columns) ** 0.5
            params += family.params
            steps += u.mul_(scale).view(-1, *family.params[0].shape).unbind()
        move(params, steps, group["lr"], group["weight_decay"])

    def writable(self) -> bool:
        """Without NorMuon's rows, in float32, and where all tensors of a group have taken equally many steps."""
        return self.of_one_age() and not any(
            group["normalise"] or group.get("precision", "float32") != "float32" for group in self.param_groups
        )

    def write(self, pen: Any) -> None:
        """A step, with the pen of a program: momentum, orthogonal factor, theta; AdamW for the others."""
        for index, group in enumerate(self.param_groups):
            write_adamw(pen, self, index, [p for p in group["params"] if p.numel() and not self._mine(p, group)])
            alike: dict[tuple[Any, ...], list[Tensor]] = {}
            for p in group["params"]:
                if self._mine(p, group):
                    alike.setdefault((p.shape, p.dtype), []).append(p)
            for params in alike.values():
                self._write_alike(pen, index, params)

    def _write_alike(self, pen: Any, index: int, params: list[Tensor]) -> None:
        """Matrices of one shape, as one batch."""
        group, size = self.param_groups[index], params[0].numel()
        parts, rows, columns = self.state[params[0]]["momentum_buffer"].shape
        scale = 0.2 * max(rows, columns) ** 0.5 if group["scale"] == "rms" else max(1.0, rows / columns) ** 0.5
        look = group["momentum"] if group["nesterov"] else 1.0
        u = pen.new((len(params) * parts, rows, columns), exact(params[0]))
        given = pen.numbers(
            lambda: self.param_groups[index],
            lambda g, _, lr: (1.0 - lr * g["weight_decay"], lr * scale),
            lambda: int(self.state[params[0]]["step"]),
        )
        for k, p in enumerate(params):
            pen.momentum(p, lambda p=p: self.state[p]["momentum_buffer"], u, k * size, 1.0 - group["momentum"], look)
        pen.operate(lambda x: orthogonalise_(x, group["steps"], group["coefficients"]), u)
        for k, p in enumerate(params):
            pen.move(p, u, k * size, given)
        pen.after.append(lambda steps: [self.state[p]["step"].add_(float(steps)) for p in params])

    @staticmethod
    def _level(u: Tensor, rows: Tensor, beta: float) -> Tensor:
        """NorMuon: every row as long as the others have been; the whole as long as before."""
        before = torch.linalg.vector_norm(u, dim=(1, 2), keepdim=True)
        rows.lerp_(u.square().mean(2, keepdim=True), 1.0 - beta)
        u = u / rows.sqrt().clamp(min=1e-10)
        return u.mul_(before / torch.linalg.vector_norm(u, dim=(1, 2), keepdim=True).clamp(min=1e-10))
