"""What softmax and the loss of classes mean as loops, with their gradients.

softmax x = exp(x - max x) / sum exp(x - max x);   loss = -weight[y] log p[y], 0 where y is ignored
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradlearn.program.expression import (
    Expr,
    binary,
    compare,
    kind_of,
    number,
    unary,
    where,
)
from gradlearn.program.frame import Body, Frame, axes_of, fold
from gradlearn.program.gathers import picked
from gradlearn.program.meaning import MEANINGS, chosen, means
from gradlearn.program.recording import Place


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
