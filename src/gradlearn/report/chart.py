"""Curves -> one HTML figure with inline SVG: axes, series, event flags, bands, and a readout that follows the pointer.

All charts of a page share the x axis (steps), so the cursor of one is the cursor of all. Colours are classes of
page.css, never style attributes: the page's content policy forbids those.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass

from gradlearn.report import scale, words
from gradlearn.report.series import Series

WIDTH, LEFT, RIGHT, BOTTOM = 860, 60, 16, 24
CROWD = 60  # event lines that one chart can bear
LEVELS = {"info": 0, "warn": 1, "alarm": 2, "error": 2}


@dataclass(frozen=True, slots=True)
class Mark:
    """An event: a vertical line at step `t`, with a numbered flag."""

    t: float
    number: int
    level: str  # "info", "warn" or "alarm"
    title: str


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of steps [start, end] shaded behind the curves, with a word on it."""

    start: float
    end: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What to draw. `log` None: decided from the values; `share`: y in per cent; `zero`: the y axis starts at 0."""

    title: str
    series: tuple[Series, ...]
    x: tuple[float, float]
    note: str = ""
    height: int = 220
    log: bool | None = None
    zero: bool = False
    clip: bool = False  # let the top be set by 99 % of the values; what lies higher is drawn at the edge, and said
    share: bool = False
    unit: str = ""
    marks: tuple[Mark, ...] = ()
    flags: bool = True
    bands: tuple[Band, ...] = ()
    lost: tuple[float, ...] = ()  # steps whose value was not a finite number
    best: tuple[float, float] | None = None  # a point to ring


def draw(chart: Chart) -> str:
    """The figure as HTML; a line of text where there is nothing to draw."""
    drawn = [s for s in chart.series if s.x]
    if not drawn:
        return f'<figure class="chart">{_caption(chart.title, chart.note)}<p class="none">Nothing on record.</p></figure>'
    across, up = _scales(chart, drawn)
    height = int(up.start) + BOTTOM
    parts = [
        *_bands(chart.bands, across, up),
        *_grid(across, up, chart),
        *(_ribbon(s, across, up) for s in drawn if s.low),
        *_lines(chart, across, up),
        *(_path(s, across, up) for s in drawn),
        *_lost(chart.lost, across, up),
        *_ring(chart.best, across, up),
        *(_flags(chart.marks, across) if chart.flags else ()),
    ]
    label = html.escape(f"{chart.title}: {words.listing(s.name for s in drawn)} by step", quote=True)
    picture = (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}" tabindex="0">{"".join(parts)}'
        f'<g class="cursor"></g></svg>'
    )
    data = f'<script type="application/json">{_data(chart, drawn, across, up)}</script>'
    head = _caption(chart.title, chart.note or _above(drawn, up, chart.unit)) + _readout(chart, drawn)
    return f'<figure class="chart">{head}<div class="wide">{picture}</div>{data}</figure>'


def _caption(title: str, note: str) -> str:
    return f"<figcaption><h3>{html.escape(title)}</h3> <span>{html.escape(note)}</span></figcaption>"


def _above(drawn: Sequence[Series], up: scale.Scale, unit: str) -> str:
    """Says so where the highest value lies beyond the axis, which only `clip` lets happen."""
    most = max(v for s in drawn for v in s.y)
    return f"the highest, {words.number(most)}{unit}, is above the axis" if most > up.high * (1.0 + 1e-9) else ""


def _scales(chart: Chart, drawn: Sequence[Series]) -> tuple[scale.Scale, scale.Scale]:
    values = [v for s in drawn for part in (s.y, s.low, s.high) for v in part]
    log = scale.wants_log(values) if chart.log is None else chart.log and min(values) > 0.0
    most = max(min(chart.height // 30, 6), 3)
    low, high = scale.room(values, log, chart.zero, most)
    if chart.clip and not log:
        top = ceiling(values)
        low, high = scale.room([v for v in values if v <= top], log, chart.zero, most)
    if chart.share:
        low, high = max(low, 0.0), min(high, 1.0)
    x0, x1 = chart.x if chart.x[1] > chart.x[0] else (chart.x[0], chart.x[0] + 1.0)
    top = 24 if chart.marks and chart.flags else 8
    return (
        scale.Scale(x0, x1, LEFT, WIDTH - RIGHT),
        scale.Scale(low, high, top + chart.height, top, log),
    )


def ceiling(values: Sequence[float]) -> float:
    """The highest value that sets an axis with `clip`: twice the 99th percentile, or the maximum if that is lower."""
    order = sorted(values)
    usual = order[int(0.99 * (len(order) - 1))]
    return min(max(2.0 * usual, usual), order[-1])


def _grid(across: scale.Scale, up: scale.Scale, chart: Chart) -> list[str]:
    most = max(min(chart.height // 30, 6), 3)
    rows = scale.log_ticks(up.low, up.high, most) if up.log else scale.ticks(up.low, up.high, most)
    parts = []
    for value, text in zip(rows, scale.labels(rows, up.log, chart.share), strict=True):
        y = up.place(value)
        unit = chart.unit if text and not chart.share else ""
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}{unit}</text>')
    columns = [v for v in scale.ticks(across.low, across.high, 8) if float(v).is_integer()]
    for value in columns:
        x = across.place(value)
        anchor = "end" if x > WIDTH - RIGHT - 14 else "middle"
        parts.append(f'<path class="grid foot" d="M{x:.1f} {up.start:.1f}v4"/>')
        parts.append(
            f'<text class="tick" x="{min(x, WIDTH - RIGHT):.1f}" y="{up.start + 17:.1f}" text-anchor="{anchor}">'
            f"{words.count(value)}</text>"
        )
    parts.append(f'<path class="base" d="M{LEFT} {up.start:.1f}H{WIDTH - RIGHT}"/>')
    return parts


def _path(series: Series, across: scale.Scale, up: scale.Scale) -> str:
    spots = [(across.place(a), up.place(b)) for a, b in zip(series.x, series.y, strict=True)]
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
    dots = ""
    if (series.look == "dots" and len(spots) <= 60) or len(spots) == 1:
        dots = "".join(f'<circle class="fill{series.colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in spots)
    look = "raw" if series.look == "raw" else "line"
    return f'<path class="{look} ink{series.colour}" d="M{steps}"/>{dots}'


def _ribbon(series: Series, across: scale.Scale, up: scale.Scale) -> str:
    over = [f"{across.place(a):.1f} {up.place(b):.1f}" for a, b in zip(series.x, series.high, strict=True)]
    under = [f"{across.place(a):.1f} {up.place(b):.1f}" for a, b in zip(series.x, series.low, strict=True)]
    return f'<path class="ribbon fill{series.colour}" d="M{"L".join(over + under[::-1])}Z"/>'


def _bands(bands: Sequence[Band], across: scale.Scale, up: scale.Scale) -> list[str]:
    parts = []
    for band in bands:
        left, right = across.place(band.start), across.place(band.end)
        width = max(right - left, 2.0)
        title = html.escape(band.label)
        tall = up.start - up.end
        parts.append(f'<rect class="band" x="{left:.1f}" y="{up.end:.1f}" width="{width:.1f}" height="{tall:.1f}">')
        parts.append(f"<title>{title}</title></rect>")
        if width > 7 * len(band.label) + 12:
            parts.append(f'<text class="word" x="{left + 6:.1f}" y="{up.start - 7:.1f}">{title}</text>')
    return parts


def _lines(chart: Chart, across: scale.Scale, up: scale.Scale) -> list[str]:
    """Event lines, the gravest of those at one place; where there are too many to be told apart, short marks on top."""
    worst: dict[int, str] = {}
    for mark in chart.marks:
        x = round(across.place(mark.t))
        if LEVELS.get(mark.level, 0) >= LEVELS.get(worst.get(x, ""), -1):
            worst[x] = mark.level
    top = 18 if chart.flags else up.end
    end = up.start if len(worst) <= CROWD else top + 8
    return [f'<path class="event {_level(v)}" d="M{x} {top:.1f}V{end:.1f}"/>' for x, v in sorted(worst.items())]


def _flags(marks: Sequence[Mark], across: scale.Scale) -> list[str]:
    """Flags that would touch become one: '3' and '4' -> '3–4'."""
    groups: list[list[Mark]] = []
    for mark in sorted(marks, key=lambda m: (m.t, m.number)):
        groups.append([mark])
        while len(groups) > 1 and _side(groups[-2], across, 1) + 3 > _side(groups[-1], across, -1):
            last = groups.pop()
            groups[-1] += last
    parts = []
    for group in groups:
        left, right = _side(group, across, -1), _side(group, across, 1)
        level = max(group, key=lambda m: LEVELS.get(m.level, 0)).level
        title = html.escape("\n".join(f"{m.number}. {m.title}" for m in group[:12]))
        parts.append(
            f'<g class="flag {_level(level)}"><title>{title}</title>'
            f'<rect x="{left:.1f}" y="2" width="{right - left:.1f}" height="16" rx="4"/>'
            f'<text x="{(left + right) / 2:.1f}" y="14" text-anchor="middle">{_span(group)}</text></g>'
        )
    return parts


def _span(group: Sequence[Mark]) -> str:
    numbers = [m.number for m in group]
    return str(numbers[0]) if len(numbers) == 1 else f"{min(numbers)}–{max(numbers)}"


def _side(group: Sequence[Mark], across: scale.Scale, side: int) -> float:
    half = (10 + 7 * len(_span(group))) / 2
    middle = (across.place(group[0].t) + across.place(group[-1].t)) / 2
    return min(max(middle, LEFT + half), WIDTH - half - 1) + side * half


def _lost(lost: Sequence[float], across: scale.Scale, up: scale.Scale) -> list[str]:
    spots = sorted({round(across.place(t)) for t in lost})
    return [f'<path class="lost" d="M{x - 3} {up.end + 2:.1f}l6 6m0 -6l-6 6"/>' for x in spots]


def _ring(best: tuple[float, float] | None, across: scale.Scale, up: scale.Scale) -> list[str]:
    if best is None:
        return []
    return [f'<circle class="ring" cx="{across.place(best[0]):.1f}" cy="{up.place(best[1]):.1f}" r="5"/>']


def _level(level: str) -> str:
    return ("info", "warn", "alarm")[LEVELS.get(level, 0)]


def _readout(chart: Chart, drawn: Sequence[Series]) -> str:
    keys = []
    for s in drawn:
        value = words.percent(s.y[-1]) if chart.share else words.number(s.y[-1], 4) + chart.unit
        look = "raw" if s.look == "raw" else "line"
        swatch = f'<i class="{look} bar{s.colour}"></i>'
        keys.append(f'<span class="key">{swatch}{html.escape(s.name)} <b>{html.escape(value)}</b></span>')
    if chart.lost:
        keys.append(f'<span class="key"><i class="cross">×</i>not a finite number: {words.count(len(chart.lost))}</span>')
    if chart.best is not None:
        keys.append('<span class="key"><i class="circle"></i>best</span>')
    return f'<div class="readout">{"".join(keys)}<span class="at">last value</span></div>'


def _data(chart: Chart, drawn: Sequence[Series], across: scale.Scale, up: scale.Scale) -> str:
    """What page.js needs to find the nearest point and say its value."""
    value = {
        "x": [across.low, across.high, across.start, across.end],
        "y": [up.low, up.high, up.start, up.end, int(up.log)],
        "share": int(chart.share),
        "unit": chart.unit,
        "series": [{"c": s.colour, "x": [int(v) for v in s.x], "y": [float(f"{v:.4g}") for v in s.y]} for s in drawn],
    }
    return embedded(value)


def embedded(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
