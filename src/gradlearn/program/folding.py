"""What sums, means, extremes, norms and variances mean as loops: a value folded over some dimensions of a tensor.

    out <- fold of value(x) over axes

Long sums of float32 are taken in float64, as PyTorch takes them (`frame.fold`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradlearn.program.expression import (
    PARTS,
    binary,
    compare,
    kind_of,
    number,
    unary,
    where,
)
from gradlearn.program.frame import Body, Frame, axes_of, fold, under
from gradlearn.program.meaning import MEANINGS, means
from gradlearn.program.recording import Place
from gradlearn.program.unfit import Unfit


@means("sum")
def _sum(body: Body, outs: Sequence[Place], x: Place, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> None:
    kind = "" if outs[0].dtype in PARTS else kind_of(outs[0].dtype)
    fold(body, outs[0], x, axes_of(dim, len(x.shape)), Frame(x.shape).load(x, "" if x.dtype in PARTS else kind))


@means("mean")
def mean_of(body: Body, outs: Sequence[Place], x: Place, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> None:
    """The mean over some dimensions."""
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
        first = where(hit, frame.index(axes[0]), number(1 << 62, "i64"))
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
    mean_of(body, [center], x, dim)
    away = frame.load(x) - frame.load(under(center, x.shape, axes))
    fold(body, outs[0], x, axes, away * away)
    spread = small.load(outs[0]) * _over(n - (1 if correction is None else correction))
    body.write(small, outs[0], unary("sqrt", spread) if root else spread)


MEANINGS["std"] = MEANINGS["std_mean"] = lambda *args, **kwargs: _var(*args, **kwargs, root=True)
