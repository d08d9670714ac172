"""A minimisation as one SVG file: contours and the path of the best point in two dimensions, else the value against evaluations.

Plain SVG with its own colours, light and dark; no script, nothing fetched. Contours are the edges between bands of the value's
rank on a grid, so that a deep valley and a high wall are both drawn.
"""

from __future__ import annotations

import html
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gradlearn.report import scale, words

if TYPE_CHECKING:
    from gradlearn.minimum.result import Result

SIDE, LEFT, TOP, RIGHT, BOTTOM = 480, 64, 52, 24, 78
GRID, BANDS, POINTS = 97, 12, 400  # grid points a side; levels; points of a curve at most
PATIENCE = 5.0  # seconds that the grid may take; a slow function gets a coarser one
STYLE = """
svg { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif }
.page { fill: #fbfbfa }
text { fill: #1c2024 } .soft { fill: #5d6670 } .title { font-size: 16px; font-weight: 650 }
.grid { stroke: #e3e5e8; fill: none } .base { stroke: #8b949e; fill: none }
.curve { stroke: #2a66b0; stroke-width: 2; fill: none; stroke-linejoin: round }
.halo { stroke: #fbfbfa; stroke-width: 4; fill: none }
.way { stroke: #c4560f; stroke-width: 1.6; fill: none; stroke-linejoin: round } .dot { fill: #c4560f }
.start { fill: #fbfbfa; stroke: #1c2024; stroke-width: 1.6 } .end { fill: #b3261e; stroke: #fbfbfa; stroke-width: 1.6 }
"""


def draw(result: Result, title: str, values: Callable[[Tensor], Tensor], low: Sequence[float], high: Sequence[float]) -> str:
    """The picture as SVG text.

    Args:
        result: of `minimize`.
        title: the first line.
        values: f of rows (k, n): (k,), for contours; used in two dimensions only.
        low: lower ends of the picture in two dimensions.
        high: upper ends.
    """
    if result.path is not None and result.path.shape[1] == 2:
        return _map(result, title, values, low, high)
    return _curve(result, title)


def _page(width: int, height: int, title: str, note: str, parts: Sequence[str]) -> str:
    label = html.escape(f"{title}: {note}", quote=True)
    head = f'<text class="title" x="{LEFT}" y="24">{html.escape(title)}</text>'
    head += f'<text class="soft" x="{LEFT}" y="42">{html.escape(note)}</text>'
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    body = "\n".join([f'<rect class="page" width="{width}" height="{height}"/>', head, *parts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}"><style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def _note(result: Result) -> str:
    return f"{words.number(result.fun, 4)} after {words.plural(result.nfev, 'evaluation')}, {result.seconds:.2g} s"


def _map(result: Result, title: str, values: Callable[[Tensor], Tensor], low: Sequence[float], high: Sequence[float]) -> str:
    assert result.path is not None
    across = scale.Scale(low[0], high[0], LEFT, LEFT + SIDE)
    up = scale.Scale(low[1], high[1], TOP + SIDE, TOP)
    path = _thinned([(across.place(float(a)), up.place(float(b))) for a, b in result.path])
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in path)
    dots = "".join(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in path)
    parts = [*_bands(values, low, high), *_axes(across, up, True)]
    parts += [f'<path class="halo" d="M{line}"/><path class="way" d="M{line}"/>{dots}']
    parts += [f'<circle class="start" cx="{path[0][0]:.1f}" cy="{path[0][1]:.1f}" r="5"><title>start</title></circle>']
    parts += [f'<circle class="end" cx="{path[-1][0]:.1f}" cy="{path[-1][1]:.1f}" r="5.5"><title>best</title></circle>']
    key = TOP + SIDE + 44
    parts += [
        f'<circle class="start" cx="{LEFT + 6}" cy="{key - 4}" r="5"/><text class="soft" x="{LEFT + 18}" y="{key}">start</text>'
    ]
    parts += [
        f'<circle class="end" cx="{LEFT + 76}" cy="{key - 4}" r="5"/><text class="soft" x="{LEFT + 88}" y="{key}">best</text>'
    ]
    text = "each improvement of the best point; darker is lower, by rank"
    parts += [f'<text class="soft" x="{LEFT}" y="{key + 22}">{text}</text>']
    return _page(LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM, title, _note(result), parts)


def _thinned(path: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """First and last, and those between that lie apart by more than half a pixel."""
    kept = path[:1]
    for x, y in path[1:]:
        if math.hypot(x - kept[-1][0], y - kept[-1][1]) > 0.5:
            kept.append((x, y))
    return [*kept[: POINTS - 1], path[-1]]


def _bands(values: Callable[[Tensor], Tensor], low: Sequence[float], high: Sequence[float]) -> list[str]:
    """Rows of cells of one band of rank each, as rectangles: lower values are darker."""
    k = _side(values, low)
    a = torch.linspace(low[0], high[0], k, dtype=torch.float64)
    b = torch.linspace(low[1], high[1], k, dtype=torch.float64)
    grid = torch.stack([a.repeat(k), b.repeat_interleave(k)], 1)
    z = values(grid).double().nan_to_num(math.inf).reshape(k, k)
    order = z.flatten().sort().values
    edges = order[[int((k * k - 1) * (i / BANDS)) for i in range(1, BANDS)]]
    band = torch.bucketize(z, edges)
    cell = SIDE / k
    parts = ['<g shape-rendering="crispEdges">']
    for row in range(k):
        y = TOP + SIDE - (row + 1) * cell
        start = 0
        for column in range(1, k + 1):
            if column == k or band[row, column] != band[row, start]:
                x, width = LEFT + start * cell, (column - start) * cell
                shade = _shade(int(band[row, start]) / (BANDS - 1))
                parts.append(
                    f'<rect x="{x:.2f}" y="{y:.2f}" width="{width + 0.05:.2f}" height="{cell + 0.05:.2f}" fill="{shade}"/>'
                )
                start = column
    return [*parts, "</g>"]


def _side(values: Callable[[Tensor], Tensor], low: Sequence[float]) -> int:
    """Grid points a side that a function of this speed allows."""
    corner = torch.tensor([list(low)], dtype=torch.float64)
    begun = time.perf_counter()
    values(corner)
    each = time.perf_counter() - begun
    return max(min(GRID, int(math.sqrt(PATIENCE / max(each, 1e-9)))), 9)


def _shade(share: float) -> str:
    """From deep blue (0) to near white (1)."""
    ends = ((34, 84, 140), (238, 242, 246))
    return "#" + "".join(f"{round(a + (b - a) * share**0.8):02x}" for a, b in zip(*ends, strict=True))


def _axes(across: scale.Scale, up: scale.Scale, frame: bool) -> list[str]:
    parts = []
    columns = scale.ticks(across.low, across.high, 6)
    for value, text in zip(columns, scale.labels(columns, False, False), strict=True):
        x = across.place(value)
        parts.append(f'<path class="base" d="M{x:.1f} {up.start:.1f}v4"/>')
        parts.append(f'<text class="soft" x="{x:.1f}" y="{up.start + 18:.1f}" text-anchor="middle">{text}</text>')
    rows = scale.log_ticks(up.low, up.high, 8) if up.log else scale.ticks(up.low, up.high, 6)
    for value, text in zip(rows, scale.labels(rows, up.log, False), strict=True):
        y = up.place(value)
        if not frame:
            parts.append(f'<path class="grid" d="M{across.start} {y:.1f}H{across.end}"/>')
        parts.append(f'<text class="soft" x="{across.start - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    if frame:
        parts.append(f'<rect class="base" x="{across.start}" y="{up.end}" width="{SIDE}" height="{SIDE}"/>')
    return [*parts, f'<path class="base" d="M{across.start} {up.start}H{across.end}"/>']


def _curve(result: Result, title: str) -> str:
    found = [f for f in result.found if math.isfinite(f.value)]
    least = min(f.value for f in found)
    log = least > 0.0 and found[0].value / least > 20.0
    lifted = not log and found[0].value > least  # a value below zero: what is still to go, so that a logarithm shows it
    x = [float(f.evaluations) for f in found] + [float(max(result.nfev, found[-1].evaluations))]
    y = [f.value for f in found] + [found[-1].value]
    word = "best value"
    if lifted:
        word = "best value less the lowest found"
        floor = max((found[0].value - least) * 1e-12, 1e-300)
        y, log = [max(v - least, floor) for v in y], True
    low, high = scale.room(y, log)
    across = scale.Scale(0.0, max(x[-1], 1.0), LEFT, LEFT + 1.5 * SIDE)
    up = scale.Scale(low, high, TOP + 300, TOP + 10, log)
    spots = [f"{across.place(x[0]):.1f} {up.place(y[0]):.1f}"]
    for i in range(1, len(x)):
        spots += [f"{across.place(x[i]):.1f} {up.place(y[i - 1]):.1f}", f"{across.place(x[i]):.1f} {up.place(y[i]):.1f}"]
    keep = spots if len(spots) <= 4 * POINTS else [*spots[:: len(spots) // (2 * POINTS)], spots[-1]]
    parts = [*_axes(across, up, False), f'<path class="curve" d="M{"L".join(keep)}"/>']
    parts += [f'<text class="soft" x="{across.end}" y="{up.start + 40}" text-anchor="end">evaluations</text>']
    parts += [f'<text class="soft" x="{LEFT}" y="{up.start + 40}">{word}</text>']
    return _page(int(across.end) + RIGHT, int(up.start) + BOTTOM, title, _note(result), parts)
