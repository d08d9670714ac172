"""What a network of pictures measures on them before it is trained: the scale of each channel, and filters that whiten patches.

    scale     z = (x - mean) / deviation                                    each channel has mean 0 and variance 1
    whiten    w_k = v_k / sqrt(lambda_k + EPS),   lambda_k, v_k of the covariance of patches of z, largest first;   and -w_k

Neighbouring pixels say nearly the same, so the first layer of a network spends its first steps on undoing that; eigenvectors of
patches do it in closed form. A filter and its negative pass both signs through an activation. Keller Jordan, "94% on CIFAR-10
in 3.29 seconds on a single GPU", arXiv 2404.00498, after David Page, "How to train your ResNet", 2019. For the files of `models/`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gradlearn.errors import InputTrouble

EPS = 5e-4  # of a variance 1: directions of less are noise, and are not blown up
MOST = 1 << 18  # patches that are looked at


def scale_of(pixels: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """(mean, 1 / deviation) of each channel, (1, c, 1, 1) float64, of pictures (n, c, h, w); a constant channel keeps its scale.

    Raises InputTrouble for no picture, or another number of channels.
    """
    if pixels.ndim != 4 or pixels.shape[1] != channels or pixels.shape[0] == 0:
        raise InputTrouble(f"calibrate: pictures of shape {tuple(pixels.shape)}; (n, {channels}, h, w) with n > 0 is needed")
    rows = pixels.transpose(0, 1).flatten(1).double()
    deviation, mean = torch.std_mean(rows, dim=1, correction=0)
    scale = torch.where(deviation > 1e-3, 1 / deviation.clamp_min(1e-3), 1.0)
    return mean.view(1, channels, 1, 1), scale.view(1, channels, 1, 1)


def whitening(z: Tensor, side: int, filters: int) -> Tensor:
    """(filters, c, side, side) float32 from pictures z (n, c, h, w) of unit scale: the leading directions, then their negatives.

    `filters` is even and at most 2 c side^2. Deterministic: the largest entry of each filter is positive.
    """
    channels = z.shape[1]
    few = max(MOST // max((z.shape[2] - side + 1) * (z.shape[3] - side + 1), 1), 1)
    patches = F.unfold(z[: max(few, 1)].double(), side).transpose(1, 2).reshape(-1, channels * side * side)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    kept = directions.T.flip(0)[: filters // 2]
    signs = kept.gather(1, kept.abs().argmax(1, keepdim=True)).sign()
    found = kept * signs / torch.sqrt(variances.flip(0)[: filters // 2, None].clamp_min(0.0) + EPS)
    return torch.cat([found, -found]).float().reshape(filters, channels, side, side)
