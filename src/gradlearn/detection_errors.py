"""What is wrong with found boxes, one picture at a time: who is taken for whom, and errors by kind, after TIDE.

At IoU .5 and one score threshold:

    duplicate     lies on a box of its class that a better one has found      wrong class    lies on a box of another class
    badly placed  IoU .1 to .5 with a box of its class                        both           the same with one of another class
    background    less than .1 with every box                                 missed         a box that none of these explains

Hard boxes (difficult, crowds) are neither right nor wrong: a found box of their class that lies in one is passed over.

Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, https://arxiv.org/abs/2008.08115
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gradlearn.data.boxes.boxed import Boxed

MATCH, NEAR = 0.5, 0.1  # IoU
KINDS = ("missed", "wrong class", "badly placed", "both", "duplicate", "background")


@dataclass(frozen=True)
class Found:
    """Boxes that a detector found in n pictures; K in all."""

    boxes: np.ndarray  # (K, 4) float x1 y1 x2 y2, in pixels of the pictures as shown
    labels: np.ndarray  # (K,) int into the classes
    scores: np.ndarray  # (K,) float, the higher the surer
    first: np.ndarray  # (n + 1,) int: boxes of the i-th picture are first[i] to first[i + 1]


class Matched(NamedTuple):
    """The boxes of one picture, found by true."""

    mine: np.ndarray  # (d,) int class of each found box, the surest first
    theirs: np.ndarray  # (g,) int class of each true box that is not hard
    iou: np.ndarray  # (d, g) with true boxes that are not hard
    right: np.ndarray  # (d,) int64 the true box that each found one of its class has, best scores first; -1 none
    spared: np.ndarray  # (d,) bool lies in a hard box of its class, and has no other
    owners: np.ndarray  # (d,) int64 the true box that each has, whatever the classes, nearest first; -1 none


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) intersection over union of (n, 4) and (m, 4) corners."""
    inner = _inner(a, b)
    union = _area(a)[:, None] + _area(b) - inner
    return inner / np.maximum(union, 1e-12)


def _inner(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    sides = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    return np.clip(sides, 0, None).prod(axis=2)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)


def chosen(found: Found, i: int, threshold: float = -np.inf) -> np.ndarray:
    """Rows of the boxes found in the i-th picture with such a score or a higher one, the surest first."""
    here = np.arange(int(found.first[i]), int(found.first[i + 1]))
    here = here[found.scores[here] >= threshold]
    return here[np.argsort(-found.scores[here], kind="stable")]


def matched(truth: Boxed, found: Found, i: int, picture: int, threshold: float = -np.inf) -> Matched:
    """Which found box of the i-th picture has which true one, at IoU .5."""
    rows = chosen(found, i, threshold)
    boxes, labels, hard = truth.of(picture)
    mine, theirs = found.labels[rows], labels[~hard]
    found_boxes = found.boxes[rows].astype(np.float64)
    overlap = iou(found_boxes, boxes[~hard].astype(np.float64))
    inside = _inner(found_boxes, boxes[hard].astype(np.float64)) / np.maximum(_area(found_boxes), 1e-12)[:, None]
    right = _by_score(np.where(mine[:, None] == theirs, overlap, 0.0))
    within = (np.where(mine[:, None] == labels[hard], inside, 0.0) >= MATCH).any(axis=1)
    return Matched(mine, theirs, overlap, right, within & (right < 0), _by_nearness(overlap))


def _by_score(overlap: np.ndarray) -> np.ndarray:
    """(d,): each in turn takes the free true box that it overlaps most, if by MATCH at least; -1 none."""
    taken = np.full(len(overlap), -1)
    left = overlap.copy()
    for k in np.flatnonzero(overlap.max(axis=1, initial=0.0) >= MATCH).tolist():
        best = int(left[k].argmax())
        if left[k, best] >= MATCH:
            taken[k] = best
            left[:, best] = 0.0
    return taken


def _by_nearness(overlap: np.ndarray) -> np.ndarray:
    """(d,): the pairs that overlap most are matched first; -1 none."""
    taken, used = np.full(len(overlap), -1), set()
    d, g = np.nonzero(overlap >= MATCH)
    for k in np.argsort(-overlap[d, g], kind="stable").tolist():
        if taken[d[k]] < 0 and g[k] not in used:
            taken[d[k]] = g[k]
            used.add(g[k])
    return taken


def confuse(confusion: np.ndarray, one: Matched) -> None:
    """Add one picture to (C + 1, C + 1) int64, true class by found class; the last is background."""
    mine, theirs = one.mine, one.theirs
    background = len(confusion) - 1
    has = one.owners >= 0
    np.add.at(confusion, (theirs[one.owners[has]], mine[has]), 1)
    np.add.at(confusion[background], mine[~has & ~one.spared], 1)
    missed = np.ones(len(theirs), bool)
    missed[one.owners[has]] = False
    np.add.at(confusion[:, background], theirs[missed], 1)


def explain(errors: dict[str, int], one: Matched) -> None:
    """Count each found box that is not right by what is wrong with it, and each true box that nothing explains."""
    mine, theirs = one.mine, one.theirs
    same = mine[:, None] == theirs
    own, other = np.where(same, one.iou, 0.0), np.where(same, 0.0, one.iou)
    explained = np.zeros(len(theirs), bool)
    explained[one.right[one.right >= 0]] = True
    for k in np.flatnonzero((one.right < 0) & ~one.spared).tolist():
        near, foreign = own[k].max(initial=0.0), other[k].max(initial=0.0)
        if near >= MATCH:
            errors["duplicate"] += 1
        elif foreign >= MATCH:
            errors["wrong class"] += 1
            explained[other[k].argmax()] = True
        elif near >= NEAR:
            errors["badly placed"] += 1
            explained[own[k].argmax()] = True
        else:
            errors["both" if foreign >= NEAR else "background"] += 1
    errors["missed"] += int((~explained).sum())
