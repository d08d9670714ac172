"""Pictures moved by whole pixels with mirrored borders, and left-right mirror images.

    out[i, y, x] = in[i, reflect(y + dy_i), reflect(+-x + dx_i)]

One gather over the batch; the draws are a function of (draw, place in the batch) alone (`chance`). He et al., arXiv 1512.03385,
section 4.2 (pad and crop). Mirror only pictures whose mirror image is a picture of the same class (the task asks the data).
Shift small pictures; of large ones take random crops (`crop.py`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradlearn import chance


def shift_mirror(pixels: Tensor, draw: int, place: np.ndarray, shift: int, mirror: bool) -> Tensor:
    """New pictures from (n, h, w, c): moved by up to `shift` pixels each way, half of them mirrored if `mirror`.

    `place` (n,): of each picture in its batch.
    """
    n, height, width, channels = pixels.shape
    if not shift:
        return mirrored(pixels, draw, place)
    dy, dx = (chance.integers(2 * shift + 1, draw, purpose, place) - shift for purpose in ("dy", "dx"))
    ys = _reflect(np.arange(height) + dy[:, None], height)  # (n, h)
    columns = np.broadcast_to(np.arange(width), (n, width))
    if mirror:
        columns = np.where(flips(draw, place)[:, None], columns[:, ::-1], columns)
    xs = _reflect(columns + dx[:, None], width)  # (n, w)
    rows = torch.from_numpy(np.arange(n)[:, None] * height + ys)  # (n, h)
    index = rows[:, :, None] * width + torch.from_numpy(xs)[:, None, :]  # (n, h, w)
    flat = pixels.reshape(-1) if channels == 1 else pixels.reshape(-1, channels)
    return flat.index_select(0, index.view(-1)).view(n, height, width, channels)


def mirrored(pixels: Tensor, draw: int, place: np.ndarray) -> Tensor:
    """Half of the pictures (n, h, w, c) mirrored, the same as `shift_mirror` with the same draw."""
    flip, out = flips(draw, place), torch.empty_like(pixels)
    rows, rest = np.flatnonzero(flip), np.flatnonzero(~flip)
    out.numpy()[rows] = (
        pixels.index_select(0, torch.from_numpy(rows)).flip(2).numpy()
    )  # numpy copies whole pictures; PyTorch, bytes
    out.numpy()[rest] = pixels.numpy()[rest]
    return out


def flips(draw: int, place: np.ndarray) -> np.ndarray:
    """(n,) bool: which pictures are mirrored."""
    return chance.uniform(draw, "mirror", place) < 0.5


def _reflect(places: np.ndarray, size: int) -> np.ndarray:
    """-1 -> 1, size -> size - 2: the border is mirrored without being doubled."""
    if size == 1:
        return np.zeros_like(places)
    period = 2 * size - 2
    places = np.abs(places) % period
    return np.where(places < size, places, period - places)
