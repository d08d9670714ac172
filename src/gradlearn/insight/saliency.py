"""Which pixels an answer rests on: how much its log-probability changes with each of them.

    M(x) = blur | mean over m draws of  d log p(class | x + e) / dx |,   e ~ N(0, (noise (max x - min x))^2)

Smoothed by noise, since a gradient at one point jumps from pixel to pixel: SmoothGrad, Smilkov et al., arXiv 1706.03825. Blurred
over a sixteenth of the side either way, since strides and pooling leave a lattice that says nothing of the picture. A map says
where a small change would matter to this model, not why, and not that the pixels belong to the thing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gradlearn import chance

NOISE = 0.1  # of the picture's range
BLUR = 16  # pixels of the side for each that the window reaches beyond its own
GLOW = np.array([255.0, 150.0, 30.0])  # told from grey by every eye


def saliency(outputs: Callable[[Tensor], Tensor], x: Tensor, classes: Tensor, draws: int, seed: int = 0) -> Tensor:
    """(n, h, w) float32, not negative, for pictures x (n, c, h, w) uint8 and a class (n,) for each.

    outputs: log-probabilities (n, k) of float pictures in 0..255, each of its own picture alone. Parameters, their `.grad`, buffers
    and random state are left as found by it if `outputs` leaves them so.
    """
    exact = x.float()
    spread = NOISE * (exact.amax((1, 2, 3), keepdim=True) - exact.amin((1, 2, 3), keepdim=True))
    total = torch.zeros_like(exact)
    for k in range(draws):
        generator = torch.Generator().manual_seed(chance.key(seed, "saliency", k))
        noise = torch.randn(exact.shape, generator=generator).to(exact.device)
        with torch.enable_grad():
            moved = (exact + spread * noise).contiguous(memory_format=torch.channels_last).requires_grad_(True)
            chosen = outputs(moved).gather(1, classes[:, None]).sum()
            (slope,) = torch.autograd.grad(chosen, moved)
        total += slope
    strength = total.div_(draws).abs_().sum(1, keepdim=True)
    reach = min(x.shape[2:]) // BLUR
    return F.avg_pool2d(strength, 2 * reach + 1, 1, reach, count_include_pad=False)[:, 0]


def laid_over(pixels: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """The picture (h, w, c) uint8 in dim grey, with its map (h, w) glowing over it: (h, w, 3) uint8."""
    grey = pixels.astype(np.float64).mean(axis=2, keepdims=True)
    most = float(np.quantile(strength, 0.99))
    share = np.clip(strength / most, 0.0, 1.0)[:, :, None] if most > 0.0 else np.zeros((*strength.shape, 1))
    share = 0.9 * share**1.2
    return np.rint((1.0 - share) * (30.0 + 0.5 * grey) + share * GLOW).astype(np.uint8)
