"""What pooling means as loops: the largest of each window, and the gradient to where it came from.

Without padding and with windows that do not overlap the gradient is gathered, each place asking its window whether it was the one;
all else is left to PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradlearn.program.expression import binary, compare, number, where
from gradlearn.program.frame import Body, Frame
from gradlearn.program.meaning import means
from gradlearn.program.recording import Place
from gradlearn.program.unfit import Unfit


def _pair(value: Any) -> tuple[int, int]:
    values = tuple(value)
    return (values[0], values[-1])


def _windows(kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> tuple[int, int, int, int]:
    """(height, width, step down, step right). Raises Unfit for windows that reach over the border."""
    high, wide = _pair(kernel)
    down, right = _pair(stride) if stride else (high, wide)
    if any(_pair(padding)) or set(_pair(dilation)) != {1} or ceil:
        raise Unfit("pools with padding, which programs do not know")
    return high, wide, down, right


@means("max_pool2d_with_indices")
def _max_pool(
    body: Body,
    outs: Sequence[Place],
    x: Place,
    kernel: Any,
    stride: Any = (),
    padding: Any = (0,),
    dilation: Any = (1,),
    ceil: bool = False,
) -> None:
    high, wide, down, right = _windows(kernel, stride, padding, dilation, ceil)
    out, frame, rank = outs[0], Frame(outs[0].shape), len(x.shape)
    *_, sh, sw = x.strides
    row, column = frame.index(rank - 2) * down, frame.index(rank - 1) * right
    best = where_from = None
    for i in range(high):
        for j in range(wide):
            moved = x._replace(offset=x.offset + i * sh + j * sw, shape=out.shape, strides=(*x.strides[:-2], sh * down, sw * right))
            value, at = frame.load(moved), (row + i) * x.shape[-1] + (column + j)
            if best is None or where_from is None:
                best, where_from = value, at
                continue
            more = binary("or", compare("gt", value, best), compare("ne", value, value))
            best, where_from = where(more, value, best), where(more, at, where_from)
    body.write(frame, out, best)
    body.write(frame, outs[1], where_from)


@means("max_pool2d_with_indices_backward")
def _max_pool_backward(
    body: Body,
    outs: Sequence[Place],
    g: Place,
    x: Place,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil: bool,
    index: Place,
) -> None:
    high, wide, down, right = _windows(kernel, stride, padding, dilation, ceil)
    if (high, wide) != (down, right):
        raise Unfit("pools windows that overlap, which programs do not know")
    out, *lead = outs[0], *x.shape[:-2]
    rows, columns = g.shape[-2:]
    if (rows * high, columns * wide) != x.shape[-2:]:
        body.fill(out, 0)
    frame = Frame((*lead, rows, high, columns, wide))
    *before, sh, sw = out.strides
    parts = out._replace(shape=frame.shape, strides=(*before, sh * high, sh, sw * wide, sw))
    seen = [p._replace(shape=frame.shape, strides=(*p.strides[:-2], p.strides[-2], 0, p.strides[-1], 0)) for p in (g, index)]
    k = len(lead)
    row = frame.index(k) * high + frame.index(k + 1)
    column = frame.index(k + 2) * wide + frame.index(k + 3)
    mine = compare("eq", frame.load(seen[1]), row * x.shape[-1] + column)
    body.write(frame, parts, where(mine, frame.load(seen[0]), number(0, "f32")))
