"""One pass over memory: a formula of one coordinate, applied to every coordinate of theta, g and the update's state.

    p_i, m_i, ...  <-  formula(p_i, m_i, ..., g_i, numbers)        for every i, reading and writing each of them once

An update of ten operations written with tensors streams its vectors through memory ten times; the limit is once. The formula is
written once, in plain arithmetic, and runs in one of two ways: compiled by numba, where that is installed (extra `fast`) and there
is enough to do (no compiler is needed, the first step takes about a second, its result is cached), at the speed of memory; or in
pure PyTorch over pieces that stay in the processor's cache, on any device and type of number.

Formulas use + - * /, and `sqrt`, `sign`, `lerp`, `where`, `maximum`, `absolute` from here. Numbers reach them as arguments: a
literal in a compiled formula would turn float32 into float64.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

PIECE = 1 << 16  # elements: a handful of such pieces fit a core's cache
ENOUGH = 1 << 17  # elements in a group from which compiling pays within a few hundred steps
SHARED = 1 << 20  # elements from which a second thread pays

Formula = Callable[..., tuple[Any, ...]]
_dense = torch.ops.aten.is_non_overlapping_and_dense


def sqrt(x: Any) -> Any:
    """Square root."""
    return torch.sqrt(x)


def sign(x: Any) -> Any:
    """-1, 0 or 1."""
    return torch.sign(x)


def absolute(x: Any) -> Any:
    """|x|."""
    return torch.abs(x)


def lerp(a: Any, b: Any, weight: Any) -> Any:
    """a + weight * (b - a)."""
    return torch.lerp(a, b, weight)


def maximum(a: Any, b: Any) -> Any:
    """The larger one; b may be a number."""
    return torch.maximum(a, b) if isinstance(b, Tensor) else a.clamp(min=b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b; either may be a number."""
    return torch.where(condition, a, b)


def sweep(
    formula: Formula, written: Sequence[Sequence[Tensor]], read: Sequence[Sequence[Tensor]], numbers: Sequence[float]
) -> list[float]:
    """Apply the formula to every coordinate of every tensor.

    Args:
        formula: (written..., read..., numbers...) of one coordinate -> the new written ones, then terms whose sums are wanted.
        written: columns of tensors that change; `written[k][j]` belongs to tensor j, equal shape and strides for all k.
        read: columns that only are read.
        numbers: the same for all coordinates.

    Returns:
        The sum over all coordinates of each further value that the formula returns, in float64.
    """
    columns = [*written, *read]
    if not columns[0]:
        return []
    if compiled(columns):
        from gradlearn.native import run

        return run(formula, columns, len(written), numbers)
    sums: list[float] = []
    for row in zip(*columns, strict=True):
        sums = _add(sums, _in_pieces(formula, row, len(written), numbers))
    return sums


def compiled(columns: Sequence[Sequence[Tensor]]) -> bool:
    """Whether these columns are a case for compiled code: numba is there, enough to do, dense floats on the CPU."""
    first = columns[0][0]
    if first.device.type != "cpu" or first.dtype not in (torch.float32, torch.float64) or not _native():
        return False
    if sum(p.numel() for p in columns[0]) < ENOUGH:
        return False
    same = all(t.dtype == first.dtype and t.device.type == "cpu" for column in columns for t in column)
    return same and all(_aligned(row) for row in zip(*columns, strict=True))


@lru_cache(maxsize=1)
def _native() -> bool:
    return importlib.util.find_spec("numba") is not None


def _aligned(row: Sequence[Tensor]) -> bool:
    """One coordinate lies at one and the same place in every tensor's own memory."""
    return all(t.stride() == row[0].stride() or (t.is_contiguous() and row[0].is_contiguous()) for t in row) and (
        row[0].is_contiguous() or bool(_dense(row[0]))
    )


def _in_pieces(formula: Formula, row: Sequence[Tensor], writes: int, numbers: Sequence[float]) -> list[float]:
    """One tensor, a piece at a time: what a piece's operations write stays in cache until the next one reads it."""
    row = [t.detach() for t in row]
    n = row[0].numel()
    if n > PIECE and row[0].device.type == "cpu" and _aligned(row):
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
