"""Pictures with boxes as `Data`: in training put together anew in every draw, else as they are.

    data(index, draw)  ->  pictures (n, 3, h, w) uint8, and (n, most, 5) label, x1, y1, x2, y2, filled up with rows labelled -1

In the last part of a run pictures are whole, one at a time, as they will be seen (Ge et al., YOLOX, arXiv 2107.08430). Hard boxes
(difficult, crowds) are among the rows, labelled HARD - class: the loss asks for nothing there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gradlearn.data.mosaic import Labelled, Varied, filled_up, mosaic
from gradlearn.symbols import Batch, Now

__all__ = ["Arranged"]

LATE, NARROW = 0.15, (0.8, 1.25)  # share of the run in which pictures are whole, and how far they are zoomed then


class Arranged:
    """Some of the pictures as `Data`; training draws put them together anew, draw -1 leaves them as they are."""

    def __init__(self, labelled: Labelled, rows: np.ndarray, varied: Varied | None = None) -> None:
        self.labelled, self.rows, self.varied = labelled, torch.from_numpy(np.asarray(rows, np.int64)), varied
        self.until, self.late = (0.0 if varied is None else 1.0 - LATE), False

    def follow(self, now: Now) -> None:
        """In the last part of a run pictures are trained on as they will be seen: whole, one at a time."""
        self.late = now.share >= self.until

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, index: Tensor, draw: int) -> Batch:
        """Pictures (n, 3, h, w) uint8, and (n, most, 5) label, x1, y1, x2, y2, filled up with rows labelled -1."""
        rows = self.rows.index_select(0, index)
        if draw >= 0 and self.varied is not None:
            varied = replace(self.varied, share=0.0, zoom=NARROW) if self.late else self.varied
            return Batch(*mosaic(self.labelled, rows, self.rows, draw, varied), rows, draw)
        boxes, picture = self.labelled.rows(rows.numpy())
        y = filled_up(self.labelled.boxes[boxes], self.labelled.labels[boxes], picture, len(rows))
        return Batch(self.labelled.canvases.take(rows.numpy()), y, rows, draw)
