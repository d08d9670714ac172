"""Average precision: how much of what is in the pictures a detector finds, and how little else.

    a detection is right where it overlaps a true box of its class, not yet taken by a better one, with iou >= t
    AP_t = mean over r in 0, 0.01, ..., 1 of   max precision at a recall of at least r,    detections by falling score
    mAP50 = mean of AP_0.5 over classes,       mAP = mean over classes and t = 0.5, 0.55, ..., 0.95

As COCO counts (Lin et al., arXiv 1405.0312), over all detections given. True boxes marked hard are not asked for, and a detection
of one is neither right nor wrong (Everingham et al., "The Pascal VOC challenge", 2010). Classes of which there is no box to be
found have no number, and do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gradlearn.boxes import iou

STEPS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))  # t
RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True)
class Found:
    """Boxes in pictures, detected or true.

    Attributes:
        boxes: (m, 4) x1, y1, x2, y2.
        labels: (m,) which class, from 0.
        picture: (m,) in which picture.
        scores: (m,) of detections; of true boxes anything.
        hard: (m,) of true boxes: those nobody is asked to find; None: there are none.
    """

    boxes: NDArray[np.floating]
    labels: NDArray[np.integer]
    picture: NDArray[np.integer]
    scores: NDArray[np.floating]
    hard: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision of every class at every threshold; not a number where there is nothing to find."""

    ap: NDArray[np.float64]  # (classes, 10)

    @property
    def mean(self) -> float:
        """mAP; 0 where there was nothing at all to find."""
        return _mean(self.ap.mean(1))

    @property
    def mean50(self) -> float:
        """mAP50, likewise."""
        return _mean(self.ap[:, 0])


def average_precision(found: Found, truth: Found, classes: int) -> Precision:
    """Average precision of detections against true boxes.

    Args:
        found: the detections, in any order; of equal scores the earlier comes first.
        truth: the true boxes.
        classes: how many there are.
    """
    return Precision(np.stack([_of_class(found, truth, k) for k in range(classes)]).reshape(classes, len(STEPS)))


def _of_class(found: Found, truth: Found, k: int) -> NDArray[np.float64]:
    """(10,) AP of class k."""
    ours, theirs = np.flatnonzero(found.labels == k), np.flatnonzero(truth.labels == k)
    hard = np.zeros(len(theirs), bool) if truth.hard is None else truth.hard[theirs]
    wanted = int((~hard).sum())
    if not wanted:
        return np.full(len(STEPS), np.nan)
    ours = ours[np.argsort(-found.scores[ours], kind="stable")]
    right, counts = np.zeros((len(ours), len(STEPS)), bool), np.ones((len(ours), len(STEPS)), bool)
    mine, other = found.picture[ours], truth.picture[theirs]
    for picture in np.unique(mine):
        a, b = np.flatnonzero(mine == picture), np.flatnonzero(other == picture)
        right[a], counts[a] = matched(found.boxes[ours[a]], truth.boxes[theirs[b]], hard[b])
    return np.array([_area(right[counts[:, t], t], wanted) for t in range(len(STEPS))])


def matched(
    found: NDArray[np.floating], truth: NDArray[np.floating], hard: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detections of one class in one picture, (n, 4) best first, are right, and which count at all: (n, 10) each."""
    n, steps = len(found), np.array(STEPS)
    right, counts = np.zeros((n, len(STEPS)), bool), np.ones((n, len(STEPS)), bool)
    if not n or not len(truth):
        return right, counts
    overlap = iou(torch.from_numpy(found.astype(np.float64))[:, None], torch.from_numpy(truth.astype(np.float64))[None]).numpy()
    free = np.broadcast_to(~hard, (len(STEPS), len(truth))).copy()  # (10, m): not hard, not yet taken
    counts &= ~(overlap[:, None, :] * hard >= steps[:, None]).any(2)
    every = np.arange(len(STEPS))
    for i in range(n):
        left = np.where(free, overlap[i], -1.0)
        best = left.argmax(1)
        right[i] = left[every, best] >= steps
        free[every, best] &= ~right[i]
    return right, counts | right


def _area(right: NDArray[np.bool_], wanted: int) -> float:
    """Area under precision over recall, of detections by falling score."""
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / wanted, RECALLS, side="left")
    return float(np.append(best, 0.0)[at].mean())


def _mean(of_classes: NDArray[np.float64]) -> float:
    known = of_classes[~np.isnan(of_classes)]
    return float(known.mean()) if len(known) else 0.0
