"""What layer and batch normalisation mean as loops, with their gradients.

n = (x - mean x) / sqrt(var x + eps);   dx = scale (s - mean s - n mean(s n)),  s the slope of n
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradlearn.program.expression import (
    Expr,
    unary,
)
from gradlearn.program.folding import mean_of
from gradlearn.program.frame import Body, Frame, fold, under
from gradlearn.program.meaning import means
from gradlearn.program.recording import Place
from gradlearn.program.unfit import Unfit


@means("native_layer_norm")
def _layer_norm(
    body: Body, outs: Sequence[Place], x: Place, shape: Sequence[int], weight: Place | None, bias: Place | None, eps: float
) -> None:
    out, mean, scale = outs
    axes = list(range(len(x.shape) - len(shape), len(x.shape)))
    mean_of(body, [mean], x, axes)
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
    mean_of(body, [mean], x, axes)
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
