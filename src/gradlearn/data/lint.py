"""What may be wrong with pictures that can be read: there twice, nearly so, with two labels, in train and test, blank, rare.

One pass over the pixels: a 64-bit BLAKE2b of each picture (two different ones share it with probability n^2 / 2^65), whether it is
one colour all over, and 8 x 8 grey means by which near copies are found (`alike.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlearn.data.alike import SIDE, pairs, shrunk
from gradlearn.data.apart import Apart
from gradlearn.data.stored import Stored

if TYPE_CHECKING:
    from gradlearn.data.images import Pictures

BLOCK = 1 << 20  # bytes looked at at a time: less than a training step needs, so that the end of a run is not its peak
RARE = 10  # examples
UNEVEN = 10.0  # largest class over smallest
LEAK = 0.01  # share of a part whose near copies in another are worth a warning
FEW = 5  # examples named
PARTS = (("train", "valid"), ("train", "test"), ("valid", "test"))


def lint(pictures: Pictures) -> list[dict[str, Any]]:
    """Lint rows: those of the reading, and what the pixels and labels show.

    A row is {"level", "what", "count", "examples"}; those about single pictures have "at", one list for each example with the
    indices of the pictures in it, and those of a fixed kind a "name": copies, leak, near, labels, near labels, blank, rare, uneven.
    """
    hashes, blank, small = looked_at(pictures.pixels)
    side = np.zeros(len(pictures), np.uint8)
    for i, name in enumerate(pictures.split):
        side[pictures.split[name]] = i
    sides, labels, classes = list(pictures.split), pictures.labels, pictures.classes
    rows = twins(hashes, labels, side, sides, classes, pictures.files)
    group = side.astype(np.int64) * len(classes) + labels
    rows += near(pairs(pictures.pixels, small, hashes, group), labels, side, sides, classes, pictures.files)
    if blank.any():
        where = np.flatnonzero(blank)
        what = f"{len(where)} pictures are blank (one colour all over)"
        examples = [str(pictures.files[i]) for i in where[:FEW].tolist()]
        rows.append(_row("blank", "warn", what, len(where), examples, [[i] for i in where[:FEW].tolist()]))
    if "train" in pictures.split:
        rows += balance(labels[pictures.split["train"]], classes)
    return pictures.notes + rows


def _row(
    name: str, level: str, what: str, count: int, examples: list[str], at: Sequence[Sequence[int]] = (), **more: str
) -> dict[str, Any]:
    row = {"level": level, "what": what, "count": count, "examples": examples, "name": name}
    return row | ({"at": [list(one) for one in at]} if at else {}) | more


def looked_at(pixels: np.ndarray | Stored | Apart) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) uint64 hash of each picture, (n,) bool whether it is one value all over, (n, k) float16 its means in grey."""
    n = len(pixels)
    hashes, blank = np.empty(n, np.uint64), np.empty(n, bool)
    small = np.empty((n, min(SIDE, pixels.shape[1]) * min(SIDE, pixels.shape[2])), np.float16)
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
        small[start:stop] = shrunk(block, SIDE, grey=True)
    return hashes, blank, small


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
        rows.append(_row("copies", "info", what, len(inside), *_told(inside, first[group[inside]], files)))
    return rows


def _repeats(group: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Those of these pictures that repeat an earlier one of them."""
    _, earliest = np.unique(group[members], return_index=True)
    later = np.ones(len(members), bool)
    later[earliest] = False
    return members[later]


def _told(
    where: np.ndarray, other: np.ndarray, files: Sequence[str], sign: str = "=", of: Callable[[int], str] | None = None
) -> tuple[list[str], list[list[int]]]:
    """The first few of these pictures and what each is a copy of: by name (and class), and by index."""
    at: list[list[int]] = np.stack([where[:FEW], other[:FEW]], axis=1).tolist()
    names = [[str(files[k]) + (f" ({of(k)})" if of is not None else "") for k in one] for one in at]
    return [f" {sign} ".join(one) for one in names], at


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
    what = f"{len(other)} pictures are there under two different labels"
    return [
        _row("labels", "warn", what, len(other), *_told(other, first[group[other]], files, of=lambda k: classes[int(labels[k])]))
    ]


def _across(group: np.ndarray, side: np.ndarray, sides: Sequence[str], files: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for a, b in PARTS:
        if a not in sides or b not in sides:
            continue
        known, members = np.flatnonzero(side == sides.index(a)), np.flatnonzero(side == sides.index(b))
        source = np.full(int(group.max()) + 1, -1, np.int64)
        source[group[known[::-1]]] = known[::-1]
        leaked = members[source[group[members]] >= 0]
        if len(leaked):
            what = f"{len(leaked)} of {len(members)} pictures of {b} are also in {a}"
            told = _told(leaked, source[group[leaked]], files)
            rows.append(_row("leak", "warn", what, len(leaked), *told, part=b, other=a))
    return rows


def near(
    found: np.ndarray,
    labels: np.ndarray,
    side: np.ndarray,
    sides: Sequence[str],
    classes: Sequence[str],
    files: Sequence[str],
) -> list[dict[str, Any]]:
    """Rows about pairs (m, 2) of pictures that are nearly the same: across parts, and under two labels."""
    rows = []
    for a, b in PARTS:
        if a not in sides or b not in sides:
            continue
        i, j = sides.index(a), sides.index(b)
        there = (side[found] == i).any(axis=1) & (side[found] == j).any(axis=1)
        some = np.where(side[found[there]][:, :1] == j, found[there], found[there][:, ::-1])  # the one in b comes first
        where, at = np.unique(some[:, 0], return_index=True)
        if len(where):
            n = int((side == j).sum())
            what = f"{len(where)} of {n} pictures of {b} {'is' if len(where) == 1 else 'are'} nearly the same as one of {a}"
            level = "warn" if len(where) >= LEAK * n else "info"
            rows.append(_row("near", level, what, len(where), *_told(where, some[at, 1], files, "~"), part=b, other=a))
    unlike = found[labels[found[:, 0]] != labels[found[:, 1]]]
    if len(unlike):
        what = f"{len(unlike)} pairs of pictures that are nearly the same have different labels"
        told = _told(unlike[:, 1], unlike[:, 0], files, "~", lambda k: classes[int(labels[k])])
        rows.append(_row("near labels", "warn", what, len(unlike), *told))
    return rows


def balance(labels: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Rows about classes with few examples in train, or far fewer than others."""
    counts = np.bincount(labels, minlength=len(classes))
    rows = []
    few = np.flatnonzero(counts < RARE)
    if len(few):
        examples = [f"{classes[i]} ({counts[i]})" for i in few[:FEW].tolist()]
        what = f"{len(few)} classes have fewer than {RARE} training pictures"
        rows.append(_row("rare", "warn", what, len(few), examples))
    low, high = int(counts.argmin()), int(counts.argmax())
    if counts[high] > UNEVEN * counts[low]:
        examples = [f"{classes[high]} ({counts[high]})", f"{classes[low]} ({counts[low]})"]
        what = f"classes are uneven: the largest has {counts[high]} training pictures, the smallest {counts[low]}"
        rows.append(_row("uneven", "warn", what, int((counts * UNEVEN < counts[high]).sum()), examples))
    return rows
