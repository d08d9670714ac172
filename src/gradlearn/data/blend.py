"""Two pictures made one, and their classes with them: mixup and cutmix.

    mixup    x = lam x_i + (1 - lam) x_j                       cutmix   x = x_i, but x_j inside a box of share 1 - lam of the area
    target   p = lam [class of i] + (1 - lam) [class of j]              lam: of the area that is left, after the border cut the box

lam ~ Beta(alpha, alpha) for each picture, j by one permutation of the batch. Zhang et al., "mixup", arXiv 1710.09412, alpha 0.2;
Yun et al., "CutMix", arXiv 1905.04899, alpha 1. For many epochs of few pictures: the training loss no longer falls to nothing and
the outputs become less sure. Bytes are mixed in steps of 1/128, which the targets follow. (The dial `mix` of `regular.py` mixes
what any task brings, where a run turns out to overfit; this is for a run that shall do so from the start.)
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gradlearn import chance

STEPS = 128  # of lam: differences of bytes times so many are whole numbers of 16 bits


def blend(pixels: Tensor, labels: Tensor, classes: int, draw: int, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """Pictures (n, h, w, c) uint8 or float and classes (n,) int64, mixed: pictures, and probabilities (n, classes) float32.

    `mixup`, `cutmix`: alpha of each, 0 for none; where both are above 0, half of the batches get the one and half the other.
    """
    cut = cutmix > 0.0 and (mixup <= 0.0 or bool(chance.uniform(draw, "blend")[0] < 0.5))
    other = torch.from_numpy(chance.permutation(len(labels), draw, "blend.other"))
    pixels, share = (cut_mixed if cut else mixed_up)(pixels, other, draw, cutmix if cut else mixup)
    one, two = (F.one_hot(k, classes).float() for k in (labels, labels.index_select(0, other)))
    return pixels, torch.lerp(two, one, share.unsqueeze(1))


def mixed_up(pixels: Tensor, other: Tensor, draw: int, alpha: float) -> tuple[Tensor, Tensor]:
    """Pictures mixed with the `other` (n,) of them, and how much of each is its own: (n,) float32."""
    steps = torch.from_numpy(np.rint(STEPS * _beta(draw, alpha, len(pixels)))).view(-1, 1, 1, 1)
    if pixels.is_floating_point():
        return torch.lerp(pixels.index_select(0, other), pixels, (steps / STEPS).to(pixels.dtype)), steps.flatten().float() / STEPS
    out = torch.empty_like(pixels)
    for part in torch.arange(len(pixels)).split(max((1 << 19) // max(pixels[0].numel(), 1), 1)):  # what a processor keeps at hand
        own, theirs = (pixels.index_select(0, rows).to(torch.int16) for rows in (part, other[part]))
        own.sub_(theirs).mul_(steps[part].to(torch.int16)).add_(STEPS // 2).bitwise_right_shift_(7).add_(theirs)
        out[part[0] : part[-1] + 1] = own
    return out, steps.flatten().float() / STEPS


def cut_mixed(pixels: Tensor, other: Tensor, draw: int, alpha: float) -> tuple[Tensor, Tensor]:
    """Pictures with a box of the `other` (n,) of them, and how much of each is its own: (n,) float32."""
    n, height, width, _ = pixels.shape
    side = np.sqrt(1.0 - _beta(draw, alpha, n))
    spans = []
    for what, size in (("down", height), ("across", width)):
        middle, long = size * chance.uniform(draw, f"cutmix.{what}", np.arange(n)), side * size
        spans.append(np.clip(np.rint([middle - long / 2, middle + long / 2]), 0, size).astype(np.int64))
    (top, bottom), (left, right) = spans
    out, old, boxes = pixels.clone(), pixels.numpy(), np.stack([top, bottom, left, right], 1)
    for picture, j, (a, b, c, d) in zip(out.numpy(), other.tolist(), boxes.tolist(), strict=True):
        picture[a:b, c:d] = old[j, a:b, c:d]
    return out, torch.from_numpy(1.0 - (bottom - top) * (right - left) / (height * width)).float()


def _beta(draw: int, alpha: float, n: int) -> np.ndarray:
    """(n,) draws of Beta(alpha, alpha)."""
    return np.random.Generator(np.random.Philox(key=chance.key(draw, "blend.share"))).beta(alpha, alpha, n)
