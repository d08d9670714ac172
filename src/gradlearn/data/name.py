"""Names: the order in which people count ("2" before "10"), and a name for each of millions without a list."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import overload

import numpy as np

PIECES = re.compile(r"([0-9]+)")


def natural(name: str) -> tuple[object, ...]:
    """Sort key: digits by value, letters without case, and then the name itself, so that no two names are equal."""
    pieces: list[object] = []
    for i, piece in enumerate(PIECES.split(name.casefold())):
        digits = piece.lstrip("0") if i % 2 else ""
        pieces.append((len(digits), digits) if i % 2 else piece)
    return (pieces, name)


class Rows(Sequence[str]):
    """The names `file[0]`, `file[1]`, ... of n rows of a file, made when asked for."""

    def __init__(self, file: str, n: int) -> None:
        self.file, self.n = file, n

    def __len__(self) -> int:
        return self.n

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        chosen = range(self.n)[i]
        return [f"{self.file}[{j}]" for j in chosen] if isinstance(chosen, range) else f"{self.file}[{chosen}]"


class Chain(Sequence[str]):
    """Several sequences of names one after another, of which `keep` (indices into them all) are left."""

    def __init__(self, parts: Sequence[Sequence[str]], keep: np.ndarray | None = None) -> None:
        self.parts = list(parts)
        self.starts = np.cumsum([0, *(len(p) for p in parts)]).tolist()
        self.keep = keep

    def __len__(self) -> int:
        return self.starts[-1] if self.keep is None else len(self.keep)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        at = range(len(self))[i]
        at = at if self.keep is None else int(self.keep[at])
        part = bisect_right(self.starts, at) - 1
        return str(self.parts[part][at - self.starts[part]])
