"""How good found boxes are: COCO's average precision, precision and recall, who is taken for whom, and errors by kind.

    AP = mean over 101 recalls r of max precision at recall >= r,   mAP = mean over classes and IoU .50, .55, ..., .95

The averages are COCO's own, computed by faster-coco-eval (extra `detect`): at most 100 boxes of a class in a picture count, hard
boxes (difficult, crowds) are neither right nor wrong. Confusion and errors: `detection_errors.py`.

Lin et al., "Microsoft COCO", ECCV 2014, https://arxiv.org/abs/1405.0312
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlearn.data.boxes.boxed import Boxed
from gradlearn.detection_errors import KINDS, Found, chosen, confuse, explain, matched
from gradlearn.errors import InputTrouble

MOST = 100  # boxes of a class in a picture


@dataclass(frozen=True)
class Score:
    """Averages of C classes, and errors at a score threshold."""

    map: float  # mean AP over classes and IoU .50 to .95; nan where there is no box at all
    map50: float
    map75: float
    ap: np.ndarray  # (C,) over IoU .50 to .95; nan for a class without boxes
    ap50: np.ndarray  # (C,)
    boxes: np.ndarray  # (C,) int64 true boxes, hard ones not counted
    recalls: np.ndarray  # (101,) 0, .01, ..., 1
    precision: np.ndarray  # (C, 101) at IoU .5: the best at this recall or above; nan for a class without boxes
    threshold: float  # score from which on a box counts below
    confusion: np.ndarray  # (C + 1, C + 1) int64, true class by found class; the last is background
    errors: dict[str, int]  # by KINDS


def score(truth: Boxed, pictures: np.ndarray, found: Found, threshold: float | None = None) -> Score:
    """Score what was found in these (n,) pictures of `truth`.

    `threshold`: the score from which on boxes count for confusion and errors; None: where F1 at IoU .5 over all classes is highest.
    Raises InputTrouble for boxes of other lengths, and where faster-coco-eval is not installed.
    """
    if len(found.first) != len(pictures) + 1 or {len(found.boxes), len(found.labels), len(found.scores)} != {int(found.first[-1])}:
        raise InputTrouble(
            "found boxes: lengths differ from each other or from the pictures; `first` has one entry more than pictures"
        )
    classes = len(truth.classes)
    precision = _evaluated(truth, pictures, found)
    ap, ap50, ap75 = precision.mean(axis=(0, 1)), precision[0].mean(axis=0), precision[5].mean(axis=0)
    rows = truth.rows(pictures)
    counts = np.bincount(truth.labels[rows][~truth.hard[rows]], minlength=classes)
    if threshold is None:
        threshold = surest(truth, pictures, found, int(counts.sum()))
    confusion = np.zeros((classes + 1, classes + 1), np.int64)
    errors: dict[str, int] = dict.fromkeys(KINDS, 0)
    for i, picture in enumerate(pictures.tolist()):
        one = matched(truth, found, i, picture, threshold)
        confuse(confusion, one)
        explain(errors, one)
    return Score(
        map=_one(ap),
        map50=_one(ap50),
        map75=_one(ap75),
        ap=ap,
        ap50=ap50,
        boxes=counts,
        recalls=np.linspace(0.0, 1.0, 101),
        precision=precision[0].T,
        threshold=float(threshold),
        confusion=confusion,
        errors=errors,
    )


def _evaluated(truth: Boxed, pictures: np.ndarray, found: Found) -> np.ndarray:
    """(10, 101, C) precision by IoU, recall and class; nan for a class without boxes."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        raise InputTrouble("detection: scoring needs faster-coco-eval; pip install 'gradlearn[detect]'") from None
    logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)
    images = [{"id": i} for i in range(1, len(pictures) + 1)]
    categories = [{"id": c + 1, "name": name} for c, name in enumerate(truth.classes)]
    both = []
    for items in (_true(truth, pictures), _detected(found)):
        both.append(COCO({"images": images, "categories": categories, "annotations": list(items)}))
    run = COCOeval_faster(*both, iouType="bbox")
    run.params.maxDets, run.params.areaRng, run.params.areaRngLbl = [1, 10, MOST], [[0, 1e10]], ["all"]
    run.evaluate()
    run.accumulate()
    precision = np.asarray(run.eval["precision"]).reshape(10, 101, len(categories), 3)[:, :, :, 2]
    return np.where(precision < 0, np.nan, precision)


def _true(truth: Boxed, pictures: np.ndarray) -> Iterator[dict[str, Any]]:
    number = 1
    for i, p in enumerate(pictures.tolist()):
        for box, label, hard in zip(*(a.tolist() for a in truth.of(p)), strict=True):
            yield _item(number, i, label, box) | {"iscrowd": int(hard)}
            number += 1


def _detected(found: Found) -> Iterator[dict[str, Any]]:
    owner = np.repeat(np.arange(len(found.first) - 1), np.diff(found.first)).tolist()
    every = zip(owner, found.labels.tolist(), found.boxes.tolist(), found.scores.tolist(), strict=True)
    for number, (i, label, box, s) in enumerate(every, 1):
        yield _item(number, i, label, box) | {"score": s}


def _item(number: int, picture: int, label: int, box: list[float]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    w, h = max(x2 - x1, 0.0), max(y2 - y1, 0.0)
    return {"id": number, "image_id": picture + 1, "category_id": label + 1, "bbox": [x1, y1, w, h], "area": w * h, "iscrowd": 0}


def _one(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def surest(truth: Boxed, pictures: np.ndarray, found: Found, boxes: int) -> float:
    """The score from which on F1 at IoU .5 over all classes is highest, for so many true boxes; .5 where nothing is right."""
    values, hits = [np.empty(0)], [np.empty(0, bool)]
    for i, picture in enumerate(pictures.tolist()):
        one = matched(truth, found, i, picture)
        values.append(found.scores[chosen(found, i)][~one.spared].astype(np.float64))
        hits.append((one.right >= 0)[~one.spared])
    scores, right = np.concatenate(values), np.concatenate(hits)
    if not right.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    f1 = 2 * np.cumsum(right[order]) / (np.arange(1, len(order) + 1) + boxes)
    last = np.append(scores[order][1:] != scores[order][:-1], True)  # a threshold takes all boxes of its score
    return float(scores[order][last][f1[last].argmax()])
