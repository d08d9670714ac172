"""`Boxed`: pictures with boxes in them, as flat arrays; no pixel is decoded, and no box is an object.

    boxes[first[i] : first[i + 1]]        the boxes of picture i: x1 y1 x2 y2, in pixels of the picture as it is shown

Coordinates are continuous: 0 is the left or upper edge of the picture, w or h the other one, so that a box is x2 - x1 wide.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NAMES = {"voc": "Pascal VOC", "coco": "COCO", "yolo": "YOLO"}


@dataclass(frozen=True)
class Boxed:
    """N pictures with M boxes of C classes; a picture may have none."""

    root: str  # real path of a folder
    files: Sequence[str]  # (N,) names below `root`, or absolute where a link leads out of it
    sizes: np.ndarray  # (N, 2) int32 h, w as shown: a rotation in EXIF is applied
    boxes: np.ndarray  # (M, 4) float32 x1 y1 x2 y2: 0 <= x1 < x2 <= w, 0 <= y1 < y2 <= h
    labels: np.ndarray  # (M,) int32 into `classes`
    hard: np.ndarray  # (M,) bool: difficult (VOC), a crowd (COCO); not trained on, neither right nor wrong when scored
    first: np.ndarray  # (N + 1,) int64
    classes: tuple[str, ...]
    split: dict[str, np.ndarray]  # "train", "valid", "test": (k,) int32 into N, disjoint, complete
    kind: str  # voc, coco or yolo
    source: str  # what was read, as it was given
    notes: list[dict[str, Any]]  # lint rows {"level", "what", "count", "examples"}
    fingerprint: str  # SHA-256 over names, sizes, boxes, labels and the contents of the pictures; not over times or places
    image_ids: np.ndarray  # (N,) int64: COCO's ids, else 1, 2, ...
    category_ids: np.ndarray  # (C,) int64: COCO's ids, else 1, 2, ...

    def __len__(self) -> int:
        return len(self.files)

    def path(self, i: int) -> str:
        """Where picture i is."""
        return os.path.join(self.root, self.files[i])

    def of(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (k, 4), labels (k,) and hard (k,) of picture i: views."""
        here = slice(int(self.first[i]), int(self.first[i + 1]))
        return self.boxes[here], self.labels[here], self.hard[here]

    def rows(self, pictures: np.ndarray) -> np.ndarray:
        """(m,) int64 indices of all boxes of these pictures, picture after picture."""
        counts = self.first[1:][pictures] - self.first[:-1][pictures]
        ends = np.cumsum(counts)
        return np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(self.first[:-1][pictures] - (ends - counts), counts)

    @property
    def summary(self) -> str:
        """One line: what it is and how much there is."""
        parts = ", ".join(f"{len(rows):,} {name}" for name, rows in self.split.items())
        classes = f"{len(self.classes)} class{'es' if len(self.classes) != 1 else ''}"
        return f"{NAMES[self.kind]}: {classes}, {len(self.boxes):,} boxes in {len(self):,} pictures; {parts}"
