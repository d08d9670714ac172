"""Decoded pictures in a file, for sets larger than the memory set aside: raw uint8, read by `pread`, never mapped.

A mapped file counts as this process's memory page by page until all of it does; reading what a batch needs into one
buffer does not. Neighbouring rows are read in one call.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradlearn.errors import InputTrouble, ResourceTrouble, printable

if TYPE_CHECKING:
    from gradlearn.data.apart import Apart

SPARE = 1 << 26  # bytes that are left free on the disk


class Stored:
    """(n, h, w, c) uint8 in the file at `path`; behaves as an array as far as `take`, `len` and `shape` go."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, path: str | os.PathLike[str], shape: tuple[int, int, int, int]) -> None:
        self.path, self.shape = Path(path), shape
        try:
            self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputTrouble(f"{printable(path)}: {error.strerror}; decode the pictures again") from None
        weakref.finalize(self, os.close, self.fd)
        there = os.fstat(self.fd).st_size
        if there != self.nbytes:
            raise InputTrouble(f"{printable(path)}: {there} of {self.nbytes} bytes; decode the pictures again")

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all pictures."""
        return math.prod(self.shape)

    def take(self, index: np.ndarray) -> np.ndarray:
        """The pictures of these indices, (n, h, w, c) uint8, in their order; each row of the file is read once."""
        index = np.asarray(index, dtype=np.int64)
        if len(index) and not (index.min() >= 0 and index.max() < len(self)):
            raise IndexError(f"index {index.min()}..{index.max()} outside 0..{len(self) - 1}")
        rows, inverse = np.unique(index, return_inverse=True)
        found = np.empty((len(rows), *self.shape[1:]), np.uint8)
        one = math.prod(self.shape[1:])
        flat = found.reshape(-1).data
        cuts = np.flatnonzero(np.diff(rows) > 1) + 1
        starts = [0, *cuts.tolist()] if len(rows) else []
        for start, stop in zip(starts, [*starts[1:], len(rows)], strict=False):
            self._read(flat[start * one : stop * one], int(rows[start]) * one)
        return found if np.array_equal(rows, index) else found[inverse.reshape(-1)]

    def _read(self, into: memoryview, offset: int) -> None:
        while into:
            n = os.preadv(self.fd, [into], offset)
            if not n:
                raise ResourceTrouble(f"{printable(self.path)}: ends too early; decode the pictures again")
            into, offset = into[n:], offset + n


def take(pixels: np.ndarray | Stored | Apart, index: np.ndarray) -> np.ndarray:
    """The pictures of these indices, (n, h, w, c) uint8, from memory or from a file."""
    return pixels.take(index, axis=0) if isinstance(pixels, np.ndarray) else pixels.take(index)


class Memory:
    """Where decoded pictures go, run by run: an array."""

    def __init__(self, n: int, shape: tuple[int, int, int]) -> None:
        try:
            self.array = np.empty((n, *shape), np.uint8)
        except MemoryError:
            raise ResourceTrouble(
                f"{_gigabytes(n * math.prod(shape))} of decoded pictures do not fit in memory; use a smaller --size"
            ) from None
        self.n = 0

    def put(self, pixels: np.ndarray) -> None:
        """Add pictures (m, h, w, c)."""
        self.array[self.n : self.n + len(pixels)] = pixels
        self.n += len(pixels)

    def close(self) -> np.ndarray:
        """All that were put."""
        return self.array[: self.n]

    def drop(self) -> None:
        """Forget them."""


class Disk:
    """Where decoded pictures go, run by run: a file, under its own name only once it is whole."""

    def __init__(self, n: int, shape: tuple[int, int, int], cache: str | os.PathLike[str]) -> None:
        self.path, self.shape, self.n = Path(cache), shape, 0
        self.part = self.path.with_name(self.path.name + ".part")
        needed = n * math.prod(shape)
        try:
            free = os.statvfs(self.path.parent)
            if free.f_bavail * free.f_frsize < needed + SPARE:
                raise OSError(errno.ENOSPC, f"{_gigabytes(free.f_bavail * free.f_frsize)} free")
            self.fd = os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise self._failed(error, needed) from None

    def _failed(self, error: OSError, needed: int) -> ResourceTrouble:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            what = f"disk is full ({error.strerror}), the decoded pictures need {_gigabytes(needed)}"
            return ResourceTrouble(f"{printable(self.path)}: {what}; free space or use a smaller --size")
        return ResourceTrouble(f"{printable(self.path)}: write failed: {error.strerror}; check the folder and the disk")

    def put(self, pixels: np.ndarray) -> None:
        """Add pictures (m, h, w, c)."""
        rest = np.ascontiguousarray(pixels).reshape(-1).data
        try:
            while rest:
                rest = rest[os.write(self.fd, rest) :]
        except OSError as error:
            raise self._failed(error, self.n * math.prod(self.shape) + pixels.nbytes) from None
        self.n += len(pixels)

    def close(self) -> Stored:
        """All that were put."""
        try:
            os.close(self.fd)
            self.fd = -1
            os.replace(self.part, self.path)
        except OSError as error:
            raise self._failed(error, self.n * math.prod(self.shape)) from None
        return Stored(self.path, (self.n, *self.shape))

    def drop(self) -> None:
        """Remove the file that was begun."""
        with contextlib.suppress(OSError):
            if self.fd >= 0:
                os.close(self.fd)
        self.fd = -1
        self.part.unlink(missing_ok=True)


def sink(n: int, shape: tuple[int, int, int], memory: int | None, cache: str | os.PathLike[str] | None) -> Memory | Disk:
    """An array where n pictures fit in `memory` bytes, else the file `cache`; raises ResourceTrouble without one."""
    needed = n * math.prod(shape)
    if memory is None or needed <= memory:
        return Memory(n, shape)
    if cache is None:
        what = f"{_gigabytes(needed)} of decoded pictures, {_gigabytes(memory)} of memory set aside"
        raise ResourceTrouble(f"{what}; name a file to keep them in, or use a smaller --size")
    return Disk(n, shape, cache)


def _gigabytes(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"
