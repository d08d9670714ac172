"""The parts of the compiled loop of `native.py`: what formulas may call, and tuples that are taken apart while compiling.

How many tensors, values and sums there are is part of the types, so each part below is a few instructions, and nothing of the
taking apart is left in the loop. numba puts the instructions in place of the calls; called as Python they only say so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from gradlearn import sweep as plain

EXACT: Any = {"nogil": True, "error_model": "numpy"}  # every operation rounded by itself
STRETCH = 512  # terms that are added up in the type of the numbers before they go into float64

part: Any = intrinsic
NOTHING: Any = types.none


@overload(plain.sqrt, strict=False)
def _sqrt(x: Any) -> Any:
    return lambda x: np.sqrt(x)


@overload(plain.sign, strict=False)
def _sign(x: Any) -> Any:
    kind = x
    return lambda x: kind(x > 0) - kind(x < 0)  # of what is no number: 0, as PyTorch


@overload(plain.absolute, strict=False)
def _absolute(x: Any) -> Any:
    return lambda x: abs(x)


@overload(plain.lerp, strict=False)
def _lerp(a: Any, b: Any, weight: Any) -> Any:
    return lambda a, b, weight: a + weight * (b - a)


@overload(plain.maximum, strict=False)
def _maximum(a: Any, b: Any) -> Any:
    return lambda a, b: a if (a > b) | (a != a) else b


@overload(plain.minimum, strict=False)
def _minimum(a: Any, b: Any) -> Any:
    return lambda a, b: a if (a < b) | (a != a) else b


@overload(plain.where, strict=False)
def _where(condition: Any, a: Any, b: Any) -> Any:
    return lambda condition, a, b: a if condition else b


def _same(kind: Any, n: int) -> Any:
    """The type of a tuple of n of a kind."""
    return types.BaseTuple.from_types((kind,) * n)


@part
def places(context: Any, like: Any, table: Any, width: Any, k: Any, t: Any, start: Any, zero: Any) -> Any:
    """Where coordinate `start` of tensor t lies in columns k, k + 1, ...: as many pointers as `like` is long.

    `table` is the address of the (columns, width) addresses; `zero` is a number of the type that the pointers point to.
    """
    made: Any = _same(types.CPointer(zero), len(like))

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, table, width, k, t, start, _ = arguments
        word, found = ir.IntType(64), []
        first = builder.inttoptr(table, word.as_pointer())
        pointer = target.get_value_type(zero).as_pointer()
        for i in range(len(like)):
            place = builder.add(builder.mul(builder.add(k, word(i)), width), t)
            address = builder.load(builder.gep(first, [place]))
            found.append(builder.gep(builder.inttoptr(address, pointer), [start]))
        return target.make_tuple(builder, made, found)

    return made(like, types.int64, types.int64, types.int64, types.int64, types.int64, zero), generate


@part
def load(context: Any, pointers: Any, i: Any) -> Any:
    """(pointers[0][i], pointers[1][i], ...)."""
    made: Any = types.BaseTuple.from_types(tuple(p.dtype for p in pointers))

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = cgutils.unpack_tuple(builder, arguments[0], len(pointers))
        return target.make_tuple(builder, made, [builder.load(builder.gep(p, [arguments[1]])) for p in given])

    return made(pointers, types.int64), generate


@part
def store(context: Any, pointers: Any, values: Any, i: Any) -> Any:
    """pointers[0][i] = values[0], ..., for as many as there are pointers."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = cgutils.unpack_tuple(builder, arguments[0], len(pointers))
        made = cgutils.unpack_tuple(builder, arguments[1], len(values))[: len(given)]
        for pointer, value, to, kind in zip(given, made, pointers, values, strict=False):
            builder.store(target.cast(builder, value, kind, to.dtype), builder.gep(pointer, [arguments[2]]))
        return target.get_dummy_value()

    return NOTHING(pointers, values, types.int64), generate


@part
def after(context: Any, like: Any, values: Any) -> Any:
    """The values that follow the first ones, as many as `like` is long."""
    made: Any = types.BaseTuple.from_types(tuple(values)[len(like) :])

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return target.make_tuple(builder, made, cgutils.unpack_tuple(builder, arguments[1], len(values))[len(like) :])

    return made(like, values), generate


@part
def copies(context: Any, like: Any, value: Any) -> Any:
    """(value, value, ...), as many as `like` is long."""
    made: Any = _same(value, len(like))

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return target.make_tuple(builder, made, [arguments[1]] * len(like))

    return made(like, value), generate


@part
def plus(context: Any, sums: Any, values: Any) -> Any:
    """(sums[0] + values[0], ...), in any order and in vector lanes."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        before = cgutils.unpack_tuple(builder, arguments[0], len(sums))
        more = cgutils.unpack_tuple(builder, arguments[1], len(values))
        more = [target.cast(builder, value, own, to) for value, own, to in zip(more, values, sums, strict=True)]
        return target.make_tuple(builder, sums, [builder.fadd(a, b, flags=("reassoc",)) for a, b in zip(before, more, strict=True)])

    return sums(sums, values), generate


@part
def stretch(context: Any, sums: Any, n: Any) -> Any:
    """How many of n terms are added up at a time: STRETCH, or all if there are no sums."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        n, most = arguments[1], ir.IntType(64)(STRETCH)
        return builder.select(builder.icmp_signed("<", n, most), n, most) if len(sums) else n

    return types.int64(sums, types.int64), generate
