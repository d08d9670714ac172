"""What may be wrong with pictures that can be read: there twice, with two labels, in train and test, blank, rare.

One pass over the pixels: a 64-bit BLAKE2b of each picture (two different ones share it with probability n^2 / 2^65),
its smallest and its largest value.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlearn.data.apart import Apart
from gradlearn.data.stored import Stored

if TYPE_CHECKING:
    from gradlearn.data.images import Pictures

BLOCK = 1 << 20  # bytes looked at at a time: less than a training step needs, so that the end of a run is not its peak
RARE = 10  # examples
UNEVEN = 10.0  # largest class over smallest


def lint(pictures: Pictures) -> list[dict[str, Any]]:
    """Lint rows {"level", "what", "count", "examples"}: those of the reading, and what the pixels and labels show."""
    hashes, blank = looked_at(pictures.pixels)
    side = np.zeros(len(pictures), np.uint8)
    for i, name in enumerate(pictures.split):
        side[pictures.split[name]] = i
    rows = twins(hashes, pictures.labels, side, list(pictures.split), pictures.classes, pictures.files)
    if blank.any():
        where = np.flatnonzero(blank)
        what = f"{len(where)} pictures are blank (one colour all over)"
        examples = [pictures.files[i] for i in where[:5].tolist()]
        rows.append({"level": "warn", "what": what, "count": len(where), "examples": examples})
    if "train" in pictures.split:
        rows += balance(pictures.labels[pictures.split["train"]], pictures.classes)
    return pictures.notes + rows


def looked_at(pixels: np.ndarray | Stored | Apart) -> tuple[np.ndarray, np.ndarray]:
    """(n,) uint64 hash of each picture, (n,) bool whether it is one value all over."""
    n = len(pixels)
    hashes, blank = np.empty(n, np.uint64), np.empty(n, bool)
    one = max(1, int(np.prod(pixels.shape[1:])))
    step = max(1, BLOCK // one)
    for start in range(0, n, step):
        stop = min(n, start + step)
        block = pixels[start:stop] if isinstance(pixels, np.ndarray) else pixels.take(np.arange(start, stop))
        data = np.ascontiguousarray(block).reshape(-1).data
        rows = (data[i : i + one] for i in range(0, len(data), one))
        digests = b"".join([blake2b(row, digest_size=8).digest() for row in rows])
        hashes[start:stop] = np.frombuffer(digests, np.uint64)
        flat, c = block.reshape(stop - start, -1), block.shape[3]
        blank[start:stop] = (flat[:, c:] == flat[:, :-c]).all(axis=1)  # each pixel as the one before it
    return hashes, blank


def twins(
    hashes: np.ndarray,
    labels: np.ndarray,
    side: np.ndarray,
    sides: Sequence[str],
    classes: Sequence[str],
    files: Sequence[str],
) -> list[dict[str, Any]]:
    """Rows about pictures that are there more than once."""
    values = np.sort(hashes)
    if not (values[1:] == values[:-1]).any():
        return []
    order = np.argsort(hashes, kind="stable")
    same = hashes[order][1:] == hashes[order][:-1]
    group = np.empty(len(hashes), np.int64)
    group[order] = np.concatenate([[0], np.cumsum(~same)])
    first = np.empty(int(group.max()) + 1, np.int64)  # its first picture, of each group
    first[group[order[::-1]]] = order[::-1]
    again = np.flatnonzero(first[group] != np.arange(len(hashes)))
    rows = _unlike(again, group, first, labels, classes, files)
    rows += _across(group, side, sides, files)
    inside = _repeats(group, np.flatnonzero(side == sides.index("train")) if "train" in sides else again[:0])
    if len(inside):
        what = f"{len(inside)} pictures of train are copies of others in it"
        rows.append({"level": "info", "what": what, "count": len(inside), "examples": _pairs(inside, group, first, files)})
    return rows


def _repeats(group: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Those of these pictures that repeat an earlier one of them."""
    _, earliest = np.unique(group[members], return_index=True)
    later = np.ones(len(members), bool)
    later[earliest] = False
    return members[later]


def _pairs(where: np.ndarray, group: np.ndarray, first: np.ndarray, files: Sequence[str]) -> list[str]:
    return [f"{files[i]} = {files[int(first[group[i]])]}" for i in where[:5].tolist()]


def _unlike(
    again: np.ndarray,
    group: np.ndarray,
    first: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    files: Sequence[str],
) -> list[dict[str, Any]]:
    other = again[labels[again] != labels[first[group[again]]]]
    if not len(other):
        return []
    examples = []
    for i in other[:5].tolist():
        j = int(first[group[i]])
        examples.append(f"{files[i]} ({classes[int(labels[i])]}) = {files[j]} ({classes[int(labels[j])]})")
    what = f"{len(other)} pictures are there under two different labels"
    return [{"level": "warn", "what": what, "count": len(other), "examples": examples}]


def _across(group: np.ndarray, side: np.ndarray, sides: Sequence[str], files: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        if a not in sides or b not in sides:
            continue
        known, members = np.flatnonzero(side == sides.index(a)), np.flatnonzero(side == sides.index(b))
        source = np.full(int(group.max()) + 1, -1, np.int64)
        source[group[known[::-1]]] = known[::-1]
        leaked = members[source[group[members]] >= 0]
        if len(leaked):
            what = f"{len(leaked)} of {len(members)} pictures of {b} are also in {a}"
            rows.append({"level": "warn", "what": what, "count": len(leaked), "examples": _pairs(leaked, group, source, files)})
    return rows


def balance(labels: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Rows about classes with few examples in train, or far fewer than others."""
    counts = np.bincount(labels, minlength=len(classes))
    rows = []
    few = np.flatnonzero(counts < RARE)
    if len(few):
        examples = [f"{classes[i]} ({counts[i]})" for i in few[:5].tolist()]
        what = f"{len(few)} classes have fewer than {RARE} training pictures"
        rows.append({"level": "warn", "what": what, "count": len(few), "examples": examples})
    low, high = int(counts.argmin()), int(counts.argmax())
    if counts[high] > UNEVEN * counts[low]:
        examples = [f"{classes[high]} ({counts[high]})", f"{classes[low]} ({counts[low]})"]
        what = f"classes are uneven: the largest has {counts[high]} training pictures, the smallest {counts[low]}"
        rows.append({"level": "warn", "what": what, "count": int((counts * UNEVEN < counts[high]).sum()), "examples": examples})
    return rows
