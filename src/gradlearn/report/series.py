"""A curve as numbers: the finite points of a column, fewer of them, smoother ones.

`thin` keeps the lowest and the highest point of each stretch of steps (not every k-th): a single spike in 100,000 steps
stays on the picture, and the file stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import median

LIMIT = 2000  # points a curve may have in the file
SAMPLE = 100  # values to each side that a running median looks at


@dataclass(frozen=True, slots=True)
class Series:
    """One curve of a chart. `x` strictly increases; `y` is finite; all of one length."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    look: str = "line"  # "line", "raw" (thin and light), "dots" (line with a dot at each point)
    colour: int = 0  # 0..4 of the palette in page.css
    low: tuple[float, ...] = ()  # a band around y, if given
    high: tuple[float, ...] = ()


def points(x: Sequence[float | None], y: Sequence[float | None]) -> tuple[list[float], list[float]]:
    """The pairs in which neither is missing (None) and x is larger than every x before. All else must be finite."""
    xs: list[float] = []
    ys: list[float] = []
    last = -inf
    for a, b in zip(x, y, strict=False):
        if a is not None and b is not None and a > last:
            xs.append(a)
            ys.append(b)
            last = a
    return xs, ys


def thin(x: Sequence[float], y: Sequence[float], limit: int = LIMIT) -> tuple[list[float], list[float]]:
    """At most `limit` >= 4 of the points: first, last, and the lowest and highest of each of equally many stretches."""
    n = len(x)
    if n <= limit:
        return list(x), list(y)
    stretches = (limit - 2) // 2
    keep = {0, n - 1}
    for k in range(stretches):
        part = range(k * n // stretches, (k + 1) * n // stretches)
        keep.add(min(part, key=y.__getitem__))
        keep.add(max(part, key=y.__getitem__))
    order = sorted(keep)
    return [x[i] for i in order], [y[i] for i in order]


def smooth(x: Sequence[float], y: Sequence[float], share: float = 0.03, most: int = 800) -> tuple[list[float], list[float]]:
    """The running median over windows of `share` of the points, at up to `most` of them.

    A median, so that one spike does not become a plateau as wide as the window. Near the start the window shrinks and
    stays centred, because losses fall fastest there; near the end it keeps its left half: the last value is a calm one.
    """
    n = len(x)
    half = max(int(n * share) // 2, 1)
    centres = range(n) if n <= most else sorted({round(k * (n - 1) / (most - 1)) for k in range(most)})
    stride = max(half // SAMPLE, 1)  # of a wide window every k-th value will do
    return [x[i] for i in centres], [median(y[i - min(half, i) : i + min(half, i) + 1 : stride]) for i in centres]


def curve(name: str, x: Sequence[float | None], y: Sequence[float | None], look: str = "line", colour: int = 0) -> Series:
    """A thinned curve of two columns as they come from a log."""
    xs, ys = thin(*points(x, y))
    return Series(name, tuple(xs), tuple(ys), look, colour)


def smoothed(name: str, x: Sequence[float | None], y: Sequence[float | None], colour: int = 0) -> Series:
    """The running median of two columns."""
    xs, ys = smooth(*points(x, y))
    return Series(name, tuple(xs), tuple(ys), "line", colour)
