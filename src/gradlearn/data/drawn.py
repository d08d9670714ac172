"""Pictures as a task draws them: some rows of what was read, changed anew in every batch of training.

    batch = PictureData(pictures, rows, augment)(index, draw)          draw -1: as they are

Pictures stay bytes, channels last in memory; a batch is one gather from memory, or one read of a file, and then `augment.apply`.
What it is depends on (rows, index, draw), on the strength that the run sets and on what it is told of the time, on nothing else.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn.data.apart import in_memory
from gradlearn.data.augment import Augment, apply
from gradlearn.data.progressive import UNTIL
from gradlearn.data.shift import alternating
from gradlearn.symbols import Batch, Now

if TYPE_CHECKING:
    from gradlearn.data.images import Pictures


class PictureData:
    """Some of the pictures as `Data`; training draws change them as `augment` says, draw -1 leaves them as they are.

    `once`: whether each picture comes once an epoch; then it is mirrored in every second one.
    """

    def __init__(self, pictures: Pictures, rows: np.ndarray, augment: Augment | None = None, once: bool = False) -> None:
        self.pictures, self.rows = pictures, torch.from_numpy(np.ascontiguousarray(rows))
        self.labels = torch.from_numpy(np.ascontiguousarray(pictures.labels))
        self.pixels, self.at = in_memory(pictures.pixels, rows)
        self.augment, self.strength = augment or Augment(), 1.0
        self.until, self.late = (UNTIL if self.augment.size is not None else 0.0), False
        self.once, self.now = once, Now(0, 1, 0, 0)

    def follow(self, now: Now) -> None:
        """In the rest of a run pictures are of full size, where they are smaller in its first part."""
        self.late, self.now = now.share >= self.until, now

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, index: Tensor, draw: int) -> Batch:
        """Pictures (n, c, h, w) uint8, channels last in memory, and labels (n,) int64, or probabilities where they are mixed."""
        rows = self.rows.index_select(0, index).long()
        if self.pixels is not None:
            pixels = self.pixels.index_select(0, rows if self.at is None else self.at.index_select(0, index))
        else:
            pixels = torch.from_numpy(self.pictures.pixels.take(rows.numpy()))
        labels = self.labels.index_select(0, rows).long()
        if draw >= 0:
            augment = replace(self.augment, size=None) if self.late else self.augment
            flip = self._flip(rows) if self.once and augment.mirror else None
            pixels, labels = apply(augment, pixels, labels, len(self.pictures.classes), draw, self.strength, flip)
        return Batch(pixels.permute(0, 3, 1, 2), labels, rows, draw)

    def _flip(self, rows: Tensor) -> np.ndarray:
        epoch = (self.now.seen + np.arange(len(rows))) // len(self)
        return alternating(self.now.seed, rows.numpy(), epoch)

    @property
    def adjustable(self) -> bool:
        """Whether `strength` changes anything."""
        return self.augment.stronger

    def about(self, what: str) -> Tensor | None:
        """Labels: (n,) int64."""
        return self.labels.index_select(0, self.rows.long()).long() if what == "labels" else None


def calibrate(model: nn.Module, data: PictureData, most: int = 1 << 22) -> None:
    """Tell the model the scale of its input, from training pictures evenly spread over the data, `most` bytes of them."""
    pixels = math.prod(data.pictures.pixels.shape[1:])
    rows = torch.linspace(0, len(data) - 1, min(len(data), max(most // pixels, 64))).long()
    model.calibrate(data(rows, -1).x)  # pyright: ignore[reportCallIssue]
