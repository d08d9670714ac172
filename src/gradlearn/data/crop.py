"""Random resized crops: a rectangle of each picture, its area and shape drawn, scaled to one size and smoothed against aliasing.

    area = share * H * W,  share ~ U(1 - most, 1);   log(w / h) ~ U(log 3/4, log 4/3);   h = sqrt(area / (w / h)), at most H

Szegedy et al., "Going deeper with convolutions", arXiv 1409.4842; the usual augmentation of photographs, with `most` = 0.92 for
hundreds of epochs and 0.65 for tens. Small pictures are shifted instead (`shift.py`): of 32 pixels a crop leaves too few.
Bytes are scaled as bytes, by PyTorch's vector kernels for bilinear interpolation.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gradlearn import chance

SHAPE = math.log(4 / 3)  # of the log of width to height, each way; less where less than a quarter is cut away


def random_crop(pixels: Tensor, draw: int, place: np.ndarray, most: float, size: tuple[int, int] | None = None) -> Tensor:
    """Crops of (n, h, w, c) uint8 or float, scaled to `size` (h, w), the pictures' own if None.

    `most`: largest share of the area that is cut away, in [0, 1). `place` (n,): of each picture in its batch.
    """
    n, height, width, channels = pixels.shape
    size = size or (height, width)
    if most <= 0.0:
        return scaled(pixels, size)
    out = pixels.new_empty(n, *size, channels)
    for i, (top, left, h, w) in enumerate(boxes(draw, place, most, (height, width)).tolist()):
        out[i : i + 1] = scaled(pixels[i : i + 1, top : top + h, left : left + w], size)
    return out


def boxes(draw: int, place: np.ndarray, most: float, size: tuple[int, int]) -> np.ndarray:
    """(n, 4) int64 top, left, height and width of the crops of pictures of this (h, w)."""
    share, shape, down, across = (chance.uniform(draw, f"crop.{what}", place) for what in ("share", "shape", "down", "across"))
    area, ratio = (1.0 - most * share) * size[0] * size[1], np.exp(min(SHAPE, -math.log1p(-most)) * (2.0 * shape - 1.0))
    h = np.clip(np.rint(np.sqrt(area / ratio)), 1, size[0]).astype(np.int64)
    w = np.clip(np.rint(np.sqrt(area * ratio)), 1, size[1]).astype(np.int64)
    top, left = (down * (size[0] - h + 1)).astype(np.int64), (across * (size[1] - w + 1)).astype(np.int64)
    return np.stack([top, left, h, w], axis=1)


def scaled(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (n, h, w, c) at another size (h, w): bilinear, smoothed where it is smaller. Bytes stay bytes."""
    if tuple(pixels.shape[1:3]) == tuple(size):
        return pixels
    planes = pixels.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    planes = F.interpolate(planes, tuple(size), mode="bilinear", antialias=True)
    return planes.permute(0, 2, 3, 1).contiguous()
