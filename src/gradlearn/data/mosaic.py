"""New pictures with boxes out of old ones: four on one canvas, or one, each zoomed, cut, mirrored; then other colours.

    canvas  =  | a b |  split at a random point, or a alone;     a the picture asked for, b c d drawn from all
               | c d |
    each    :  zoomed by a factor drawn evenly on a logarithmic scale, a random window where it is too large for its place
    colours :  v <- contrast (gain_c (grey + saturation (v - grey)) - middle) + middle + brightness

A mosaic shows four contexts at once and objects cut off, at more sizes than the pictures have: Bochkovskiy et al., YOLOv4, arXiv
2004.10934. A pure function of (draw, place in the batch). A box of which less than a quarter is left is no longer asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gradlearn import chance
from gradlearn.boxes import NOTHING
from gradlearn.data.canvas import GREY, Canvases

__all__ = ["Labelled", "Varied", "filled_up", "mosaic"]

LEFT = 0.25  # share of a box that must be left for it to be asked for
LEAST = 2.0  # pixels, width and height likewise
MIDDLE = 127.0


@dataclass(frozen=True, slots=True)
class Varied:
    """How far new pictures may be from the old ones."""

    mirror: bool = True  # left and right
    upend: bool = False  # up and down
    share: float = 1.0  # of pictures that are made of four
    zoom: tuple[float, float] = (0.6, 1.5)
    colour: float = 1.0  # strength; 0: colours stay


class Labelled(NamedTuple):
    """Pictures on canvases, and their boxes there."""

    canvases: Canvases
    boxes: NDArray[np.float32]  # (m, 4), picture after picture
    labels: NDArray[np.integer]  # (m,) classes; HARD - class of a hard one
    first: NDArray[np.int64]  # (n + 1,): the boxes of picture i are first[i] to first[i + 1]

    def rows(self, pictures: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which boxes these pictures have, (k,), and which of `pictures` each is of."""
        counts = self.first[1:][pictures] - self.first[:-1][pictures]
        which = np.repeat(np.arange(len(pictures)), counts)
        return np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts - self.first[:-1][pictures], counts), which


class _Side(NamedTuple):
    """Where cells lie along one side of the canvas, and what they show: (n, 4) int64 each."""

    start: NDArray[np.int64]  # on the canvas
    shown: NDArray[np.int64]  # how long there
    source: NDArray[np.int64]  # from where in the picture
    taken: NDArray[np.int64]  # how much of it

    def map(self, x: NDArray[np.floating], cell: tuple[NDArray[np.int64], ...], flipped: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Ends (k, 2) of boxes of these cells, from the picture to the canvas; not yet cut off at the ends of the cell."""
        shown = self.shown[cell][:, None]
        x = (x - self.source[cell][:, None]) * (shown / self.taken[cell][:, None])
        return np.where(flipped[:, None], shown - x[:, ::-1], x).astype(np.float64) + self.start[cell][:, None]


def mosaic(data: Labelled, rows: Tensor, pool: Tensor, draw: int, how: Varied) -> tuple[Tensor, Tensor]:
    """New pictures.

    Args:
        data: all pictures.
        rows: (n,) int64, the pictures asked for.
        pool: (k,) int64, those that may be put beside them.
        draw: key of every draw.
        how: how far they may be from the old ones.

    Returns:
        (n, 3, h, w) uint8, and (n, most, 5) label, x1, y1, x2, y2 as float32, filled up with rows labelled -1.
    """
    n, place, cell = len(rows), np.arange(len(rows))[:, None], np.arange(4)

    def u(purpose: str) -> NDArray[np.float64]:
        return chance.uniform(draw, purpose, place, cell)  # (n, 4)

    height, width = (int(k) for k in data.canvases.pixels.shape[2:])
    four = u("four")[:, 0] < how.share
    across = np.where(four, np.round((0.3 + 0.4 * u("across")[:, 0]) * width), width).astype(np.int64)
    down = np.where(four, np.round((0.3 + 0.4 * u("down")[:, 0]) * height), height).astype(np.int64)
    source = pool.numpy()[(u("beside") * len(pool)).astype(np.int64)]
    source[:, 0] = rows.numpy()
    zoom = how.zoom[0] * (how.zoom[1] / how.zoom[0]) ** u("zoom")
    x = _side(data.canvases.extents[source, 1], zoom, across, width, cell % 2 == 1, u("x"))
    y = _side(data.canvases.extents[source, 0], zoom, down, height, cell // 2 == 1, u("y"))
    mirrored, upended = how.mirror & (u("mirror") < 0.5), how.upend & (u("upend") < 0.5)
    pixels = _pasted(data.canvases, source, x, y, mirrored, upended)
    if how.colour:
        pixels = _coloured(pixels, draw, how.colour)
    return pixels, _boxes(data, source, x, y, mirrored, upended, n)


def _side(
    length: NDArray[np.int64],
    zoom: NDArray[np.float64],
    split: NDArray[np.int64],
    end: int,
    second: NDArray[np.bool_],
    u: NDArray[np.float64],
) -> _Side:
    """Cells along one side: pictures of (n, 4) pixels zoomed into the room before or behind the split."""
    start = np.where(second, split[:, None], 0)
    room = np.where(second, end - split[:, None], split[:, None])
    cut = length * zoom > room
    taken = np.where(cut, np.clip(np.round(room / zoom), 1, length), length).astype(np.int64)
    shown = np.where(cut, room, np.minimum(np.maximum(np.round(length * zoom), 1), room)).astype(np.int64)
    return _Side(start + (u * (room - shown + 1)).astype(np.int64), shown, (u * (length - taken + 1)).astype(np.int64), taken)


def _pasted(
    canvases: Canvases, source: NDArray[np.int64], x: _Side, y: _Side, mirrored: NDArray[np.bool_], upended: NDArray[np.bool_]
) -> Tensor:
    """(n, 3, h, w): every cell scaled, smoothed against aliasing, and put in its place; a few calls a picture, each on bytes."""
    there = (x.shown > 0) & (y.shown > 0)
    pixels, at = canvases.pixels, source
    if not isinstance(pixels, Tensor):  # from a file each that is shown is read once
        rows, at = np.unique(np.where(there, source, source[:, :1]), return_inverse=True)
        pixels, at = canvases.take(rows), at.reshape(source.shape)
    new = torch.full((len(source), *pixels.shape[1:]), GREY, dtype=torch.uint8)
    for i, k in zip(*np.nonzero(there), strict=True):
        (a, b), (h, w) = (y.source[i, k], x.source[i, k]), (int(y.shown[i, k]), int(x.shown[i, k]))
        part = pixels[at[i, k], :, a : a + y.taken[i, k], b : b + x.taken[i, k]]
        if part.shape[1:] != (h, w):
            part = F.interpolate(part[None], (h, w), mode="bilinear", antialias=True)[0]
        turned = [d for d, yes in ((1, upended[i, k]), (2, mirrored[i, k])) if yes]
        top, left = y.start[i, k], x.start[i, k]
        new[i, :, top : top + h, left : left + w] = part.flip(turned) if turned else part
    return new


def _coloured(pixels: Tensor, draw: int, strength: float) -> Tensor:
    """Other colours for each picture, (n, 3, h, w) uint8."""
    place = np.arange(len(pixels))

    def drawn(purpose: str, *counters: NDArray[np.integer]) -> Tensor:
        u = 2.0 * chance.uniform(draw, purpose, *counters) - 1.0
        return torch.from_numpy(strength * u).float().view(len(pixels), -1, 1, 1)

    gain = 1.0 + 0.3 * drawn("gain", place[:, None], np.arange(3))
    contrast, saturation = (0.4 * drawn("contrast", place)).exp(), (0.5 * drawn("saturation", place)).exp()
    brightness = 40.0 * drawn("brightness", place)
    v = pixels.float()
    grey = v.mean(1, keepdim=True)
    scale = contrast * gain
    v = torch.addcmul((1.0 - contrast) * MIDDLE + brightness, v, scale * saturation).addcmul_(grey, scale * (1.0 - saturation))
    return v.clamp_(0.0, 255.0).to(torch.uint8)


def _boxes(
    data: Labelled,
    source: NDArray[np.int64],
    x: _Side,
    y: _Side,
    mirrored: NDArray[np.bool_],
    upended: NDArray[np.bool_],
    n: int,
) -> Tensor:
    """The boxes of all cells on the new canvases, cut off at the ends of their cells."""
    row, which = data.rows(source.reshape(-1))
    cell = (which // 4, which % 4)
    there = (x.shown[cell] > 0) & (y.shown[cell] > 0)
    row, cell = row[there], (cell[0][there], cell[1][there])
    old = data.boxes[row]
    ends = [side.map(old[:, k::2], cell, flips[cell]) for k, side, flips in ((0, x, mirrored), (1, y, upended))]
    whole = (ends[0][:, 1] - ends[0][:, 0]) * (ends[1][:, 1] - ends[1][:, 0])
    for side, e in zip((x, y), ends, strict=True):
        low = side.start[cell][:, None]
        np.clip(e, low, low + side.shown[cell][:, None], out=e)
    w, h = (e[:, 1] - e[:, 0] for e in ends)
    kept = (w >= LEAST) & (h >= LEAST) & (w * h >= LEFT * whole)
    new = np.stack([ends[0][:, 0], ends[1][:, 0], ends[0][:, 1], ends[1][:, 1]], 1)
    return filled_up(new[kept], data.labels[row][kept], cell[0][kept], n)


def filled_up(boxes: NDArray[np.floating], labels: NDArray[np.integer], picture: NDArray[np.integer], n: int) -> Tensor:
    """(n, most, 5) label, x1, y1, x2, y2 of boxes sorted by picture; as many rows as the picture with most has, at least 1."""
    counts = np.bincount(picture, minlength=n)
    y = np.full((n, max(int(counts.max(initial=0)), 1), 5), NOTHING, np.float32)
    at = np.arange(len(picture)) - np.repeat(np.cumsum(counts) - counts, counts)
    y[picture, at, 0], y[picture, at, 1:] = labels, boxes
    return torch.from_numpy(y)
