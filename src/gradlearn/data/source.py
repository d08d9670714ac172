"""What a reader hands over before any pixel is decoded: names, labels, and how to get at the pictures in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradlearn.data.reject import Reject

PARTS = ("train", "valid", "test")
PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "test": "test",
}

# A run of pictures: encoded ones, each its bytes or the path of its file; or decoded ones, (n, h, w, c) uint8.
Chunk = list[bytes | str] | np.ndarray


@dataclass(frozen=True)
class Part:
    """The pictures of train, valid or test as one reader found them."""

    where: str  # as the person gave it: error lines begin with it
    names: Sequence[str]  # (n,) below `where`
    labels: np.ndarray  # (n,) int64 into the classes
    chunks: Callable[[], Iterator[Chunk]]  # all n, in order; can be asked for again
    shape: tuple[int, int, int] | None = None  # (h, w, c) where all are alike and known


@dataclass(frozen=True)
class Found:
    """A data set as one reader found it."""

    kind: str  # digits, folder, idx or parquet
    where: str
    classes: tuple[str, ...]
    named: bool  # False: the classes are only numbers
    parts: dict[str, Part]
    notes: list[dict[str, Any]] = field(default_factory=list)  # lint rows
    rejects: list[Reject] = field(default_factory=list)  # pictures that cannot even be opened


def joined(where: str, name: str) -> str:
    """The place of a picture: `where` and the name below it."""
    if not name or where in ("", "."):
        return name or where
    return f"{where.rstrip('/')}/{name}"
