"""What PyTorch's operations mean, as loops and products.

An operation of a single coordinate is a line in `elementwise.py`; the others are a function each, here and in `layers.py`,
registered under PyTorch's own name and called with the body to write into, the recorded arguments, and where the results lie. What
has no meaning here makes a step unfit for a program, by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch

from gradlearn.program.elementwise import ELEMENTWISE, LOSSES, TRUTHS
from gradlearn.program.expression import (
    FLOATS,
    PARTS,
    Access,
    Complex,
    Expr,
    binary,
    compare,
    kind_of,
    load,
    number,
    to,
    unary,
    where,
)
from gradlearn.program.frame import Body, Frame, times
from gradlearn.program.recording import Op, Place
from gradlearn.program.unfit import Unfit

Meaning = Callable[..., None]
MEANINGS: dict[str, Meaning] = {}
HIGHEST = 1 << 62
LONG = 4096  # terms from which a sum of float32 is taken in float64
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


# ---------------------------------------------------------------------------------------------------------- filling and copying


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


# ------------------------------------------------------------------------------------------------------------- products


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


# ------------------------------------------------------------------------------------------------------------- folds


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


@means("sum")
def _sum(body: Body, outs: Sequence[Place], x: Place, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> None:
    kind = "" if outs[0].dtype in PARTS else kind_of(outs[0].dtype)
    fold(body, outs[0], x, axes_of(dim, len(x.shape)), Frame(x.shape).load(x, "" if x.dtype in PARTS else kind))


@means("mean")
def _mean(body: Body, outs: Sequence[Place], x: Place, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> None:
    axes, frame = axes_of(dim, len(x.shape)), Frame(x.shape)
    if x.dtype in PARTS:
        raise Unfit("takes the mean of complex numbers, which programs do not know")
    fold(body, outs[0], x, axes, frame.load(x))
    small = Frame(outs[0].shape)
    body.write(small, outs[0], small.load(outs[0]) * _over(math.prod(x.shape[d] for d in axes)))


def _over(n: float) -> float:
    """1 / n; infinity over nothing, so that a sum of nothing has no mean."""
    return 1.0 / n if n > 0 else math.inf


@means("amax", "amin")
def _extreme(body: Body, outs: Sequence[Place], x: Place, dim: Any = None, keepdim: bool = False, how: str = "maximum") -> None:
    fold(body, outs[0], x, axes_of(dim, len(x.shape)), Frame(x.shape).load(x), how)


MEANINGS["amin"] = lambda *args, **kwargs: _extreme(*args, **kwargs, how="minimum")


@means("max")
def _max(body: Body, outs: Sequence[Place], x: Place, dim: Any = None, keepdim: bool = False, how: str = "maximum") -> None:
    if isinstance(dim, Place):  # of two tensors
        frame, kind = Frame(outs[0].shape), kind_of(outs[0].dtype)
        body.write(frame, outs[0], binary(how, frame.load(x, kind), frame.load(dim, kind)))
        return
    axes, frame = axes_of(dim, len(x.shape)), Frame(x.shape)
    fold(body, outs[0], x, axes, frame.load(x), how)
    if len(outs) > 1:
        value, best = frame.load(x), frame.load(under(outs[0], x.shape, axes))
        hit = binary("or", compare("eq", value, best), compare("ne", value, value))
        first = where(hit, frame.index(axes[0]), number(HIGHEST, "i64"))
        fold(body, outs[1], x, axes, first, "minimum")


MEANINGS["min"] = lambda *args, **kwargs: _max(*args, **kwargs, how="minimum")


@means("linalg_vector_norm", "norm")
def _norm(body: Body, outs: Sequence[Place], x: Place, order: Any = 2, dim: Any = None, *_: Any, **__: Any) -> None:
    axes, frame, small = axes_of(dim, len(x.shape)), Frame(x.shape), Frame(outs[0].shape)
    value = frame.load(x, kind_of(outs[0].dtype))
    if order in (2, None):
        fold(body, outs[0], x, axes, value * value)
        body.write(small, outs[0], unary("sqrt", small.load(outs[0])))
    elif order == 1:
        fold(body, outs[0], x, axes, unary("abs", value))
    else:
        raise Unfit(f"takes a norm of order {order}, which programs do not know")


@means("var", "var_mean", "std", "std_mean")
def _var(
    body: Body, outs: Sequence[Place], x: Place, dim: Any = None, correction: Any = 1, keepdim: bool = False, root: bool = False
) -> None:
    axes, frame, small = axes_of(dim, len(x.shape)), Frame(x.shape), Frame(outs[0].shape)
    n = math.prod(x.shape[d] for d in axes)
    center = outs[1] if len(outs) > 1 else body.new(outs[0].shape, outs[0].dtype)
    _mean(body, [center], x, dim)
    away = frame.load(x) - frame.load(under(center, x.shape, axes))
    fold(body, outs[0], x, axes, away * away)
    spread = small.load(outs[0]) * _over(n - (1 if correction is None else correction))
    body.write(small, outs[0], unary("sqrt", spread) if root else spread)


MEANINGS["std"] = MEANINGS["std_mean"] = lambda *args, **kwargs: _var(*args, **kwargs, root=True)


# ------------------------------------------------------------------------------------------------------------- softmax and losses


@means("_softmax", "_log_softmax", "_safe_softmax")
def _softmax(body: Body, outs: Sequence[Place], x: Place, dim: int, *_: Any, log: bool = False, safe: bool = False) -> None:
    out, axes, frame = outs[0], axes_of(dim, len(x.shape)), Frame(x.shape)
    short = [1 if d in axes else n for d, n in enumerate(x.shape)]
    top, total = body.new(short, x.dtype), body.new(short, x.dtype)
    fold(body, top, x, axes, frame.load(x), "maximum")
    away = frame.load(x) - frame.load(top)
    power = unary("exp", away)
    if log:
        fold(body, total, x, axes, power)
        small = Frame(short)
        body.write(small, total, unary("log", small.load(total)))
        body.write(frame, out, away - frame.load(total))
    else:
        body.write(frame, out, power)
        fold(body, total, x, axes, frame.load(out))
        share = frame.load(out) / frame.load(total)
        body.write(frame, out, where(compare("eq", frame.load(top), -math.inf), 0.0, share) if safe else share)


MEANINGS["_log_softmax"] = lambda *args: _softmax(*args, log=True)
MEANINGS["_safe_softmax"] = lambda *args, **_: _softmax(*args, safe=True)  # nothing where everything is masked


@means("_softmax_backward_data", "_log_softmax_backward_data")
def _softmax_backward(body: Body, outs: Sequence[Place], g: Place, y: Place, dim: int, _: Any, log: bool = False) -> None:
    axes, frame = axes_of(dim, len(y.shape)), Frame(y.shape)
    total = body.new([1 if d in axes else n for d, n in enumerate(y.shape)], y.dtype)
    if log:
        fold(body, total, y, axes, frame.load(g))
        body.write(frame, outs[0], frame.load(g) - unary("exp", frame.load(y)) * frame.load(total))
    else:
        fold(body, total, y, axes, frame.load(g) * frame.load(y))
        body.write(frame, outs[0], (frame.load(g) - frame.load(total)) * frame.load(y))


MEANINGS["_log_softmax_backward_data"] = lambda *args: _softmax_backward(*args, log=True)


def _classes(x: Place) -> int:
    return 1 if len(x.shape) > 1 else 0


def _of_class(frame: Frame, x: Place, c: int, target: Expr) -> Expr:
    """x at the class of the target, seen from the other dimensions."""
    access = frame.access(chosen(x, c, 0), kind_of(x.dtype))._replace(steps=(x.strides[c],))
    return picked(access, [target], [x.shape[c]])


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


@means("nll_loss_forward", "nll_loss2d_forward")
def _nll(body: Body, outs: Sequence[Place], x: Place, y: Place, weight: Place | None, reduction: int, ignore: int) -> None:
    if reduction != 0:
        return _nll_reduced(body, outs, x, y, weight, reduction, ignore)
    frame, c = Frame(y.shape), _classes(x)
    body.write(frame, outs[0], -_picked(frame, x, y, weight, ignore, c))
    body.fill(outs[1], 0)
    return None


def _picked(frame: Frame, x: Place, y: Place, weight: Place | None, ignore: int, c: int) -> Expr:
    """weight[y] x[y], 0 where y is ignored."""
    target = frame.load(y)
    kept = compare("ne", target, ignore)
    safe = where(kept, target, number(0, "i64"))
    value = _of_class(frame, x, c, safe)
    return where(kept, value if weight is None else value * _weight(frame, weight, safe), 0.0)


def _weight(frame: Frame, weight: Place, target: Expr) -> Expr:
    access = frame.access(chosen(weight, 0, 0), kind_of(weight.dtype))._replace(steps=(weight.strides[0],))
    return picked(access, [target], weight.shape)


def _nll_reduced(body: Body, outs: Sequence[Place], x: Place, y: Place, weight: Place | None, reduction: int, ignore: int) -> None:
    frame, c = Frame(y.shape), _classes(x)
    target = frame.load(y)
    kept = compare("ne", target, ignore)
    each = where(kept, number(1, "f32") if weight is None else _weight(frame, weight, where(kept, target, 0)), 0.0)
    axes = list(range(len(y.shape)))
    fold(body, outs[0], y, axes, -_picked(frame, x, y, weight, ignore, c))
    fold(body, outs[1], y, axes, each)
    if reduction == 1:
        small = Frame(())
        body.write(small, outs[0], small.load(outs[0]) / small.load(outs[1]))


@means("nll_loss_backward", "nll_loss2d_backward")
def _nll_backward(
    body: Body,
    outs: Sequence[Place],
    g: Place,
    x: Place,
    y: Place,
    weight: Place | None,
    reduction: int,
    ignore: int,
    total: Place,
) -> None:
    out, frame, c = outs[0], Frame(x.shape), _classes(x)
    wide = y._replace(shape=(*y.shape[:c], 1, *y.shape[c:]), strides=(*y.strides[:c], 0, *y.strides[c:]))
    if reduction == 0:
        g = g._replace(shape=(*g.shape[:c], 1, *g.shape[c:]), strides=(*g.strides[:c], 0, *g.strides[c:]))
    target = frame.load(wide)
    slope = -frame.load(g)
    if weight is not None:
        slope = slope * _weight(frame, weight, where(compare("ne", target, ignore), target, 0))
    if reduction == 1:
        slope = slope / frame.load(total)
    hit = compare("eq", target, frame.index(c))
    if ignore >= 0:
        hit = binary("and", hit, compare("ne", target, ignore))
    body.write(frame, out, where(hit, slope, 0.0))


# ------------------------------------------------------------------------------------------------------------- gathers


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


# ------------------------------------------------------------------------------------------------------------- normalisation


@means("native_layer_norm")
def _layer_norm(
    body: Body, outs: Sequence[Place], x: Place, shape: Sequence[int], weight: Place | None, bias: Place | None, eps: float
) -> None:
    out, mean, scale = outs
    axes = list(range(len(x.shape) - len(shape), len(x.shape)))
    _mean(body, [mean], x, axes)
    frame, small = Frame(x.shape), Frame(mean.shape)
    away = frame.load(x) - frame.load(under(mean, x.shape, axes))
    fold(body, scale, x, axes, away * away)
    body.write(small, scale, 1.0 / unary("sqrt", small.load(scale) * (1.0 / math.prod(shape)) + eps))
    value = away * frame.load(under(scale, x.shape, axes))
    value = value if weight is None else value * frame.load(weight)
    body.write(frame, out, value if bias is None else value + frame.load(bias))


@means("native_layer_norm_backward")
def _layer_norm_backward(
    body: Body,
    outs: Sequence[Place | None],
    g: Place,
    x: Place,
    shape: Sequence[int],
    mean: Place,
    scale: Place,
    weight: Place | None,
    bias: Place | None,
    wanted: Sequence[bool],
) -> None:
    axes = list(range(len(x.shape) - len(shape), len(x.shape)))
    lead = [d for d in range(len(x.shape)) if d not in axes]
    factor = None if weight is None else Frame(x.shape).load(weight)
    _normalised_backward(body, outs, g, x, (axes, lead), mean, scale, factor, wanted)


def _normalised_backward(
    body: Body,
    outs: Sequence[Place | None],
    g: Place,
    x: Place,
    folded: tuple[Sequence[int], Sequence[int]],  # over which dimensions x was normalised, and those that share a weight
    mean: Place,
    scale: Place,
    factor: Expr | None,
    wanted: Sequence[bool],
) -> None:
    """The slopes of x, weight and bias for y = n weight + bias, n = (x - mean) scale; those that are wanted."""
    axes, shared = folded
    frame = Frame(x.shape)
    level, slope = frame.load(under(scale, x.shape, axes)), frame.load(g)
    normal = (frame.load(x) - frame.load(under(mean, x.shape, axes))) * level
    if outs[1] is not None and wanted[1]:
        fold(body, outs[1], x, shared, slope * normal)
    if outs[2] is not None and wanted[2]:
        fold(body, outs[2], x, shared, slope)
    if outs[0] is not None and wanted[0]:
        _through_normal(body, outs[0], x, axes, slope if factor is None else slope * factor, normal, level)


def _through_normal(body: Body, out: Place, x: Place, axes: Sequence[int], slope: Expr, normal: Expr, scale: Expr) -> None:
    """dx = scale (s - mean(s) - n mean(s n)) for n = (x - mean) scale."""
    frame = Frame(x.shape)
    short = [1 if d in axes else n for d, n in enumerate(x.shape)]
    both = [body.new(short, x.dtype) for _ in range(2)]
    fold(body, both[0], x, axes, slope)
    fold(body, both[1], x, axes, slope * normal)
    part = 1.0 / math.prod(x.shape[d] for d in axes)
    body.write(frame, out, scale * (slope - (frame.load(both[0]) + normal * frame.load(both[1])) * part))


@means("native_batch_norm", "_native_batch_norm_legit")
def _batch_norm(
    body: Body,
    outs: Sequence[Place],
    x: Place,
    weight: Place | None,
    bias: Place | None,
    running_mean: Place | None,
    running_var: Place | None,
    training: bool,
    momentum: float,
    eps: float,
) -> None:
    if not training:
        raise Unfit("normalises with running statistics while it trains, which programs do not know")
    out, mean, scale = outs
    axes = [d for d in range(len(x.shape)) if d != 1]
    n = math.prod(x.shape[d] for d in axes)
    frame, small = Frame(x.shape), Frame(mean.shape)
    _mean(body, [mean], x, axes)
    away = frame.load(x) - frame.load(under(mean, x.shape, axes))
    variance = body.new(mean.shape, mean.dtype)
    fold(body, variance, x, axes, away * away)
    if running_mean is not None and running_var is not None:
        body.write(small, running_mean, small.load(running_mean) * (1.0 - momentum) + small.load(mean) * momentum)
        spread = small.load(variance) * (momentum / max(n - 1, 1))
        body.write(small, running_var, small.load(running_var) * (1.0 - momentum) + spread)
    body.write(small, scale, 1.0 / unary("sqrt", small.load(variance) * (1.0 / n) + eps))
    value = away * frame.load(under(scale, x.shape, axes))
    value = value if weight is None else value * frame.load(under(weight, x.shape, axes))
    body.write(frame, out, value if bias is None else value + frame.load(under(bias, x.shape, axes)))


@means("native_batch_norm_backward")
def _batch_norm_backward(
    body: Body,
    outs: Sequence[Place | None],
    g: Place,
    x: Place,
    weight: Place | None,
    _: Any,
    __: Any,
    mean: Place,
    scale: Place,
    training: bool,
    eps: float,
    wanted: Sequence[bool],
) -> None:
    axes = [d for d in range(len(x.shape)) if d != 1]
    factor = None if weight is None else Frame(x.shape).load(under(weight, x.shape, axes))
    _normalised_backward(body, outs, g, x, (axes, axes), mean, scale, factor, wanted)
