"""What may be wrong with boxes that can be read: there twice, tiny, none in a picture or a class, pictures in two parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlearn.data.boxes.listed import Listed, note
from gradlearn.data.lint import UNEVEN, balance, twins

TINY = 2.0  # pixels


def lint(listed: Listed, boxes: np.ndarray, split: dict[str, np.ndarray], digests: np.ndarray) -> list[dict[str, Any]]:
    """Lint rows about good boxes (M, 4) and whole pictures, whose SHA-256 are the (N, 32) `digests`."""
    rows = [*_repeated(listed, boxes), *_tiny(listed, boxes), *_empty(listed), *_classes(listed, split)]
    side = np.zeros(len(listed.names), np.uint8)
    for i, name in enumerate(split):
        side[split[name]] = i
    hashes = np.ascontiguousarray(digests[:, :8]).view(np.uint64).reshape(-1)
    return rows + twins(hashes, np.zeros(len(hashes), np.int32), side, list(split), listed.classes, listed.names)


def _repeated(listed: Listed, boxes: np.ndarray) -> list[dict[str, Any]]:
    columns = (*boxes.T, listed.labels, listed.pictures)
    order = np.lexsort(columns)
    same = np.ones(max(len(order) - 1, 0), bool)
    for column in columns:
        same &= column[order[1:]] == column[order[:-1]]
    again = np.sort(order[1:][same])
    if not len(again):
        return []
    what = f"{len(again)} boxes are exact copies of others in their pictures"
    return [note("warn", what, len(again), [listed.place(i) for i in again[:5].tolist()])]


def _tiny(listed: Listed, boxes: np.ndarray) -> list[dict[str, Any]]:
    tiny = np.flatnonzero((boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) < TINY)
    if not len(tiny):
        return []
    what = f"{len(tiny)} boxes are less than {TINY:g} pixels wide or high"
    return [note("warn", what, len(tiny), [listed.place(i) for i in tiny[:5].tolist()])]


def _empty(listed: Listed) -> list[dict[str, Any]]:
    filled = np.zeros(len(listed.names), bool)
    filled[listed.pictures] = True
    empty = np.flatnonzero(~filled)
    if not len(empty):
        return []
    what = f"{len(empty)} of {len(filled)} pictures have no boxes: all of them is background"
    return [note("info", what, len(empty), [listed.names[i] for i in empty[:5].tolist()])]


def _classes(listed: Listed, split: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Classes without boxes, and, of those that have some, rare and uneven ones in train."""
    trained = np.zeros(len(listed.names), bool)
    trained[split["train"]] = True
    counts = np.bincount(listed.labels, minlength=len(listed.classes))
    inside = np.bincount(listed.labels[trained[listed.pictures]], minlength=len(listed.classes))
    rows = []
    for some, what in ((counts == 0, "have no boxes"), ((counts > 0) & (inside == 0), "have no boxes in train")):
        names = [listed.classes[i] for i in np.flatnonzero(some).tolist()]
        if names:
            said = f"{len(names)} of {len(counts)} classes {what}"
            rows.append(note("warn", said, len(names), names))
    here = np.flatnonzero(inside)
    if len(here) > 1 and inside[here].max() > UNEVEN * inside[here].min():
        labels = listed.labels[trained[listed.pictures]]
        rows += [
            row | {"what": row["what"].replace("training pictures", "boxes in train")}
            for row in balance(np.searchsorted(here, labels[np.isin(labels, here)]), [listed.classes[i] for i in here.tolist()])
        ]
    return rows
