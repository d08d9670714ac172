"""The loops that operations become: a frame is the shape of one loop, and what lies where as its coordinates see it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from gradlearn.program.expression import KINDS, PARTS, Access, Complex, Expr, kind_of, load, make, number, to
from gradlearn.program.loops import Call, Item, Loop, Product, Span, Store, add, steady
from gradlearn.program.recording import Op, Place, operands
from gradlearn.program.unfit import Unfit

OWN = 1 << 20  # the first of the stores that were not recorded
LONG = 4096  # terms from which a sum of float32 is taken in float64
SMALL = 1024  # multiply-adds below which a product is an ordinary loop


class Frame:
    """The coordinates of one loop: those dimensions of a shape that have more than one place."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.axes = tuple(d for d, n in enumerate(shape) if n != 1)
        self.dims = tuple(self.shape[d] for d in self.axes)

    def access(self, place: Place, kind: str, fixed: int = 0, scale: int = 1) -> Access:
        """A tensor seen from here, broadcast as PyTorch broadcasts; `scale` reals to an element."""
        lead = len(self.shape) - len(place.shape)
        strides = []
        for d in self.axes:
            own = d - lead
            strides.append(0 if own < 0 or place.shape[own] == 1 else place.strides[own] * scale)
        return Access(place.store, kind, place.offset * scale + fixed, tuple(strides))

    def load(self, value: Any, kind: str = "") -> Any:
        """What a place (or a Python number) holds here, as an expression; complex places give pairs."""
        if isinstance(value, Place):
            if value.dtype in PARTS:
                part = KINDS[PARTS[value.dtype]]
                re, im = (load(self.access(value, part, fixed, 2)) for fixed in (0, 1))
                return Complex(re, -im if value.conjugated else im)
            found = load(self.access(value, kind_of(value.dtype)))
            return to(found, kind) if kind else found
        if isinstance(value, Expr):
            return to(value, kind) if kind else value
        if isinstance(value, complex):
            return Complex(number(value.real, kind or "f32"), number(value.imag, kind or "f32"))
        return number(value, kind or ("b1" if isinstance(value, bool) else "i64" if isinstance(value, int) else "f32"))

    def index(self, d: int) -> Expr:
        """The coordinate along dimension d of the shape."""
        return make("index", "i64", (), self.axes.index(d)) if d in self.axes else number(0, "i64")


class Body:
    """A program's items as they are written down.

    Attributes:
        items: loops and products so far.
        sizes: bytes of each store that was made here.
    """

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.stores = OWN
        self.sizes: dict[int, int] = {}

    def new(self, shape: Sequence[int], dtype: torch.dtype) -> Place:
        """A tensor of our own, contiguous."""
        self.stores += 1
        strides, step = [], 1
        for n in reversed(shape):
            strides.append(step)
            step *= max(n, 1)
        self.sizes[self.stores - 1] = max(step, 1) * dtype.itemsize
        return Place(self.stores - 1, dtype, 0, tuple(shape), tuple(reversed(strides)))

    def write(self, frame: Frame, place: Place, value: Any, fold: str = "", fresh: bool = True) -> None:
        """Store a value, real or complex, at every coordinate; with `fold`, what meets in one place is folded."""
        if math.prod(frame.dims) == 0:
            return
        if place.dtype in PARTS:
            part = KINDS[PARTS[place.dtype]]
            pair = value if isinstance(value, Complex) else Complex(to(value, part), number(0, part))
            pair = Complex(pair.re, -to(pair.im, part)) if place.conjugated else pair
            parts = [(frame.access(place, part, fixed, 2), to(v, part)) for fixed, v in enumerate(pair)]
        else:
            kind = kind_of(place.dtype)
            parts = [(frame.access(place, kind), to(value.re if isinstance(value, Complex) else value, kind))]
        loop = Loop(frame.dims, [Store(access, v, (), fold, fresh) for access, v in parts])
        if not steady(loop):
            raise Unfit("reads a tensor where the same operation writes into it")
        add(self.items, loop)

    def scatter(self, frame: Frame, store: Access, indices: Sequence[Expr], value: Expr, fold: str) -> None:
        """Store or add at places that are computed."""
        if math.prod(frame.dims):
            indices = tuple(to(i, "i64") for i in indices)
            add(self.items, Loop(frame.dims, [Store(store, to(value, store.kind), indices, fold, False)]))

    def call(self, op: Op) -> None:
        """Leave an operation to PyTorch. What it makes lies where PyTorch has put it."""
        self.items.append(call_of(op))

    def fill(self, place: Place, value: float) -> None:
        """One number everywhere."""
        self.write(Frame(place.shape), place, number(value, "f64" if isinstance(value, float) else "i64"))

    def copy(self, place: Place) -> Place:
        """A contiguous copy."""
        out = self.new(place.shape, place.dtype)
        frame = Frame(place.shape)
        self.write(frame, out, frame.load(place))
        return out

    def product(self, a: Place, b: Place, out: Place) -> None:
        """out (..., m, n) <- a (..., m, k) b (..., k, n); at most one dimension of batch."""
        m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
        real = a.dtype in (torch.float32, torch.float64)
        if k == 0:
            self.fill(out, 0.0)
        elif m * n * k <= SMALL or not real:
            self._summed(a, b, out)
        elif m * n and not _fits(out):
            own = self.new(out.shape, out.dtype)
            self.product(a, b, own)
            frame = Frame(out.shape)
            self.write(frame, out, frame.load(own))
        elif m * n:
            batch = a.shape[0] if len(a.shape) == 3 else 1
            a, b = (p if _fits(p) else self.copy(p) for p in (a, b))
            left, right, into = (_matrix(p, len(out.shape) == 3) for p in (a, b, out))
            self.items.append(Product(kind_of(a.dtype), (m, n, k), left, right, into, batch))

    def _summed(self, a: Place, b: Place, out: Place) -> None:
        """A product as an ordinary loop."""
        *lead, m, k = a.shape
        n = b.shape[-1]
        frame = Frame((*lead, m, n, k))
        left = a._replace(shape=(*lead, m, 1, k), strides=(*a.strides[:-1], 0, a.strides[-1]))
        right = b._replace(shape=(*lead, 1, n, k), strides=(*b.strides[:-2], 0, b.strides[-1], b.strides[-2]))
        into = out._replace(shape=(*out.shape, 1), strides=(*out.strides, 0))
        self.write(frame, into, times(frame.load(left), frame.load(right)), "add")


def times(a: Any, b: Any) -> Any:
    """a b, real or complex."""
    if isinstance(a, Complex) and isinstance(b, Complex):
        return Complex(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)
    if isinstance(a, Complex):
        return Complex(a.re * b, a.im * b)
    return Complex(a * b.re, a * b.im) if isinstance(b, Complex) else a * b


def _fits(p: Place) -> bool:
    """Whether the library takes a matrix as it lies: one of its two strides is 1, the other steps over whole rows."""
    (rows, columns), (down, right) = p.shape[-2:], p.strides[-2:]
    by_row = (right == 1 or columns == 1) and (down >= columns or rows == 1)
    by_column = (down == 1 or rows == 1) and (right >= rows or columns == 1)
    return by_row or by_column


def _matrix(p: Place, batched: bool) -> Access:
    return Access(p.store, kind_of(p.dtype), p.offset, (*p.strides[-2:], p.strides[0] if batched and len(p.shape) == 3 else 0))


def call_of(op: Op) -> Call:
    """An operation as it was recorded, for PyTorch to do."""
    inputs, outs = [*operands(op.args), *operands(op.kwargs)], operands(op.outs)
    known = {p.store for p in inputs}
    if op.random:
        raise Unfit(f"draws with {op.name.partition('.')[0]} from what it computes, which programs do not know")
    touched = [_whole(p, op.mutates, False) for p in inputs]
    touched += [_whole(p, True, True) for p in outs if p.store not in known]
    return Call(op.name, op.call, op.args, op.kwargs, tuple(op.outs), touched)


def _whole(p: Place, write: bool, made: bool) -> Span:
    scale, dtype = (2, PARTS[p.dtype]) if p.dtype in PARTS else (1, p.dtype)
    access = Access(p.store, kind_of(dtype), p.offset * scale, tuple(s * scale for s in p.strides))
    return Span(access, p.shape, write, made)


def axes_of(dim: Any, rank: int) -> list[int]:
    """Dimensions as numbers from 0; none named is all of them."""
    named = [dim] if isinstance(dim, int) else list(dim or [])
    return [d % rank for d in named] if named and rank else list(range(rank))


def under(place: Place, shape: Sequence[int], axes: Sequence[int]) -> Place:
    """A result with `axes` folded away, kept or not, as every coordinate of the full shape sees it."""
    if len(place.shape) == len(shape):
        kept = place.strides
    else:
        rest = iter(place.strides)
        kept = tuple(0 if d in axes else next(rest) for d in range(len(shape)))
    strides = tuple(0 if d in axes else s for d, s in enumerate(kept))
    return place._replace(shape=tuple(1 if d in axes else n for d, n in enumerate(shape)), strides=strides)


def fold(body: Body, out: Place, x: Place, axes: Sequence[int], value: Any, how: str = "add") -> None:
    """out <- fold of a value over some dimensions of x's shape."""
    if math.prod(x.shape) == 0:
        body.fill(out, 0)
        return
    if how == "add" and out.dtype is torch.float32 and math.prod(x.shape[d] for d in axes) > LONG:
        wide = body.new(out.shape, torch.float64)  # as PyTorch sums what is long
        body.write(Frame(x.shape), under(wide, x.shape, axes), value, how)
        small = Frame(out.shape)
        body.write(small, out, small.load(wide))
        return
    body.write(Frame(x.shape), under(out, x.shape, axes), value, how)
