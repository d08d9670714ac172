"""The compiled way of `sweep`: a formula of one coordinate becomes one loop of machine code over all tensors of a group.

numba turns the formula into vector instructions; no compiler is needed, and code once compiled is kept on disk. The tensors reach
the loop as a table of addresses, so that five hundred small ones cost what one vector does. Floating-point contraction (fused
multiply-add) is allowed: results differ from pure PyTorch in the last bit. For `sweep.py` only.
"""

# ruff: noqa: RUF005  (numba knows tuples that are added, not tuples that are unpacked)

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numba as nb
import numpy as np
import torch
from numba.extending import intrinsic, overload, register_jitable
from numba.np.numpy_support import carray
from torch import Tensor

from gradlearn import sweep as plain

_FAST = {"contract", "nsz", "arcp", "reassoc"}  # reassoc: sums in vector lanes
_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": _FAST, "error_model": "numpy"}


def run(formula: plain.Formula, columns: Sequence[Sequence[Tensor]], writes: int, numbers: Sequence[float]) -> list[float]:
    """Apply the formula to every coordinate; the sums of what it returns beyond `writes` values, in float64."""
    table = np.array([[t.data_ptr() for t in column] for column in columns], dtype=np.int64)
    sizes = np.array([t.numel() for t in columns[0]], dtype=np.int64)
    kind = np.float32 if columns[0][0].dtype == torch.float32 else np.float64
    typed = tuple(kind(x) for x in numbers)
    loop = _loop(formula, writes, len(columns) - writes)
    total, threads = int(sizes.sum()), torch.get_num_threads()
    if threads == 1 or total < plain.SHARED:
        return list(loop(table, sizes, 0, total, kind(0), typed))
    cuts = [(total * i // threads) & -16 for i in range(threads)] + [total]
    parts = _pool(threads).map(lambda i: loop(table, sizes, cuts[i], cuts[i + 1], kind(0), typed), range(threads))
    return [sum(column) for column in zip(*parts, strict=True)]


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="sweep")


@lru_cache(maxsize=256)
def _loop(formula: plain.Formula, writes: int, reads: int) -> Callable[..., tuple[float, ...]]:
    """The loop for one formula, compiled on its first call for each type of number."""
    register_jitable(**_OPTIONS)(formula)
    written, read = (0,) * writes, (0,) * reads
    same = hashlib.sha256(formula.__code__.co_code + repr(formula.__code__.co_consts).encode()).hexdigest()

    @nb.njit(cache=True, **_OPTIONS)
    def loop(table: Any, sizes: Any, begin: Any, end: Any, zero: Any, numbers: Any) -> Any:
        # coordinates [begin, end) of all tensors laid end to end
        _ = same  # what is kept on disk is found by what the loop closes over: another formula is another loop
        sums = _zeros(_after(written, formula(*(_numbers(written, zero) + _numbers(read, zero) + numbers))))
        offset = 0
        for t in range(sizes.size):
            a, b = max(begin - offset, 0), min(end - offset, sizes[t])
            if a < b:
                out = _arrays(written, table, 0, t, a, b - a, zero)
                given = _arrays(read, table, writes, t, a, b - a, zero)
                for i in range(b - a):
                    values = formula(*(_load(out, i) + _load(given, i) + numbers))
                    _store(out, values, i)
                    sums = _plus(sums, _after(written, values))
            offset += sizes[t]
        return sums

    return loop


@overload(plain.sqrt, strict=False)
def _sqrt(x: Any) -> Any:
    return lambda x: np.sqrt(x)


@overload(plain.sign, strict=False)
def _sign(x: Any) -> Any:
    return lambda x: np.sign(x)


@overload(plain.absolute, strict=False)
def _absolute(x: Any) -> Any:
    return lambda x: abs(x)


@overload(plain.lerp, strict=False)
def _lerp(a: Any, b: Any, weight: Any) -> Any:
    return lambda a, b, weight: a + weight * (b - a)


@overload(plain.maximum, strict=False)
def _maximum(a: Any, b: Any) -> Any:
    return lambda a, b: a if a > b else b


@overload(plain.where, strict=False)
def _where(condition: Any, a: Any, b: Any) -> Any:
    return lambda condition, a, b: a if condition else b


@intrinsic  # type: ignore[arg-type]
def _pointer(context: Any, address: Any, like: Any) -> Any:
    """An address as a pointer to numbers of the type of `like`."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], target.get_value_type(signature.return_type))

    return nb.types.CPointer(like)(nb.types.int64, like), generate


@intrinsic  # type: ignore[arg-type]
def _bytes(context: Any, like: Any) -> Any:
    """The size of a number of the type of `like`."""
    size = like.bitwidth // 8
    return nb.types.int64(like), lambda target, builder, signature, arguments: target.get_constant(nb.types.int64, size)


# Tuples are taken apart one by one while compiling: their lengths are known then, and nothing of it is left in the loop.


def _arrays(like: Any, table: Any, k: Any, t: Any, start: Any, n: Any, zero: Any) -> Any:
    """Operands k, k + 1, ... of tensor t, as many as `like` is long, from coordinate `start` on: arrays (n,)."""
    raise TypeError("compiled code only")


@overload(_arrays, strict=False)
def _(like: Any, table: Any, k: Any, t: Any, start: Any, n: Any, zero: Any) -> Any:
    if len(like) == 0:
        return lambda like, table, k, t, start, n, zero: ()
    return (
        lambda like, table, k, t, start, n, zero: (
            (carray(_pointer(table[k, t] + start * _bytes(zero), zero), n),)  # pyright: ignore[reportCallIssue]
            + _arrays(like[1:], table, k + 1, t, start, n, zero)
        )
    )


def _numbers(like: Any, value: Any) -> Any:
    """(value, value, ...), as many as `like` is long."""
    raise TypeError("compiled code only")


@overload(_numbers, strict=False)
def _(like: Any, value: Any) -> Any:
    if len(like) == 0:
        return lambda like, value: ()
    return lambda like, value: (value,) + _numbers(like[1:], value)


def _load(arrays: Any, i: Any) -> Any:
    """Coordinate i of each array."""
    raise TypeError("compiled code only")


@overload(_load, strict=False)
def _(arrays: Any, i: Any) -> Any:
    if len(arrays) == 0:
        return lambda arrays, i: ()
    return lambda arrays, i: (arrays[0][i],) + _load(arrays[1:], i)


def _store(arrays: Any, values: Any, i: Any) -> Any:
    """The first values into coordinate i of each array."""
    raise TypeError("compiled code only")


@overload(_store, strict=False)
def _(arrays: Any, values: Any, i: Any) -> Any:
    if len(arrays) == 0:
        return lambda arrays, values, i: None

    def store(arrays: Any, values: Any, i: Any) -> None:
        arrays[0][i] = values[0]
        _store(arrays[1:], values[1:], i)

    return store


def _after(like: Any, values: Any) -> Any:
    """The values that follow the first ones, as many as `like` is long."""
    raise TypeError("compiled code only")


@overload(_after, strict=False)
def _(like: Any, values: Any) -> Any:
    if len(like) == 0:
        return lambda like, values: values
    return lambda like, values: _after(like[1:], values[1:])


def _zeros(like: Any) -> Any:
    """(0.0, 0.0, ...) in float64."""
    raise TypeError("compiled code only")


@overload(_zeros, strict=False)
def _(like: Any) -> Any:
    if len(like) == 0:
        return lambda like: ()
    return lambda like: (0.0,) + _zeros(like[1:])


def _plus(sums: Any, values: Any) -> Any:
    """Sums and values added one by one."""
    raise TypeError("compiled code only")


@overload(_plus, strict=False)
def _(sums: Any, values: Any) -> Any:
    if len(sums) == 0:
        return lambda sums, values: ()
    return lambda sums, values: (sums[0] + values[0],) + _plus(sums[1:], values[1:])
