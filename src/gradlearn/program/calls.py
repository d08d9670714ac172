"""What a program leaves to PyTorch, between two of its pieces: a convolution, an operation that has no meaning here.

made[store] <- function(places ...);  table[entry of store] <- where PyTorch has put it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlearn.program.loops import Call
from gradlearn.program.recording import Place


class Called:
    """An operation between two pieces, ready to be done.

    Args:
        call: what was recorded.
        reader: how a place is read.
        entries: stores that it makes -> their entries of the table.
    """

    def __init__(self, call: Call, reader: Callable[[Place], Callable[[], Tensor]], entries: dict[int, int]) -> None:
        self.function, self.places, self.entries = call.function, call.places, entries
        self.args = [_reading(a, reader) for a in call.args]
        self.kwargs = {k: _reading(v, reader) for k, v in call.kwargs.items()}

    def __call__(self, made: dict[int, Tensor], table: np.ndarray) -> None:
        """Do it; what it makes is noted in `made`, and where in the table."""
        with torch.no_grad():
            found = self.function(*(a() for a in self.args), **{k: v() for k, v in self.kwargs.items()})
            for place, value in zip(self.places, found if isinstance(found, (tuple, list)) else (found,), strict=True):
                if place is None or place.store not in self.entries:
                    continue
                if value.stride() != place.strides or value.storage_offset() != place.offset:
                    size = 1 + place.offset + sum((n - 1) * s for n, s in zip(place.shape, place.strides, strict=True))
                    value = value.new_empty(size).as_strided(place.shape, place.strides, place.offset).copy_(value)
                whole = value.new_empty(0).set_(value.untyped_storage())
                made[place.store] = whole
                table[self.entries[place.store]] = whole.data_ptr()


def _reading(value: Any, reader: Callable[[Place], Callable[[], Tensor]]) -> Callable[[], Any]:
    if isinstance(value, Place):
        return reader(value)
    if isinstance(value, tuple) and any(isinstance(v, Place) for v in value):
        parts = [_reading(v, reader) for v in value]
        return lambda: [part() for part in parts]
    return lambda: value
