"""SPSA: all parameters moved at once, up and down by random signs; two values of the loss, whatever the size of theta.

    g = 1/k sum_k (L(theta + c s_k) - L(theta - c s_k)) / 2c  s_k,      s in {-1, +1}^n;       bias O(c^2)

Spall, IEEE Trans. Automatic Control 37, 1992. With c = 0 it is found out in each call: the loss is taken twice, and c balances its
noise (at least rounding) against the curvature of order three, c = noise^(1/3) times the size of theta. `gains` gives Spall's
constants and a first rate from a few trials. For black boxes, noisy losses and circuits; draws of one batch are shared by both
values.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from gradlearn.curvature import Landscape, directions, still
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Batch, Estimate, Objective
from gradlearn.theta import Theta

__all__ = ["Spsa", "gains", "Gains"]


class Spsa:
    """Simultaneous perturbation.

    Args:
        c: size of the perturbation of each parameter; 0 = from the noise of the loss and the size of theta.
        pairs: random directions in each step, two values each.
    """

    exact, order, by = False, 2, "c"

    def __init__(self, *, c: float = 0.0, pairs: int = 1) -> None:
        if c < 0:
            raise InputTrouble(f"--spsa.c {c}: must be 0 (found out) or above")
        if pairs < 1:
            raise InputTrouble(f"--spsa.pairs {pairs}: must be at least 1")
        self.c, self.pairs = c, pairs

    def __call__(self, objective: Objective, theta: Theta, batch: Batch) -> Estimate:
        """Leave g in `.grad`; return the loss of the batch and ||g||."""
        with Landscape(objective, theta, batch) as land:
            c = self.c or perturbation(land)
            g = [torch.zeros_like(b.flat) for b in theta.blocks]
            for k in range(self.pairs):
                signs = directions(theta, batch.draw, "spsa", k, signs=True)
                slope = (land(signs, c) - land(signs, -c)) / (2 * c)
                for total, s in zip(g, signs, strict=True):
                    total.add_(s, alpha=slope / self.pairs)
            return land.estimate(g)


def perturbation(land: Landscape) -> float:
    """c from the loss itself: the cube root of its relative noise, times the root mean square of theta (0.01 at least)."""
    theta = land.theta
    size = math.sqrt(sum(float(b.flat.double().square().sum()) for b in theta.blocks) / max(len(theta), 1))
    again = land([b.flat.clone() for b in theta.blocks], 0.0)
    precision = max(torch.finfo(b.flat.dtype).eps for b in theta.blocks)
    noise = abs(land.loss - again) / max(abs(land.loss), 1e-30)
    return max(precision, noise if math.isfinite(noise) else 0.0) ** (1 / 3) * max(size, 0.01)


class Gains(NamedTuple):
    """Spall's gain sequences: lr_t = a / (A + t + 1)^alpha, c_t = c / (t + 1)^gamma."""

    a: float
    A: float
    alpha: float
    c: float
    gamma: float


def gains(objective: Objective, theta: Theta, batch: Batch, steps: int, *, move: float = 0.05, trials: int = 10) -> Gains:
    """Gains such that the first steps move each parameter by about `move` times the size of theta.

    Args:
        objective: as for the estimator; nothing of it is changed.
        theta: likewise.
        batch: the trials differ in their draws.
        steps: of the whole run: A is a tenth of it.
        move: of each parameter in the first step, as a share of the root mean square of theta.
        trials: estimates whose median size is taken.
    """
    alpha, gamma, A = 0.602, 0.101, steps / 10
    sizes = []
    with still(theta.model), Landscape(objective, theta, batch) as land:
        c = perturbation(land)
        for k in range(max(trials, 1)):
            signs = directions(theta, batch.draw, "spsa gains", k, signs=True)
            sizes.append(abs(land(signs, c) - land(signs, -c)) / (2 * c))
    size = math.sqrt(sum(float(b.flat.double().square().sum()) for b in theta.blocks) / max(len(theta), 1))
    slope = max(sorted(sizes)[len(sizes) // 2], 1e-12)
    return Gains(move * max(size, 0.01) * (A + 1) ** alpha / slope, A, alpha, c, gamma)
