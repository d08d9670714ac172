"""What PyTorch's operations mean, as loops and products.

An operation of a single coordinate is a line in `elementwise.py`; the others are a function each: filling, moving and products
here, the rest in `folding`, `softmax`, `gathers`, `normalising` and `pooling`. They are registered under PyTorch's own name and
called with the body to write into, the recorded arguments, and where the results lie. What has no meaning here is left to PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gradlearn.program.elementwise import ELEMENTWISE, LOSSES, TRUTHS
from gradlearn.program.expression import (
    FLOATS,
    PARTS,
    Complex,
    kind_of,
    to,
    unary,
    where,
)
from gradlearn.program.frame import Body, Frame, fold, times
from gradlearn.program.recording import Op, Place
from gradlearn.program.unfit import Unfit

Meaning = Callable[..., None]
MEANINGS: dict[str, Meaning] = {}
WHOLE = ("add", "sub", "rsub", "mul", "neg", "abs", "sign", "relu", "clamp", "clamp_min", "clamp_max", "maximum", "minimum")
WHOLE = (*WHOLE, "clone", "_to_copy")  # what is done with whole numbers


def means(*names: str) -> Callable[[Meaning], Meaning]:
    """Register a function (body, outs, *args, **kwargs) for these operations."""

    def register(function: Meaning) -> Meaning:
        MEANINGS.update(dict.fromkeys(names, function))
        return function

    return register


def express(body: Body, op: Op) -> None:
    """Write what one recorded operation does. Raises Unfit."""
    op = op._replace(kwargs={k: v for k, v in op.kwargs.items() if k != "out"})  # it is among the results
    base = op.name.partition(".")[0]
    plain = base.removesuffix("_") if not base.startswith("_") or op.mutates else base
    try:
        if base in MEANINGS or plain in MEANINGS:
            MEANINGS[base if base in MEANINGS else plain](body, op.outs, *op.args, **op.kwargs)
        elif plain in LOSSES:
            _loss(body, op, plain)
        elif plain in ELEMENTWISE or plain in TRUTHS:
            _elementwise(body, op, plain)
        else:
            raise Unfit(f"uses {base}, which programs do not know")
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:  # its meaning takes no such arguments
        raise Unfit(f"uses {base} in a way that programs do not know") from error


def _elementwise(body: Body, op: Op, name: str) -> None:
    out = op.outs[0]
    frame = Frame(out.shape)
    options = {k: v for k, v in op.kwargs.items() if k not in ("dtype", "memory_format", "layout", "device", "pin_memory")}
    options = {k: v for k, v in options.items() if k != "non_blocking"}
    if name in TRUTHS and kind_of(out.dtype) == "b1":
        kind = _met(op.args) if name in ("lt", "le", "gt", "ge", "eq", "ne") else ""
        value = TRUTHS[name](*(frame.load(a, kind) if isinstance(a, Place) or kind else a for a in op.args))
    elif name == "masked_fill":
        kind, filled = kind_of(out.dtype), frame.load(op.args[2]) if isinstance(op.args[2], Place) else op.args[2]
        value = where(frame.load(op.args[1]), to(filled, kind), frame.load(op.args[0], kind))
    elif name in ELEMENTWISE:
        kind = kind_of(PARTS.get(out.dtype) or out.dtype)
        if kind not in FLOATS and name not in WHOLE:
            raise Unfit(f"uses {name} on {str(out.dtype).removeprefix('torch.')}, which programs do not know")
        if op.mutates and kind == "f32" and any(isinstance(a, Place) and a.shape and a.dtype is torch.float64 for a in op.args):
            kind = "f64"  # in place it is computed as wide as its widest operand, and rounded once
        cast = "" if out.dtype in PARTS or name == "_to_copy" else kind
        options = {k: _operand(frame, v, cast) for k, v in options.items()}
        value = ELEMENTWISE[name](*(_operand(frame, a, cast) for a in op.args), **options)
    else:
        raise Unfit(f"uses {name} on {str(out.dtype).removeprefix('torch.')}, which programs do not know")
    body.write(frame, out, value)


def _met(args: Sequence[Any]) -> str:
    """The kind in which PyTorch compares: a tensor without dimensions, or a number, does not widen one that has some."""
    a, b = (torch.empty((1,) * len(a.shape), dtype=a.dtype) if isinstance(a, Place) else a for a in args)
    return kind_of(torch.result_type(a, b))


def _loss(body: Body, op: Op, name: str) -> None:
    """A loss of every coordinate, or their sum or mean; and its gradient."""
    named = [a.name for a in op.call._schema.arguments]
    at, args = named.index("reduction"), list(op.args)
    how = args.pop(at) if at < len(args) else op.kwargs.get("reduction", 1)  # 0: each, 1: mean, 2: sum
    options = {k: v for k, v in op.kwargs.items() if k != "reduction"}
    out, places = op.outs[0], [a for a in args if isinstance(a, Place)]
    shape = torch.broadcast_shapes(*(p.shape for p in places))
    frame, kind = Frame(shape), kind_of(out.dtype)
    value = LOSSES[name](*(_operand(frame, a, kind) for a in args), **options)
    part = 1.0 / max(math.prod(shape), 1) if how == 1 else 1.0
    if how and not name.endswith("_backward"):
        fold(body, out, max(places, key=lambda p: len(p.shape))._replace(shape=tuple(shape)), list(range(len(shape))), value)
        frame = Frame(())
        value = frame.load(out)
        part = part if math.prod(shape) else math.nan if how == 1 else 1.0
    body.write(frame, out, value if part == 1.0 else value * part)


def _operand(frame: Frame, value: Any, kind: str) -> Any:
    """A tensor as an expression; a number stays one. Complex tensors stay complex, whatever the result is."""
    if isinstance(value, complex):
        return frame.load(value, kind)
    if not isinstance(value, Place):
        return value
    return frame.load(value, "" if value.dtype in PARTS else kind)


@means("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh", "detach")
def _nothing(body: Body, outs: Sequence[Place], *_: Any, **__: Any) -> None:
    """What lies there does not matter, or is read where it lies."""


@means("zeros", "zeros_like", "new_zeros", "zero")
def _zeros(body: Body, outs: Sequence[Place], *_: Any, **__: Any) -> None:
    body.fill(outs[0], 0)


@means("ones", "ones_like", "new_ones")
def _ones(body: Body, outs: Sequence[Place], *_: Any, **__: Any) -> None:
    body.fill(outs[0], 1)


@means("full", "full_like", "new_full", "fill")
def _full(body: Body, outs: Sequence[Place], *args: Any, **_: Any) -> None:
    frame = Frame(outs[0].shape)
    body.write(frame, outs[0], frame.load(args[-1]))  # behind what it is like, and how large


@means("scalar_tensor")
def _scalar(body: Body, outs: Sequence[Place], value: Any, **_: Any) -> None:
    _full(body, outs, value)


@means("copy")
def _copy(body: Body, outs: Sequence[Place], _: Place, source: Place, *__: Any) -> None:
    frame = Frame(outs[0].shape)
    body.write(frame, outs[0], frame.load(source))


@means("where")
def _where(body: Body, outs: Sequence[Place], condition: Place, a: Any, b: Any) -> None:
    frame, kind = Frame(outs[0].shape), kind_of(outs[0].dtype)
    body.write(frame, outs[0], where(frame.load(condition), frame.load(a, kind), frame.load(b, kind)))


@means("complex")
def _complex(body: Body, outs: Sequence[Place], re: Place, im: Place) -> None:
    frame = Frame(outs[0].shape)
    body.write(frame, outs[0], Complex(frame.load(re), frame.load(im)))


@means("polar")
def _polar(body: Body, outs: Sequence[Place], size: Place, angle: Place) -> None:
    frame = Frame(outs[0].shape)
    r, a = frame.load(size), frame.load(angle)
    body.write(frame, outs[0], Complex(r * unary("cos", a), r * unary("sin", a)))


@means("flip")
def _flip(body: Body, outs: Sequence[Place], x: Place, dims: Sequence[int]) -> None:
    axes = [d % len(x.shape) for d in dims]
    frame, offset = Frame(outs[0].shape), x.offset
    for d in axes:
        offset += (x.shape[d] - 1) * x.strides[d]
    back = x._replace(offset=offset, strides=tuple(-s if d in axes else s for d, s in enumerate(x.strides)))
    body.write(frame, outs[0], frame.load(back))


@means("cat")
def _cat(body: Body, outs: Sequence[Place], parts: Sequence[Place], dim: int = 0) -> None:
    out, start = outs[0], 0
    dim %= len(out.shape)
    for part in parts:
        if part.shape == (0,) and len(out.shape) > 1:
            continue
        body.write(Frame(part.shape), window(out, dim, start, part.shape[dim]), Frame(part.shape).load(part))
        start += part.shape[dim]


@means("stack")
def _stack(body: Body, outs: Sequence[Place], parts: Sequence[Place], dim: int = 0) -> None:
    out = outs[0]
    dim %= len(out.shape)
    for i, part in enumerate(parts):
        body.write(Frame(part.shape), chosen(out, dim, i), Frame(part.shape).load(part))


def window(place: Place, dim: int, start: int, length: int, step: int = 1) -> Place:
    """A range along one dimension."""
    shape, strides = list(place.shape), list(place.strides)
    offset = place.offset + start * strides[dim]
    shape[dim], strides[dim] = length, strides[dim] * step
    return place._replace(offset=offset, shape=tuple(shape), strides=tuple(strides))


def chosen(place: Place, dim: int, index: int) -> Place:
    """One index along one dimension, which goes."""
    offset = place.offset + index * place.strides[dim]
    shape, strides = (tuple(v for d, v in enumerate(part) if d != dim) for part in (place.shape, place.strides))
    return place._replace(offset=offset, shape=shape, strides=strides)


@means("slice_backward")
def _slice_backward(body: Body, outs: Sequence[Place], g: Place, _: Any, dim: int, start: int, end: int, step: int) -> None:
    dim, out = dim % len(outs[0].shape), outs[0]
    start = min(max(start + out.shape[dim] if start < 0 else start, 0), out.shape[dim])
    if g.shape != out.shape:
        body.fill(out, 0)
    body.write(Frame(g.shape), window(out, dim, start, g.shape[dim], step), Frame(g.shape).load(g))


@means("select_backward")
def _select_backward(body: Body, outs: Sequence[Place], g: Place, _: Any, dim: int, index: int) -> None:
    dim %= len(outs[0].shape)
    body.fill(outs[0], 0)
    body.write(Frame(g.shape), chosen(outs[0], dim, index % outs[0].shape[dim]), Frame(g.shape).load(g))


@means("constant_pad_nd")
def _pad(body: Body, outs: Sequence[Place], x: Place, pad: Sequence[int], value: float = 0) -> None:
    if any(p < 0 for p in pad):
        raise Unfit("pads by less than nothing, which programs do not know")
    body.fill(outs[0], value)
    inner = outs[0]
    for i in range(len(pad) // 2):
        d = len(x.shape) - 1 - i
        inner = window(inner, d, pad[2 * i], x.shape[d])
    body.write(Frame(x.shape), inner, Frame(x.shape).load(x))


@means("mm", "bmm")
def _product(body: Body, outs: Sequence[Place], a: Place, b: Place) -> None:
    body.product(a, b, outs[0])


@means("addmm", "baddbmm")
def _add_product(body: Body, outs: Sequence[Place], bias: Place, a: Place, b: Place, beta: float = 1, alpha: float = 1) -> None:
    out = outs[0]
    target = body.new(out.shape, out.dtype) if bias.store == out.store else out
    body.product(a, b, target)
    frame = Frame(out.shape)
    value = frame.load(target) if alpha == 1 else times(frame.load(target), alpha)
    if beta != 0:  # else PyTorch does not look at it
        value = ELEMENTWISE["add"](value, frame.load(bias) if beta == 1 else times(frame.load(bias), beta))
    body.write(frame, out, value)


@means("mv", "dot")
def _by_vector(body: Body, outs: Sequence[Place], a: Place, b: Place) -> None:
    a = a if len(a.shape) == 2 else a._replace(shape=(1, *a.shape), strides=(0, *a.strides))
    b = b._replace(shape=(*b.shape, 1), strides=(*b.strides, 1))
    out = outs[0]
    shape = (a.shape[0], 1)
    body.product(a, b, out._replace(shape=shape, strides=((out.strides or (1,))[0], 1)))
