"""Pictures moved by whole pixels with mirrored borders, and left-right mirror images.

    out[i, y, x] = in[i, reflect(y + dy_i), reflect(+-x + dx_i)],      mirrored: by chance, or where chance(i) + epoch is odd

One gather over the batch; the draws are a function of (draw, place in the batch) alone (`chance`). He et al., arXiv 1512.03385,
section 4.2 (pad and crop). Where each picture comes once an epoch, every second time is its mirror image: no two epochs in a row
show the same, as chance would in half of the cases (Jordan, arXiv 2404.00498, section 3.6). Mirror only pictures whose mirror image
is a picture of the same class (the task asks the data). Shift small pictures; of large ones take random crops (`crop.py`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradlearn import chance


def shift_mirror(pixels: Tensor, draw: int, place: np.ndarray, shift: int, flip: np.ndarray | None) -> Tensor:
    """New pictures from (n, h, w, c): moved by up to `shift` pixels each way, mirrored where `flip` (n,) says so.

    `place` (n,): of each picture in its batch.
    """
    n, height, width, channels = pixels.shape
    if not shift:
        return pixels if flip is None else mirrored(pixels, flip)
    dy, dx = (chance.integers(2 * shift + 1, draw, purpose, place) - shift for purpose in ("dy", "dx"))
    ys = _reflect(np.arange(height) + dy[:, None], height)  # (n, h)
    columns = np.broadcast_to(np.arange(width), (n, width))
    if flip is not None:
        columns = np.where(flip[:, None], columns[:, ::-1], columns)
    xs = _reflect(columns + dx[:, None], width)  # (n, w)
    rows = torch.from_numpy(np.arange(n)[:, None] * height + ys)  # (n, h)
    index = rows[:, :, None] * width + torch.from_numpy(xs)[:, None, :]  # (n, h, w)
    flat = pixels.reshape(-1) if channels == 1 else pixels.reshape(-1, channels)
    return flat.index_select(0, index.view(-1)).view(n, height, width, channels)


def mirrored(pixels: Tensor, flip: np.ndarray) -> Tensor:
    """Pictures (n, h, w, c), mirrored where `flip` (n,) says so."""
    out = torch.empty_like(pixels)
    rows, rest = np.flatnonzero(flip), np.flatnonzero(~flip)
    turned = pixels.index_select(0, torch.from_numpy(rows)).flip(2)
    out.numpy()[rows] = turned.numpy()  # numpy copies whole pictures; PyTorch, bytes
    out.numpy()[rest] = pixels.numpy()[rest]
    return out


def flips(draw: int, place: np.ndarray) -> np.ndarray:
    """(n,) bool: which pictures are mirrored, by chance."""
    return chance.uniform(draw, "mirror", place) < 0.5


def alternating(seed: int, rows: np.ndarray, epoch: np.ndarray) -> np.ndarray:
    """(n,) bool: which pictures are mirrored in these epochs (n,): each in every second one, in which of them is chance."""
    return ((chance.bits(seed, "mirror", rows) >> np.uint64(63)).astype(np.int64) + epoch) % 2 == 1


def _reflect(places: np.ndarray, size: int) -> np.ndarray:
    """-1 -> 1, size -> size - 2: the border is mirrored without being doubled."""
    if size == 1:
        return np.zeros_like(places)
    period = 2 * size - 2
    places = np.abs(places) % period
    return np.where(places < size, places, period - places)
