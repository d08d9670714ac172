"""Boxes: how far two of them overlap, and which of many that show the same thing are kept.

    iou(a, b)  = |a and b| / |a or b|                                    1: the same, 0: apart
    giou(a, b) = iou - (|c| - |a or b|) / |c|,   c the smallest box around both
    diou(a, b) = iou - distance(centres)^2 / diagonal(c)^2
    ciou(a, b) = diou - v^2 / (1 - iou + v),     v = (2/pi)^2 (atan(w_a/h_a) - atan(w_b/h_b))^2

A box is (x1, y1, x2, y2) in pixels, x1 <= x2 and y1 <= y2; (..., 4) against (..., 4), broadcast. iou says how good a box is; the
others have a slope where two boxes are apart, and serve as losses, `1 - giou`. Rezatofighi et al., arXiv 1902.09630; Zheng et al.,
arXiv 1911.08287. `nms` is the greedy rule, found as a fixed point of all pairs at once (Zheng et al., arXiv 2005.03572).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

NOTHING, HARD = -1, -2  # labels of rows beside true boxes: one that only fills up; less the class, a box of which nothing is asked
TINY = 1e-9  # under a division: square pixels of nothing


def area(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...): square pixels; 0 of a box turned inside out."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0.0).prod(-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, in [0, 1]; 0 where both are empty."""
    return _overlap(a, b)[0]


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised iou, in (-1, 1]."""
    overlap, union = _overlap(a, b)
    around = _around(a, b).prod(-1)
    return overlap - (around - union) / around.clamp_min(TINY)


def diou(a: Tensor, b: Tensor) -> Tensor:
    """Iou less the distance of the centres, in (-1, 1]."""
    return _overlap(a, b)[0] - _apart(a, b)


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Diou less a difference of shapes, in (-2, 1]; no slope goes through the weight of that difference."""
    overlap = _overlap(a, b)[0]
    turn = _slant(a) - _slant(b)
    shape = (2.0 / math.pi * turn).square()
    weight = shape.detach() / (1.0 - overlap.detach() + shape.detach()).clamp_min(TINY)
    return overlap - _apart(a, b) - weight * shape


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(iou, union)."""
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    both = sides.clamp_min(0.0).prod(-1)
    union = area(a) + area(b) - both
    return both / union.clamp_min(TINY), union


def _around(a: Tensor, b: Tensor) -> Tensor:
    """(..., 2): width and height of the smallest box around both."""
    return torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of the centres, in squared diagonals of the box around both."""
    between = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2.0
    return between.square().sum(-1) / _around(a, b).square().sum(-1).clamp_min(TINY)


def _slant(boxes: Tensor) -> Tensor:
    sides = boxes[..., 2:] - boxes[..., :2]
    return torch.atan2(sides[..., 0], sides[..., 1].clamp_min(TINY))


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, most: int = 300) -> Tensor:
    """Which boxes are kept, best first: one goes where a better one of its class that is kept overlaps it by more than `threshold`.

    Args:
        boxes: (n, 4); memory and time grow with n squared, take the best thousand.
        scores: (n,); of equal ones the earlier is better.
        labels: (n,) int64.
        threshold: of `iou`, in [0, 1].
        most: how many are kept.

    Returns:
        (k,) int64 rows, k <= most, by falling score.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, labels = boxes[order], labels[order]
    close = (iou(boxes[:, None], boxes[None]) > threshold) & (labels[:, None] == labels[None])
    above = close.triu(1).to(torch.float32)  # [i, j]: i is better than j, and close to it
    kept = torch.ones(len(boxes))
    while True:  # the k best are right after k rounds: it ends, and seldom takes more than a few
        again = ((kept @ above) == 0.0).to(torch.float32)
        if torch.equal(again, kept):
            return order[kept.bool()][:most]
        kept = again
