"""An axis: from numbers to pixels, and the round numbers to mark on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gradlearn.report import words


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps [low, high] to pixels [start, end]; logarithmic where `log` (then low > 0)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """The pixel of a value; values outside the axis land on its ends."""
        if self.log:
            share = (math.log(max(value, self.low)) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def stride(width: float, most: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that cuts `width` > 0 into at most `most` pieces."""
    rough = width / most
    size = 10.0 ** math.floor(math.log10(rough))
    for lead in (1.0, 2.0, 5.0, 10.0):
        if lead * size >= rough * (1.0 - 1e-9):
            return lead * size
    return 10.0 * size


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers inside [low, high], evenly spaced."""
    step = stride(high - low, most)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [k * step for k in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers inside [low, high], 0 < low < high: 1-2-5 over few decades, powers of ten over many."""
    first, last = math.floor(math.log10(low) - 1e-9), math.ceil(math.log10(high) + 1e-9)
    inside = []
    for leads in ((1, 2, 5), (1, 3), (1,)):
        inside = [m * 10.0**k for k in range(first, last + 1) for m in leads]
        inside = [v for v in inside if low * (1 - 1e-6) <= v <= high * (1 + 1e-6)]
        if len(inside) <= most:
            return inside
    return inside[:: math.ceil(len(inside) / most)]


def room(values: Sequence[float], log: bool, zero: bool = False, most: int = 5) -> tuple[float, float]:
    """Round limits (low < high) that hold all values; from 0 on where `zero`."""
    low, high = min(values), max(values)
    if log:
        return _round_log(low / 1.05, down=True), _round_log(high * 1.05, down=False)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-30):
        pad = abs(high) * 0.1 or 1.0
        low, high = low - pad, high + pad
    step = stride(high - low, most)
    return math.floor(low / step + 1e-6) * step, math.ceil(high / step - 1e-6) * step


def _round_log(value: float, down: bool) -> float:
    size = 10.0 ** math.floor(math.log10(value))
    leads = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0)
    fits = [m * size for m in leads if (m * size <= value if down else m * size >= value)]
    return (max(fits) if down else min(fits)) if fits else value


def wants_log(values: Sequence[float], ratio: float = 20.0) -> bool:
    """Whether a logarithmic axis shows more: all values above zero and spread over a factor of more than `ratio`."""
    return bool(values) and min(values) > 0.0 and max(values) / min(values) > ratio


def labels(marks: Sequence[float], log: bool, share: bool) -> list[str]:
    """Texts of tick marks, all with as many decimals as the narrowest gap needs."""
    if log and not share:
        return [words.power(v) for v in marks]
    gap = min((b - a for a, b in pairwise(marks)), default=1.0) * (100.0 if share else 1.0)
    decimals = max(-math.floor(math.log10(gap) + 1e-6), 0)
    if decimals > 4:
        return [words.number(v, 2) for v in marks]
    show: Callable[[float], str] = (lambda v: f"{100 * v:.{decimals}f}%") if share else (lambda v: f"{v:,.{decimals}f}")
    return [show(v) if abs(v) > 1e-15 else "0%" if share else "0" for v in marks]
