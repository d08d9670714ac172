"""What looking up and putting in place mean as loops: embeddings, gather, scatter, indices.

A place outside of its table gives NaN, or an index that nobody reads: a step whose loss is not a number is blocked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch

from gradlearn.program.expression import (
    FLOATS,
    Access,
    Expr,
    binary,
    compare,
    kind_of,
    load,
    number,
    to,
    where,
)
from gradlearn.program.frame import Body, Frame
from gradlearn.program.meaning import MEANINGS, means
from gradlearn.program.recording import Place
from gradlearn.program.unfit import Unfit


def _row(frame: Frame, table: Place, shape: Sequence[int]) -> Access:
    """A table's rows laid along the last dimensions of a frame; which row is a computed index."""
    lead = len(frame.shape) - len(shape)
    place = table._replace(shape=(*(1,) * lead, *shape), strides=(*(0,) * lead, *table.strides[1:]))
    return frame.access(place, kind_of(table.dtype))._replace(steps=(table.strides[0],))


@means("embedding")
def _embedding(body: Body, outs: Sequence[Place], table: Place, index: Place, *_: Any) -> None:
    frame = Frame(outs[0].shape)
    wide = index._replace(shape=(*index.shape, 1), strides=(*index.strides, 0))
    body.write(frame, outs[0], picked(_row(frame, table, table.shape[1:]), [frame.load(wide)], table.shape[:1]))


@means("embedding_dense_backward")
def _embedding_backward(
    body: Body, outs: Sequence[Place], g: Place, index: Place, count: int, padding: int = -1, by_frequency: bool = False
) -> None:
    if by_frequency:
        raise Unfit("scales an embedding's gradient by frequency, which programs do not know")
    body.fill(outs[0], 0)
    frame = Frame(g.shape)
    wide = index._replace(shape=(*index.shape, 1), strides=(*index.strides, 0))
    row = frame.load(wide)
    value = frame.load(g)
    if padding >= 0:
        value = where(compare("eq", row, padding), 0.0, value)
    put(body, frame, _row(frame, outs[0], outs[0].shape[1:]), [row], outs[0].shape[:1], value, "add")


@means("index_select")
def _index_select(body: Body, outs: Sequence[Place], x: Place, dim: int, index: Place) -> None:
    frame, dim = Frame(outs[0].shape), dim % len(x.shape)
    rest = x._replace(
        shape=tuple(1 if d == dim else n for d, n in enumerate(x.shape)),
        strides=tuple(0 if d == dim else s for d, s in enumerate(x.strides)),
    )
    access = frame.access(rest, kind_of(x.dtype))._replace(steps=(x.strides[dim],))
    body.write(frame, outs[0], picked(access, [frame.load(_line(index, len(x.shape) - 1 - dim))], [x.shape[dim]]))


def _line(index: Place, behind: int) -> Place:
    """A list of indices, seen along the dimension that has so many others behind it."""
    shape, strides = index.shape or (1,), index.strides or (0,)
    return index._replace(shape=(*shape, *(1,) * behind), strides=(*strides, *(0,) * behind))


@means("index_add")
def _index_add(body: Body, outs: Sequence[Place], x: Place, dim: int, index: Place, source: Place, alpha: float = 1) -> None:
    out, frame, dim = outs[0], Frame(source.shape), dim % len(x.shape)
    if x.store != out.store:
        body.write(Frame(out.shape), out, Frame(out.shape).load(x))
    value = frame.load(source, kind_of(out.dtype))
    row = frame.load(_line(index, len(x.shape) - 1 - dim))
    put(body, frame, _along(frame, out, dim), [row], [out.shape[dim]], value if alpha == 1 else value * alpha, "add")


def _along(frame: Frame, x: Place, dim: int) -> Access:
    """x as its gather sees it: free along `dim`, which is a computed index."""
    shape = tuple(1 if d == dim else n for d, n in enumerate(frame.shape))
    strides = tuple(0 if d == dim else s for d, s in enumerate(x.strides))
    return frame.access(x._replace(shape=shape, strides=strides), kind_of(x.dtype))._replace(steps=(x.strides[dim],))


@means("gather")
def _gather(body: Body, outs: Sequence[Place], x: Place, dim: int, index: Place, **_: Any) -> None:
    frame = Frame(outs[0].shape)
    dim %= max(len(x.shape), 1)
    body.write(frame, outs[0], picked(_along(frame, x, dim), [frame.load(index)], [x.shape[dim]]))


@means("scatter_add", "scatter")
def _scatter_add(body: Body, outs: Sequence[Place], x: Place, dim: int, index: Place, source: Any, how: str = "add") -> None:
    out = outs[0]
    if x.store != out.store:
        body.write(Frame(out.shape), out, Frame(out.shape).load(x))
    frame, dim = Frame(index.shape), dim % max(len(out.shape), 1)
    value = frame.load(source, kind_of(out.dtype))
    put(body, frame, _along(frame, out, dim), [frame.load(index)], [out.shape[dim]], value, how)


MEANINGS["scatter"] = lambda *args, **kwargs: _scatter_add(*args, **kwargs, how="")


def _indexed(frame: Frame, x: Place, indices: Sequence[Place | None]) -> tuple[Access, list[Expr]]:
    """x[i, j, ...] with tensors for its first dimensions: where it lies and the indices, seen from the result's shape."""
    count = len(indices)
    if any(i is None or i.dtype in (torch.bool, torch.uint8) for i in indices):
        raise Unfit("indexes with a mask or between slices, which programs do not know")
    rest = len(x.shape) - count
    places = [i._replace(shape=(*i.shape, *(1,) * rest), strides=(*i.strides, *(0,) * rest)) for i in indices if i is not None]
    lead = len(frame.shape) - rest
    own = x._replace(shape=(*(1,) * lead, *x.shape[count:]), strides=(*(0,) * lead, *x.strides[count:]))
    found = [frame.load(p, "i64") for p in places]
    counted = [where(compare("lt", i, 0), i + n, i) for i, n in zip(found, x.shape, strict=False)]
    return frame.access(own, kind_of(x.dtype))._replace(steps=x.strides[:count]), counted


@means("index")
def _index(body: Body, outs: Sequence[Place], x: Place, indices: Sequence[Place | None]) -> None:
    frame = Frame(outs[0].shape)
    access, found = _indexed(frame, x, indices)
    body.write(frame, outs[0], picked(access, found, x.shape[: len(indices)]))


@means("index_put", "_index_put_impl", "_unsafe_index_put")
def _index_put(
    body: Body, outs: Sequence[Place], x: Place, indices: Sequence[Place | None], value: Place, accumulate: bool = False, *_: Any
) -> None:
    out = outs[0]
    if x.store != out.store:
        body.write(Frame(out.shape), out, Frame(out.shape).load(x))
    shape = torch.broadcast_shapes(*(i.shape for i in indices if i is not None)) + tuple(out.shape[len(indices) :])
    frame = Frame(shape)
    access, found = _indexed(frame, out, indices)
    how = "add" if accumulate else ""
    put(body, frame, access, found, out.shape[: len(indices)], frame.load(value, kind_of(out.dtype)), how)


def inside(indices: Sequence[Expr], sizes: Sequence[int]) -> tuple[list[Expr], Expr]:
    """Indices that surely lie in a table, and whether they are those that were asked for.

    PyTorch raises IndexError for others; a program reads or adds NaN, and the step is stopped as not finite.
    """
    if 0 in sizes:
        raise Unfit("looks something up in an empty table")
    there = [binary("and", compare("ge", i, 0), compare("lt", i, n)) for i, n in zip(indices, sizes, strict=True)]
    safe = [where(ok, i, number(0, "i64")) for ok, i in zip(there, indices, strict=True)]
    return safe, reduce(lambda a, b: binary("and", a, b), there)


def picked(access: Access, indices: Sequence[Expr], sizes: Sequence[int]) -> Expr:
    """What lies at computed indices of a table of so many rows; NaN for an index outside, or a number that is no index."""
    safe, there = inside([to(i, "i64") for i in indices], sizes)
    return where(there, load(access, safe), number(math.nan if access.kind in FLOATS else -1, access.kind))


def put(body: Body, frame: Frame, access: Access, indices: Sequence[Expr], sizes: Sequence[int], value: Expr, how: str) -> None:
    """Store or add at computed indices; NaN at the first row for an index outside."""
    safe, there = inside([to(i, "i64") for i in indices], sizes)
    lost = number(math.nan if access.kind in FLOATS else 0, access.kind)
    body.scatter(frame, access, safe, where(there, to(value, access.kind), lost), how)
