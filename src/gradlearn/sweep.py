"""One pass over memory: a formula of one coordinate, applied to every coordinate of theta, g and the update's state.

    p_i, m_i, ...  <-  formula(p_i, m_i, ..., g_i, numbers)        for every i, reading and writing each of them once

An update of ten operations written with tensors streams its vectors through memory ten times; the limit is once. The formula is
written once, in plain arithmetic, and runs in one of two ways: in pure PyTorch over pieces that stay in the processor's cache, on
any device and type of number; or compiled by numba, where that is installed (extra `fast`) and there is enough to do, at the speed
of memory. No compiler is needed; a formula takes some seconds to compile for the first time, under one when it is found on disk,
so it is compiled once plain PyTorch has spent about that time on it. Both ways round every operation by itself and give the same
bits, so it does not matter when that is. Only sums differ, by the order of their terms: a formula with sums is compiled at once, if
the tensors are large, or never.

Formulas use + - * / < >, and the functions from here. Numbers reach them as arguments: a literal in a compiled formula would turn
float32 into float64. Products of numbers are taken before, in float64; a number is not divided by a tensor.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import compress
from operator import attrgetter, is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PIECE = 1 << 16  # elements: what a formula makes of a handful of such pieces fits a core's cache
ENOUGH = 1 << 20  # elements of a pass from which a formula with sums is compiled; 0: everything is
TENSOR = 5000  # elements: what one more tensor costs in plain PyTorch
SHARED = 1 << 20  # elements from which a second thread pays

Formula = Callable[..., tuple[Any, ...]]
_dense = torch.ops.aten.is_non_overlapping_and_dense
_spent: dict[Formula, int] = {}  # elements that each formula has walked in plain PyTorch, passes over small tensors left out
_dtype, _is_cpu = attrgetter("dtype"), attrgetter("is_cpu")
_PLAIN = {Tensor, nn.Parameter}  # not a subclass that keeps its numbers elsewhere


def sqrt(x: Any) -> Any:
    """Square root, rounded correctly: PyTorch's own on a processor is off by a bit here and there, as its vectors fall."""
    if not x.is_cpu or x.dtype not in (torch.float32, torch.float64):
        return torch.sqrt(x)
    root = torch.empty_like(x)
    with np.errstate(invalid="ignore"):
        np.sqrt(x.numpy(force=True), out=root.numpy())
    return root


def sign(x: Any) -> Any:
    """-1, 0 or 1."""
    return torch.sign(x)


def absolute(x: Any) -> Any:
    """|x|."""
    return torch.abs(x)


def lerp(a: Any, b: Any, weight: Any) -> Any:
    """a + weight * (b - a)."""
    return a + weight * (b - a)


def maximum(a: Any, b: Any) -> Any:
    """The larger one; b may be a number."""
    return torch.maximum(a, b) if isinstance(b, Tensor) else a.clamp(min=b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller one; b may be a number."""
    return torch.minimum(a, b) if isinstance(b, Tensor) else a.clamp(max=b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b; either may be a number."""
    return torch.where(condition, a, b)


def sweep(
    formula: Formula, written: Sequence[Sequence[Tensor]], read: Sequence[Sequence[Tensor]], numbers: Sequence[float]
) -> list[float]:
    """Apply the formula to every coordinate of every tensor, once; `Sweep` is for many times.

    Args:
        formula: (written..., read..., numbers...) of one coordinate -> the new written ones, then terms whose sums are wanted.
        written: columns of tensors that change; `written[k][j]` belongs to tensor j, equal shape for all k.
        read: columns that only are read.
        numbers: the same for all coordinates.

    Returns:
        The sum over all coordinates of each further value that the formula returns, in float64.
    """
    return Sweep(formula)(written, read, numbers)


class Sweep:
    """`sweep` with one formula again and again: what was looked at in the pass before is not looked at again.

    Of tensors that change, only the addresses are compared with those of the pass before; gradients are looked at each time, and
    not held on to.
    """

    def __init__(self, formula: Formula) -> None:
        self.formula = formula
        self._written: list[tuple[list[Tensor], list[int], list[bool]]] = []  # columns, their addresses, and what fits
        self._strides: list[tuple[int, ...]] = []
        self._sizes: list[int] = []
        self._contiguous: list[bool] = []
        self._flat = False
        self._sums: bool | None = None  # whether the formula has any

    def __call__(
        self, written: Sequence[Sequence[Tensor]], read: Sequence[Sequence[Tensor]], numbers: Sequence[float]
    ) -> list[float]:
        """One pass; arguments and what is returned as for `sweep`."""
        columns, writes = [list(column) for column in (*written, *read)], len(written)
        if not columns[0]:
            return []
        first = columns[0][0]
        if first.dtype not in (torch.float32, torch.float64) or not first.is_cpu:
            return _plainly(self.formula, columns, writes, numbers)
        table, fits = self._look(columns, writes)
        if not any(fits) or not self._pays(columns, writes, numbers):
            return _plainly(self.formula, columns, writes, numbers)
        from gradlearn import native

        loop = native.ready(self.formula, writes, len(read), len(numbers), first.dtype)
        if loop is None:
            return _plainly(self.formula, columns, writes, numbers)
        if all(fits):
            return native.run(loop, table, self._sizes, first.dtype, numbers, columns[0] if writes else ())
        good = [list(compress(column, fits)) for column in columns]
        odd = [[t for t, fit in zip(column, fits, strict=True) if not fit] for column in columns]
        sums = _plainly(self.formula, odd, writes, numbers)
        table, sizes = [list(compress(addresses, fits)) for addresses in table], list(compress(self._sizes, fits))
        return _add(native.run(loop, table, sizes, first.dtype, numbers, good[0] if writes else ()), sums)

    def _pays(self, columns: list[list[Tensor]], writes: int, numbers: Sequence[float]) -> bool:
        """Whether to use compiled code: once plain PyTorch has cost what compiling does; by size alone where bits depend on it."""
        if self._sums is None:
            self._sums = len(self.formula(*(column[0].new_empty(0) for column in columns), *numbers)) > writes
        work = sum(self._sizes) + TENSOR * len(self._sizes)
        if self._sums:
            return work >= ENOUGH and _native()
        if work >= ENOUGH >> 4:
            _spent[self.formula] = _spent.get(self.formula, 0) + work
        return _spent.get(self.formula, 0) >= 300 * ENOUGH and _native()

    def _look(self, columns: list[list[Tensor]], writes: int) -> tuple[list[list[int]], list[bool]]:
        """The addresses of all tensors, (columns, tensors), and for which tensors compiled code may run."""
        first, dtype = columns[0], columns[0][0].dtype
        addresses = list(map(Tensor.data_ptr, first))
        if not (writes and self._written and self._written[0][1] == addresses and all(map(is_, self._written[0][0], first))):
            self._sizes = [t.numel() for t in first]
            self._strides = [t.stride() for t in first]
            self._contiguous = [t.is_contiguous() for t in first]
            self._flat = all(self._contiguous)
            dense = [flat or bool(_dense(t.detach())) for t, flat in zip(first, self._contiguous, strict=True)]
            fits = [a and b for a, b in zip(dense, self._fit(first, dtype), strict=True)]
            self._written = [(first if writes else [], addresses, fits)]  # gradients are not held on to
        table, fits = [addresses], self._written[0][2]
        for k, column in enumerate(columns[1:], 1):
            addresses = list(map(Tensor.data_ptr, column))
            known = self._written[k] if k < min(writes, len(self._written)) else None
            if known and known[1] == addresses and all(map(is_, known[0], column)):
                good = known[2]
            else:
                good = self._fit(column, dtype)
                if k < writes:
                    self._written[k:] = [(column, addresses, good)]
            table.append(addresses)
            fits = fits if all(good) else [a and b for a, b in zip(fits, good, strict=True)]
        return table, fits

    def _fit(self, column: list[Tensor], dtype: torch.dtype) -> list[bool]:
        """Whether a coordinate lies at the same place in these tensors' memory as in the first column's."""
        kinds, types, places = set(map(_dtype, column)), set(map(type, column)), set(map(_is_cpu, column))
        if kinds != {dtype} or places != {True} or not types <= _PLAIN or any(map(Tensor.is_neg, column)):
            return [False] * len(column)
        if list(map(Tensor.numel, column)) == self._sizes and (
            (self._flat and all(map(Tensor.is_contiguous, column))) or list(map(Tensor.stride, column)) == self._strides
        ):
            return [True] * len(column)
        return [
            t.numel() == n and (t.stride() == stride or (flat and t.is_contiguous()))
            for t, stride, n, flat in zip(column, self._strides, self._sizes, self._contiguous, strict=True)
        ]


@lru_cache(maxsize=1)
def _native() -> bool:
    """Whether there is a numba that works."""
    if importlib.util.find_spec("numba") is None:
        return False
    try:
        importlib.import_module("gradlearn.native")
    except ImportError:  # a numba that does not know this version of numpy
        return False
    return True


def _plainly(formula: Formula, columns: Sequence[Sequence[Tensor]], writes: int, numbers: Sequence[float]) -> list[float]:
    """In pure PyTorch."""
    sums: list[float] = []
    for row in zip(*columns, strict=True):
        sums = _add(sums, _in_pieces(formula, [t.detach() for t in row], writes, numbers))
    return sums


def _aligned(row: Sequence[Tensor]) -> bool:
    """One coordinate lies at one and the same place in every tensor's own memory."""
    flat = all(t.is_contiguous() for t in row)
    return flat or (all(t.stride() == row[0].stride() for t in row) and bool(_dense(row[0])))


def _in_pieces(formula: Formula, row: Sequence[Tensor], writes: int, numbers: Sequence[float]) -> list[float]:
    """One tensor, a piece at a time: what a piece's operations write stays in cache until the next one reads it."""
    n = row[0].numel()
    if n > PIECE and row[0].is_cpu and _aligned(row):
        flat = [t.as_strided((n,), (1,), t.storage_offset()) for t in row]
        sums: list[float] = []
        for a in range(0, n, PIECE):
            sums = _add(sums, _piece(formula, [t[a : a + PIECE] for t in flat], writes, numbers))
        return sums
    return _piece(formula, row, writes, numbers)


def _piece(formula: Formula, row: Sequence[Tensor], writes: int, numbers: Sequence[float]) -> list[float]:
    half = row[0].dtype in (torch.bfloat16, torch.float16)  # their arithmetic is done in float32 and rounded once
    values = formula(*(t.float() for t in row) if half else row, *numbers)
    for place, value in zip(row[:writes], values[:writes], strict=True):
        if place is not value:
            place.copy_(value)
    return [value.sum(dtype=torch.float64).item() for value in values[writes:]]


def _add(sums: list[float], more: list[float]) -> list[float]:
    return [a + b for a, b in zip(sums, more, strict=True)] if sums else more
