"""What a detector sees in pictures: its answers become a few boxes with classes and scores.

    raw answers -> decode -> the best pairs of place and class, with a score of at least `floor` -> cut to the picture -> nms

A place may see several classes at once, each has a score of its own. For scoring, `floor` is low and everything counts by its rank;
to show somebody what is there, take one of 0.3 or so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradlearn.boxes import nms
from gradlearn.models.detector import decode, places

if TYPE_CHECKING:
    from gradlearn.data.canvas import Canvases
    from gradlearn.detection_errors import Found
    from gradlearn.models.detector import Detector

__all__ = ["Detected", "detect", "gathered", "picked"]

CANDIDATES = 600
MOST = 300  # boxes in a picture
FLOOR = 0.01  # score
CLOSE = 0.6  # iou from which two boxes of a class are one


class Detected(NamedTuple):
    """Boxes found in one picture, best first."""

    boxes: Tensor  # (k, 4) x1, y1, x2, y2 in pixels of the canvas
    scores: Tensor  # (k,) in [0, 1]
    labels: Tensor  # (k,) int64


def detect(model: Detector, pixels: Tensor, extents: Tensor, floor: float = FLOOR) -> list[Detected]:
    """What the model, in evaluation mode, sees in pictures (n, c, h, w) of which (n, 2) h, w are picture and the rest is canvas."""
    with torch.no_grad():
        answers = model(pixels)
        scores, boxes = decode(answers, places(answers, model.strides))
        return [picked(s, b, e, floor) for s, b, e in zip(scores.sigmoid(), boxes, extents, strict=True)]


def picked(scores: Tensor, boxes: Tensor, extent: Tensor, floor: float = FLOOR) -> Detected:
    """Of one picture's scores (a, classes) in [0, 1] and boxes (a, 4), those worth telling."""
    classes = scores.shape[1]
    best, at = scores.flatten().topk(min(CANDIDATES, scores.numel()))
    at = at[best >= floor]
    found, labels = boxes[at // classes], at % classes
    ends = extent.flip(0).repeat(2).to(found)  # w, h, w, h
    found = torch.minimum(found.clamp_min(0.0), ends)
    kept = nms(found, best[: len(at)], labels, CLOSE, MOST)
    return Detected(found[kept], best[kept], labels[kept])


def gathered(found: Sequence[Detected], canvases: Canvases, pictures: np.ndarray) -> Found:
    """What was found in these pictures (n,), one after the other, in pixels of their files."""
    from gradlearn.detection_errors import Found

    counts = [len(one.boxes) for one in found]
    parts = [torch.cat([one[k] for one in found]).numpy() if found else np.zeros((0, 4) if k == 0 else 0) for k in range(3)]
    boxes = canvases.back(parts[0], np.repeat(pictures, counts))
    return Found(boxes, parts[2].astype(np.int64), parts[1], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
