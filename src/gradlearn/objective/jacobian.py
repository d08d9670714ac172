"""Jacobian: how fast the outputs change with the input, squared.

    R_i = weight / 2 ||J_i||_F^2,   J_i = d output_i / d x_i;   ||J||_F^2 = K E ||v^T J||^2 for random unit vectors v of K numbers

Hoffman, Roberts, Yaida, "Robust learning with Jacobian regularization", arXiv 1908.02729. Wider margins, smoother networks.
One random projection of the K outputs is as good as all of them, averaged over steps, and costs about what a step costs
again, twice. v is drawn from torch's generator after the forward pass, as dropout is in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble

__all__ = ["Jacobian"]


class Jacobian:
    """Called with inputs that require gradients and the outputs (n, ...) computed from them: (n,), to add to each loss.

    Args:
        weight: of the penalty, at least 0; in units of the inputs squared.
        projections: random directions of the output for each batch; 0 = all outputs, exact.
    """

    penalty = True
    wants = ("x", "output")

    def __init__(self, *, weight: float = 0.01, projections: int = 1) -> None:
        if not 0.0 <= weight < math.inf:
            raise InputTrouble(f"--jacobian.weight {weight}: must be a finite number of at least 0")
        if projections < 0:
            raise InputTrouble(f"--jacobian.projections {projections}: must be 0 (all outputs) or a number")
        self.weight, self.projections = weight, projections

    def __call__(self, x: Tensor | Sequence[Tensor], output: Tensor) -> Tensor:
        """(n,) weight / 2 * squared Frobenius norm of each example's Jacobian."""
        if not isinstance(output, Tensor) or not output.requires_grad:
            raise InputTrouble("--penalty jacobian: needs a model with one tensor as its output, computed from its inputs")
        leaves, out = [x] if isinstance(x, Tensor) else list(x), output.reshape(len(output), -1)
        squares = torch.zeros_like(out[:, 0])
        for v in self._directions(out.detach()):
            slopes = torch.autograd.grad((out * v).sum(), leaves, create_graph=True, allow_unused=True)
            squares = squares + sum(g.reshape(len(g), -1).square().sum(1) for g in slopes if g is not None)
        return self.weight / 2 * squares * (out.shape[1] / self.projections if self.projections else 1.0)

    def _directions(self, out: Tensor) -> list[Tensor]:
        """Unit vectors (n, K) at random, or those of all axes (K,)."""
        if not self.projections:
            return list(torch.eye(out.shape[1], dtype=out.dtype, device=out.device))
        drawn = [torch.randn_like(out) for _ in range(self.projections)]
        return [v / torch.linalg.vector_norm(v, dim=1, keepdim=True) for v in drawn]
