"""A diagram of two shares: both axes from 0 to 100 %, as wide as a telephone; what is drawn into it brings its own marks.

    place of (across, up) = (x(across), y(up)),     shares in [0, 1], pixels of the drawing

For reliability (how sure, how often right) and for detectors (recall, precision).
"""

from __future__ import annotations

WIDTH, LEFT, TOP, SIDE = 400, 46, 26, 300


def x(share: float) -> float:
    """Pixels from the left."""
    return LEFT + share * (WIDTH - LEFT - 20)


def y(share: float) -> float:
    """Pixels from above."""
    return TOP + SIDE * (1.0 - share)


def height(under: int = 0) -> int:
    """Of the whole drawing, with so many pixels between the square and the numbers below it."""
    return TOP + SIDE + under + 40


def axes(up: str, across: str, under: int = 0) -> list[str]:
    """SVG of the grid, its numbers, and what the axes are."""
    found, foot = [], TOP + SIDE + under
    for k in range(0, 11, 2):
        text = f"{10 * k}%" if k else "0"
        found.append(f'<path class="grid" d="M{x(0):.1f} {y(k / 10):.1f}H{x(1):.1f}"/>')
        found.append(f'<text class="tick" x="{LEFT - 7}" y="{y(k / 10) + 4:.1f}" text-anchor="end">{text}</text>')
        found.append(f'<text class="tick" x="{x(k / 10):.1f}" y="{foot + 17}" text-anchor="middle">{text}</text>')
    second = f"M{x(0):.1f} {foot}H{x(1):.1f}" if under else ""
    found.append(f'<path class="base" d="M{x(0):.1f} {y(0):.1f}H{x(1):.1f}{second}"/>')
    found.append(f'<text class="word" x="0" y="{TOP - 14}">{up}</text>')
    found.append(f'<text class="word" x="{x(1):.1f}" y="{foot + 34}" text-anchor="end">{across}</text>')
    return found
