"""Pictures that are only scored wait in a file; those that are trained on are in memory.

    place[i] >= 0: picture i is row place[i] of `memory`;   place[i] < 0: it is row -1 - place[i] of `file`

Training draws pictures at random, all the time. Validation and test pictures are read in order and now and then, which costs
the same from a file as from memory; so a run holds fewer pictures in memory than there are. For sets that fit into memory and
have enough to set aside; larger ones are `stored` whole, smaller ones kept whole.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import numpy as np

from gradlearn.data.stored import Disk, Memory, Stored
from gradlearn.errors import ResourceTrouble

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 1 << 24  # bytes; fewer are not worth a file


class Apart:
    """(n, h, w, c) uint8, some in memory and some in a file; behaves as an array as far as `take`, `len` and `shape` go."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, memory: np.ndarray, file: Stored, place: np.ndarray) -> None:
        self.memory, self.file, self.place = memory, file, place
        self.shape: tuple[int, int, int, int] = (len(place), *memory.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all pictures, wherever they are."""
        return math.prod(self.shape)

    def within(self, index: np.ndarray) -> np.ndarray | None:
        """(k,) int32 rows of `memory` of the pictures of these indices; None where some are in the file."""
        at = self.place[index]
        return at if not len(at) or at.min() >= 0 else None

    def take(self, index: np.ndarray) -> np.ndarray:
        """The pictures of these indices, (k, h, w, c) uint8, in their order."""
        at = self.place[np.asarray(index, dtype=np.int64)]
        here = at >= 0
        if here.all():
            return self.memory.take(at, axis=0)
        if not here.any():
            return self.file.take(-1 - at)
        found = np.empty((len(at), *self.shape[1:]), np.uint8)
        found[here] = self.memory.take(at[here], axis=0)
        found[~here] = self.file.take(-1 - at[~here])
        return found


class Beside:
    """Where decoded pictures go, run by run: those to be set `aside`, (n,) bool in the order of their coming, to a file."""

    def __init__(self, aside: np.ndarray, shape: tuple[int, int, int], cache: str | os.PathLike[str]) -> None:
        k = int(aside.sum())
        self.aside, self.n = aside, 0
        self.disk = Disk(k, shape, cache)
        try:
            self.memory = Memory(len(aside) - k, shape)
        except BaseException:
            self.disk.drop()
            raise

    def put(self, pixels: np.ndarray) -> None:
        """Add pictures (m, h, w, c)."""
        out = self.aside[self.n : self.n + len(pixels)]
        self.memory.put(pixels[~out] if out.any() else pixels)
        if out.any():
            self.disk.put(pixels[out])
        self.n += len(pixels)

    def close(self) -> Apart:
        """All that were put: fewer than were expected, where some turned out to be bad."""
        aside = self.aside[: self.n]
        inside, outside = np.cumsum(~aside, dtype=np.int32), np.cumsum(aside, dtype=np.int32)
        return Apart(self.memory.close(), self.disk.close(), np.where(aside, -outside, inside - 1))

    def drop(self) -> None:
        """Remove the file that was begun."""
        self.disk.drop()


def beside(
    aside: np.ndarray, shape: tuple[int, int, int], memory: int | None, cache: str | os.PathLike[str] | None
) -> Beside | None:
    """A sink for pictures of which those `aside` go to the file `cache`; None where that is not worth it or not possible."""
    one = math.prod(shape)
    if cache is None or int(aside.sum()) * one < LEAST or (memory is not None and len(aside) * one > memory):
        return None
    try:
        return Beside(aside, shape, cache)
    except ResourceTrouble:  # no room on the disk: then all of them are kept in memory
        return None


def in_memory(pixels: np.ndarray | Stored | Apart, rows: np.ndarray) -> tuple[Tensor | None, Tensor | None]:
    """The pictures in memory if all of these rows are among them, and where there each is; None: where it is in the data."""
    import torch

    if isinstance(pixels, np.ndarray):
        return torch.from_numpy(pixels), None
    if isinstance(pixels, Apart) and (at := pixels.within(rows)) is not None:
        return torch.from_numpy(pixels.memory), torch.from_numpy(at)
    return None, None
