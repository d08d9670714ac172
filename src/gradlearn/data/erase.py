"""Cutout: a square of each picture is covered with the picture's mean colour.

    out[i](y, x) = mean(in[i])    where |y - a_i| and |x - b_i| are less than half a side;  (a_i, b_i) uniform over the picture

The middle of the square may be anywhere, so that part of it may lie outside. DeVries and Taylor, "Improved regularization of
convolutional neural networks with cutout", arXiv 1708.04552: 8 to 16 of 32 pixels; Zhong et al., "Random erasing", 1708.04896, is
the same with other shapes. For many epochs of small pictures; nothing for few.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from gradlearn import chance
from gradlearn.data.tone import means


def cutout(pixels: Tensor, draw: int, place: np.ndarray, side: int) -> Tensor:
    """Pictures (n, h, w, c) uint8 or float with squares of `side` pixels covered. `place` (n,): of each picture in its batch."""
    if side <= 0:
        return pixels
    size = np.array(pixels.shape[1:3])
    middle = [chance.integers(k, draw, f"cutout.{what}", place) for what, k in zip(("down", "across"), size.tolist(), strict=True)]
    start = np.stack(middle, 1) - side // 2
    corners = np.concatenate([np.clip(start, 0, size), np.clip(start + side, 0, size)], 1)
    mean = means(pixels)
    colours = (mean if pixels.is_floating_point() else mean.round()).to(pixels.dtype).numpy()
    out, channels = pixels.clone(), pixels.shape[3]
    lines = out.view(len(pixels), pixels.shape[1], -1).numpy()  # a line of pixels as one row: numpy then copies whole rows
    covers = np.tile(colours, (1, side))
    for picture, cover, (top, left, bottom, right) in zip(lines, covers, corners.tolist(), strict=True):
        picture[top:bottom, channels * left : channels * right] = cover[: channels * (right - left)]
    return out
