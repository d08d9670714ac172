"""Are flips of what is in the boxes still the same things? Asked of a linear classifier of boxes, and of places without one.

    r = what it knows of flipped boxes / what it knows of boxes as they are            (`mirror.mirror_ratio`)

near 1 where a flip changes nothing (cells, most things left and right), well below where it does (writing; most things up and
down). Whether a flip can be told from the original is another question: the light of a microscope tells it, and it does not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from gradlearn import chance
from gradlearn.boxes import iou
from gradlearn.data.mirror import mirror_ratio

if TYPE_CHECKING:
    from gradlearn.data.mosaic import Labelled

SIDE = 16
MOST = 1000  # boxes looked at
CLEAR = 0.1  # iou with true boxes below which a place has none


def flip_ratios(data: Labelled, pictures: NDArray[np.integer], classes: int, seed: int = 0) -> tuple[float | None, float | None]:
    """r of flips (left and right, up and down) for the boxes of these pictures; None where a classifier could not tell."""
    rows, which = data.rows(pictures)
    asked = data.labels[rows] >= 0
    rows, which = rows[asked], which[asked]
    order = chance.permutation(len(rows), seed, "things")[:MOST]
    boxes, picture, labels = data.boxes[rows[order]], pictures[which[order]], data.labels[rows[order]]
    elsewhere, other = _elsewhere(data, boxes, pictures, seed)
    x = _shrunk(data, np.concatenate([boxes, elsewhere]), np.concatenate([picture, other]))
    labels = np.concatenate([labels, np.full(len(other), classes)])
    mixed = chance.permutation(len(x), seed, "mixed")
    x, labels = x[mixed], labels[mixed]
    return mirror_ratio(x, labels, classes + 1), mirror_ratio(x.transpose(0, 2, 1, 3), labels, classes + 1)


def _elsewhere(
    data: Labelled, boxes: NDArray[np.floating], pictures: NDArray[np.integer], seed: int
) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    """Boxes of the same sizes where nothing is, and in which pictures."""
    m = len(boxes)
    picture = pictures[chance.integers(len(pictures), seed, "elsewhere", np.arange(m))] if m else np.zeros(0, np.int64)
    room = data.canvases.extents[picture][:, ::-1]  # w, h
    size = np.minimum(boxes[:, 2:] - boxes[:, :2], room)
    low = chance.uniform(seed, "where", np.arange(m)[:, None], np.arange(2)) * (room - size)
    new = np.concatenate([low, low + size], 1)
    clear = np.ones(m, bool)
    for i, p in enumerate(picture):
        true = data.boxes[data.first[p] : data.first[p + 1]]
        clear[i] = not len(true) or float(iou(torch.from_numpy(new[i]), torch.from_numpy(true)).max()) < CLEAR
    return new[clear], picture[clear]


def _shrunk(data: Labelled, boxes: NDArray[np.floating], picture: NDArray[np.integer]) -> NDArray[np.float32]:
    """(m, SIDE, SIDE, 3): what is in the boxes of these pictures."""
    height, width = (int(k) for k in data.canvases.pixels.shape[2:])
    low = np.clip(np.floor(boxes[:, :2]), 0, (width - 1, height - 1)).astype(np.int64)
    high = np.maximum(np.clip(np.ceil(boxes[:, 2:]), 0, (width, height)), low + 1).astype(np.int64)
    found = [
        F.interpolate(data.canvases.take(np.array([i]))[:, :, y1:y2, x1:x2].float(), (SIDE, SIDE), mode="bilinear", antialias=True)[
            0
        ]
        for i, (x1, y1), (x2, y2) in zip(picture.tolist(), low.tolist(), high.tolist(), strict=True)
    ]
    return torch.stack(found).permute(0, 2, 3, 1).numpy() if found else np.zeros((0, SIDE, SIDE, 3), np.float32)
