"""What a loop computes for one coordinate: an expression over loads, numbers and operations, each with a kind of number.

    relu(h + b)  =  maximum(add(load h, load b), 0)

Expressions are interned: equal ones are one object, so what is computed twice is computed once. Python's operators and the torch
functions that formulas of updates use (`torch.sqrt`, `torch.where`, ...) build them, so a formula written for tensors is read by
calling it. A complex number is a pair of real expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from gradlearn.program.unfit import Unfit

KINDS = {
    torch.float32: "f32",
    torch.float64: "f64",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "u8",
    torch.bool: "b1",
}
PARTS = {torch.complex64: torch.float32, torch.complex128: torch.float64}
BYTES = {kind: dtype.itemsize for dtype, kind in KINDS.items()}
FLOATS = ("f32", "f64")
ORDER = ("b1", "u8", "i8", "i16", "i32", "i64", "f32", "f64")


def kind_of(dtype: torch.dtype) -> str:
    """The kind of real number of a dtype. Raises Unfit for one that programs do not know."""
    if dtype not in KINDS:
        raise Unfit(f"computes in {str(dtype).removeprefix('torch.')}")
    return KINDS[dtype]


class Access(NamedTuple):
    """An element of a store, by the coordinates i_d of a loop: offset + sum_d i_d * strides[d], counted in elements."""

    store: int
    kind: str
    offset: int
    strides: tuple[int, ...]
    steps: tuple[int, ...] = ()  # elements for each unit of the indices that are computed: a load's or a store's `args`


class Expr:
    """One value: an operation on others."""

    __slots__ = ("args", "data", "kind", "op")

    def __init__(self, op: str, kind: str, args: tuple[Expr, ...], data: Any) -> None:
        self.op, self.kind, self.args, self.data = op, kind, args, data

    def __add__(self, other: Any) -> Expr:
        return binary("add", self, other)

    def __radd__(self, other: Any) -> Expr:
        return binary("add", other, self)

    def __sub__(self, other: Any) -> Expr:
        return binary("sub", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return binary("sub", other, self)

    def __mul__(self, other: Any) -> Expr:
        return binary("mul", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return binary("mul", other, self)

    def __truediv__(self, other: Any) -> Expr:
        return binary("div", self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return binary("div", other, self)

    def __neg__(self) -> Expr:
        return unary("neg", self)

    def __lt__(self, other: Any) -> Expr:
        return compare("lt", self, other)

    def __gt__(self, other: Any) -> Expr:
        return compare("gt", self, other)

    def __le__(self, other: Any) -> Expr:
        return compare("le", self, other)

    def __ge__(self, other: Any) -> Expr:
        return compare("ge", self, other)

    def clamp(self, min: Any = None, max: Any = None) -> Expr:
        """Within bounds."""
        low = self if min is None else binary("maximum", self, min)
        return low if max is None else binary("minimum", low, max)

    is_cpu = False  # `sweep.sqrt` asks: what follows is not a tensor whose memory numpy could read

    @classmethod
    def __torch_function__(cls, function: Callable[..., Any], _: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = _TORCH.get(function)
        if known is None or kwargs:
            raise Unfit(f"its formula uses {getattr(function, '__name__', function)}")
        return known(*args)


_made: dict[Any, Expr] = {}


def make(op: str, kind: str, args: Sequence[Expr] = (), data: Any = None) -> Expr:
    """The one expression of this content."""
    key = (op, kind, tuple(map(id, args)), data if not isinstance(data, float) else data.hex())
    found = _made.get(key)
    if found is None:
        found = _made[key] = Expr(op, kind, tuple(args), data)
    return found


def forget() -> None:
    """Give up the table of expressions: once a program is compiled nobody asks for equal ones again."""
    _made.clear()


def number(value: Any, kind: str) -> Expr:
    """A constant of this kind."""
    return make("number", kind, (), float(value) if kind in FLOATS else int(bool(value) if kind == "b1" else value))


def to(value: Any, kind: str) -> Expr:
    """An expression or Python number as this kind."""
    if not isinstance(value, Expr):
        return number(value, kind)
    if value.kind == kind:
        return value
    if value.op == "number":
        return number(value.data, kind)
    return make("to", kind, (value,))


def wider(a: Any, b: Any) -> str:
    """The kind in which two operands meet; a Python number takes the other's."""
    if not isinstance(a, Expr) or not isinstance(b, Expr):
        x = a if isinstance(a, Expr) else b
        other = b if x is a else a
        return "f32" if isinstance(other, float) and x.kind not in FLOATS else x.kind
    return max(a.kind, b.kind, key=ORDER.index)


def unary(op: str, a: Expr) -> Expr:
    """An operation of one operand, in its kind."""
    return make(op, a.kind, (a,))


def binary(op: str, a: Any, b: Any) -> Expr:
    """An operation of two operands, in the wider of their kinds."""
    kind = wider(a, b)
    return make(op, kind, (to(a, kind), to(b, kind)))


def compare(op: str, a: Any, b: Any) -> Expr:
    """A truth value."""
    kind = wider(a, b)
    return make(op, "b1", (to(a, kind), to(b, kind)))


def where(condition: Expr, a: Any, b: Any) -> Expr:
    """a where the condition holds, else b."""
    kind = wider(a, b)
    return make("where", kind, (to(condition, "b1"), to(a, kind), to(b, kind)))


def load(access: Access, indices: Sequence[Expr] = ()) -> Expr:
    """What lies in a store."""
    return make("load", access.kind, [to(i, "i64") for i in indices], access)


def sign(a: Expr) -> Expr:
    """-1, 0 or 1; 0 where it is NaN, as PyTorch has it."""
    one, zero = number(1, a.kind), number(0, a.kind)
    return where(compare("gt", a, zero), one, where(compare("lt", a, zero), -one, zero))


_TORCH: dict[Any, Callable[..., Any]] = {
    torch.sqrt: lambda a: unary("sqrt", a),
    torch.abs: lambda a: unary("abs", a),
    torch.sign: sign,
    torch.where: where,
    torch.maximum: lambda a, b: binary("maximum", a, b),
    torch.minimum: lambda a, b: binary("minimum", a, b),
}


class Complex(NamedTuple):
    """A complex number: two real expressions."""

    re: Expr
    im: Expr
