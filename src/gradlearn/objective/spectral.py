"""Spectral: half the squared largest singular value of every matrix; the network stretches no direction much.

    R = weight / 2 sum_W sigma(W)^2,   grad = weight sigma u v^T

Yoshida, Miyato, "Spectral norm regularization for improving the generalizability of deep learning", arXiv 1705.10941; filters
are matrices (outputs, everything else). sigma, u, v come from a Krylov space of W^T W, which needs a third of the power
iterations and no memory of the last step, so that a resumed run is bit for bit the same. Against sensitivity to small changes
of the input.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.errors import InputTrouble

__all__ = ["Spectral"]


class Spectral:
    """Called with the model: a number to add to the mean loss.

    Args:
        weight: of the penalty, at least 0.
        steps: products with W and W^T for each matrix, at least 1; 8 find sigma of random matrices to 3 %.
    """

    penalty = True
    wants = ("model",)

    def __init__(self, *, weight: float = 0.01, steps: int = 8) -> None:
        if not 0.0 <= weight < math.inf:
            raise InputTrouble(f"--spectral.weight {weight}: must be a finite number of at least 0")
        if steps < 1:
            raise InputTrouble(f"--spectral.steps {steps}: must be at least 1")
        self.weight, self.steps = weight, steps
        self._starts: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}

    def __call__(self, model: nn.Module) -> Tensor | float:
        """weight / 2 * sum of sigma^2 over all matrices."""
        matrices = [
            p.flatten(1) for p in model.parameters() if p.ndim >= 2 and (p.requires_grad or type(p) is Tensor)
        ]  # or a tensor in its place
        return self.weight / 2 * sum(self._largest(w).square() for w in matrices)

    def _largest(self, w: Tensor) -> Tensor:
        """sigma = u^T W v, with u and v held fixed: its gradient is u v^T, as it is where they are exact."""
        if w.shape[0] < w.shape[1]:
            w = w.T
        whole = w.detach() if w.dtype in (torch.float32, torch.float64) else w.detach().float()
        with torch.no_grad():
            u, v = (t.to(w.dtype) for t in top(whole, self._start(whole), self.steps))
        return u @ (w @ v)

    def _start(self, w: Tensor) -> Tensor:
        key = (w.shape[1], w.dtype, w.device)
        if key not in self._starts:
            self._starts[key] = torch.from_numpy(chance.uniform(0, "spectral", np.arange(w.shape[1])) - 0.5).to(w)
        return self._starts[key]


def top(w: Tensor, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The singular vectors u (m,), v (n,) of the largest singular value of w (m, n), the best in span{s, (w^T w) s, ...}."""
    v, basis, images = start, start.new_zeros(0, len(start)), []
    for _ in range(min(steps, len(start))):
        before = torch.linalg.vector_norm(v)
        for _ in range(2):  # twice is enough (Kahan)
            v = v - basis.T @ (basis @ v)
        size = torch.linalg.vector_norm(v)
        if not size > 100 * torch.finfo(v.dtype).eps * before:  # the space is exhausted: what is left is rounding
            break
        v = v / size
        basis = torch.cat([basis, v[None]])
        images.append(w @ v)
        v = w.T @ images[-1]
    left, _, right = torch.linalg.svd(torch.stack(images, 1), full_matrices=False)  # (m, k) = w basis^T
    return left[:, 0], basis.T @ right[0]
