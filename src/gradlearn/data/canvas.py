"""Pictures of any size on canvases of one size: scaled with their sides in proportion until they fit, in the upper left corner.

    on the canvas = (in the file - offset) * scale,       pixels (n, 3, h, w) uint8, grey where no picture is

Decoded once and kept at the size that is trained on, in memory or, where they are more than is set aside, in a file: a batch is a
few copies. 1,000 pictures of 640 x 480 take 0.9 GB. The canvas is as high and as wide as nine in ten of the pictures are when their
longer sides are `size`: pictures of one shape waste none of it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gradlearn.data.decode import cover, decode
from gradlearn.data.fill import in_order
from gradlearn.data.header import MAX_PIXELS
from gradlearn.data.place import load
from gradlearn.data.reject import Bad, reject
from gradlearn.data.stored import Stored, sink
from gradlearn.errors import InputTrouble

if TYPE_CHECKING:
    from collections.abc import Iterator

GREY = 114  # of a canvas where there is no picture
Fitted = tuple[np.ndarray, float, tuple[float, float], tuple[int, int]]  # picture, scale, offset x y, size h w of the file
SIDE = 16  # of which the sides of a canvas are multiples


@dataclass(frozen=True, slots=True)
class Canvases:
    """n pictures, each on a canvas of its own."""

    pixels: Tensor | Stored  # (n, 3, h, w) uint8
    extents: np.ndarray  # (n, 2) int64: h, w of the picture on its canvas
    scales: np.ndarray  # (n,) canvas pixels to a pixel of the file
    offsets: np.ndarray  # (n, 2) x, y: pixels of the file that were left out at the left and above, less than one
    sizes: np.ndarray  # (n, 2) int64: h, w of the file as it is shown

    def take(self, rows: np.ndarray) -> Tensor:
        """The pictures of these numbers, (k, 3, h, w) uint8."""
        if isinstance(self.pixels, Tensor):
            return self.pixels.index_select(0, torch.from_numpy(np.asarray(rows, np.int64)))
        return torch.from_numpy(self.pixels.take(rows))

    def onto(self, boxes: np.ndarray, picture: np.ndarray) -> np.ndarray:
        """Boxes (m, 4) in pixels of their files, of these pictures (m,), on the canvas: float32."""
        offset = np.tile(self.offsets[picture], 2)
        return ((boxes - offset) * self.scales[picture, None]).astype(np.float32)

    def back(self, boxes: np.ndarray, picture: np.ndarray) -> np.ndarray:
        """The inverse of `onto`."""
        offset = np.tile(self.offsets[picture], 2)
        return (boxes / self.scales[picture, None] + offset).astype(np.float32)


def canvas_shape(sizes: np.ndarray, size: int) -> tuple[int, int]:
    """(h, w) of a canvas for pictures of these sizes, (n, 2) h, w, whose longer sides become `size`; multiples of SIDE."""
    if not len(sizes):
        raise InputTrouble("canvas: no pictures; give some")
    scaled = sizes * (size / sizes.max(1, keepdims=True))
    h, w = np.quantile(scaled, 0.9, axis=0, method="higher")
    return max(_upward(h), SIDE), max(_upward(w), SIDE)


def _upward(length: float) -> int:
    return int(-(-round(float(length)) // SIDE)) * SIDE


def lay(
    paths: Sequence[str],
    shape: tuple[int, int],
    max_pixels: int = MAX_PIXELS,
    memory: int | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Canvases:
    """Decode these files onto canvases of this shape: in `memory` bytes where that is enough or None, else in the file `cache`.

    Raises InputTrouble for a file that cannot be read, ResourceTrouble where there is no room.
    """
    n, (height, width) = len(paths), shape
    into = sink(n, (3, height, width), memory, cache)
    extents, scales, offsets, sizes = np.zeros((n, 2), np.int64), np.ones(n), np.zeros((n, 2)), np.zeros((n, 2), np.int64)
    try:
        for i, (picture, scale, offset, size) in enumerate(_decoded(paths, shape, max_pixels)):
            extents[i], scales[i], offsets[i], sizes[i] = picture.shape[:2], scale, offset, size
            canvas = np.full((3, height, width), GREY, np.uint8)
            canvas[:, : picture.shape[0], : picture.shape[1]] = picture.transpose(2, 0, 1)
            into.put(canvas[None])
        pixels = into.close()
    except BaseException:
        into.drop()
        raise
    return Canvases(pixels if isinstance(pixels, Stored) else torch.from_numpy(pixels), extents, scales, offsets, sizes)


def _decoded(paths: Sequence[str], shape: tuple[int, int], max_pixels: int) -> Iterator[Fitted]:
    """Each picture as it lies on its canvas, decoded by a few threads, in order."""
    for path, found in zip(paths, in_order(partial(_fitted, shape=shape, max_pixels=max_pixels), paths), strict=True):
        if isinstance(found, Bad):
            raise InputTrouble(reject(path, found).line)
        yield found


def _fitted(path: str, shape: tuple[int, int], max_pixels: int) -> Fitted | Bad:
    """One file as it lies on its canvas."""
    try:
        full = decode(load(path), None, 3, max_pixels)
    except Bad as bad:
        return bad
    height, width = full.shape[:2]
    scale = min(shape[0] / height, shape[1] / width)
    h, w = max(round(height * scale), 1), max(round(width * scale), 1)
    if (h, w) == (height, width):
        return full, 1.0, (0.0, 0.0), (height, width)
    back = min(width / w, height / h)  # as `cover` scales: what does not fit in proportion is cut off on both sides
    return cover(full, (h, w)), 1.0 / back, ((width - w * back) / 2.0, (height - h * back) / 2.0), (height, width)
