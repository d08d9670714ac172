"""Sharpness-aware: the gradient not here but a short way uphill, around any other estimator: it leads to flat minima.

    SAM:   e = rho g / ||g||            ASAM:  e = rho T^2 g / ||T g||,  T = |w| + 0.01 for weights, 1 for the rest
    g <- gradient at theta + e

Foret et al., "Sharpness-aware minimization", ICLR 2021; Kwon et al., "ASAM", ICML 2021 (its rho is about ten times SAM's).
Twice the cost of the inner estimator. Both passes have the same draws; the running statistics of BatchNorm are those of the
first. Worth it where a model overfits; differs from the inner gradient by O(rho).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradlearn.curvature import reverse, still
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Batch, Estimate, Gradient, Objective
from gradlearn.theta import Theta

__all__ = ["Sharpness"]


class Sharpness:
    """SAM or ASAM around another estimator.

    Args:
        inner: the estimator; by name in a run, as an object in Python, where the name "backprop" is autograd's own gradient.
        rho: how far uphill, above 0.
        adaptive: ASAM: the way uphill is measured relative to each weight.
    """

    exact, order, by = False, 1, "rho"
    wraps = ("inner",)

    def __init__(self, *, inner: Gradient | str = "backprop", rho: float = 0.05, adaptive: bool = False) -> None:
        if not rho > 0:
            raise InputTrouble(f"--sharpness.rho {rho}: must be above 0")
        if isinstance(inner, str) and inner != "backprop":
            raise InputTrouble(f"--sharpness.inner {inner!r}: in Python give the estimator itself, as Sharpness(inner=Spsa())")
        self.inner, self.rho, self.adaptive = reverse if isinstance(inner, str) else inner, rho, adaptive

    def __call__(self, objective: Objective, theta: Theta, batch: Batch) -> Estimate:
        """Leave g in `.grad`; return the loss at theta itself, and ||g||."""
        first = self.inner(objective, theta, batch)
        if not first.finite or first.norm == 0.0:
            return first
        base = [b.flat.clone() for b in theta.blocks]
        try:
            for m, e in zip(theta.members, self._uphill(theta), strict=True):
                m.view.add_(e)
            with still(theta.model):
                second = self.inner(objective, theta, batch)
        finally:
            for block, flat in zip(theta.blocks, base, strict=True):
                block.flat.copy_(flat)
        return first._replace(norm=second.norm, variance=second.variance, norms=second.norms, suspects=second.suspects)

    def _uphill(self, theta: Theta) -> list[Tensor]:
        """e, one tensor for each parameter."""
        if not self.adaptive:
            scale = self.rho / theta.norm()
            return [m.grad * scale for m in theta.members]
        scaled = [(m.view.abs().add_(0.01) if "weight" in m.name else torch.ones_like(m.view)) for m in theta.members]
        for m, t in zip(theta.members, scaled, strict=True):
            t.mul_(t * m.grad)  # T^2 g
        norm = (
            sum(float((e.double() * m.grad.double()).sum()) for m, e in zip(theta.members, scaled, strict=True)) ** 0.5
        )  # ||T g||
        return [e.mul_(self.rho / norm) for e in scaled]
