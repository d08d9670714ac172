"""Numbers as a person writes them: counts, shares, durations, scores; and text made safe for HTML.

Every number in a sentence, a card, an axis or a table goes through here, so that one number looks the same everywhere.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable

from gradlearn.errors import printable

MISSING = "–"
LARGEST = 1e150  # larger values are drawn and told as this one, so that squares and sums of them are numbers
# scores that are shares of 1 and read best as per cent
SHARES = frozenset(
    {"accuracy", "error", "top5", "top-5", "balanced_accuracy", "f1", "macro_f1", "precision", "recall", "iou", "dice", "ap", "map"}
    | {"auc", "exact_match", "agreement"}
)
ACRONYMS = frozenset({"mse", "mae", "rmse", "auc", "map", "ap", "iou", "r2", "bleu"})
# scores that count examples, right or wrong, one by one: only these are binomial
PROPORTIONS = frozenset({"accuracy", "error", "exact_match", "top5", "top-5"})
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def finite(value: object) -> float | None:
    """The value as a finite float within +-LARGEST, or None for anything else (missing, text, bool, nan, inf)."""
    if type(value) is float and -LARGEST < value < LARGEST:
        return value  # nearly always: columns of 100,000 steps come through here
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return float(max(min(value, LARGEST), -LARGEST))


def safe(value: object, limit: int = 200) -> str:
    """Text from outside as HTML text or attribute: control characters escaped, cut at `limit`, then HTML-escaped."""
    return html.escape(printable(value, limit), quote=True)


def count(value: float) -> str:
    """1234 -> '1,234'."""
    return f"{round(value):,}"


def plural(n: float, one: str, many: str = "") -> str:
    """(1, 'step') -> '1 step'; (1234, 'step') -> '1,234 steps'; (2, 'class', 'classes') -> '2 classes'."""
    return f"{count(n)} {one if round(n) == 1 else many or one + 's'}"


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits, never more: 2.31, 0.0213, 1,230, 1.2e-5."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if size < -4 or size >= 9:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{_short(mantissa)}e{int(exponent)}"
    return _short(f"{value:,.{max(digits - 1 - size, 0)}f}")


def _short(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def power(value: float) -> str:
    """A tick of a logarithmic axis: 0.01, 20, 5×10⁻⁵."""
    size = math.floor(math.log10(value) + 1e-9)
    if -3 <= size < 6:
        return f"{value:,.{max(-size, 0)}f}"
    lead = round(value / 10.0**size)
    return ("" if lead == 1 else f"{lead}×") + "10" + str(size).translate(_SUPERSCRIPT)


def percent(share: float | None, digits: int = 1) -> str:
    """0.986 -> '98.6%'. Never rounds up to 100% nor down to 0% what is not exactly that."""
    if share is None or not math.isfinite(share):
        return MISSING
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    text = f"{share:.{digits}%}"
    edge = float(text[:-1]) in (0.0, 100.0)
    return percent(share, digits + 1) if edge and digits < 4 else text


def points(gap: float) -> str:
    """A difference of two shares, in percentage points: 0.0121 -> '1.2 points'."""
    size = f"{abs(100 * gap):.1f}"
    if size == "0.0" and gap:
        size = number(abs(100 * gap), 1)
    return f"{size} {'point' if size == '1.0' else 'points'}"


def duration(seconds: float | None) -> str:
    """0.0123 -> '12.3 ms'; 38.2 -> '38 s'; 250 -> '4 min 10 s'; 7500 -> '2 h 5 min'."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 1:
        return f"{number(1000 * seconds)} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60:,} h"


def size(many: float) -> str:
    """Bytes: 512 bytes, 3.4 MB, 12 GB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if many >= unit:
            return f"{number(many / unit, 2)} {name}"
    return plural(many, "byte")


def is_share(name: str) -> bool:
    """Whether a score of this name is shown in per cent."""
    return name.lower().replace(" ", "_") in SHARES


def is_proportion(name: str) -> bool:
    """Whether a score of this name is a number of examples over all examples, so that binomial noise applies."""
    return name.lower().replace(" ", "_") in PROPORTIONS


def score(name: str, value: float | None) -> str:
    """A score the way its name wants it: accuracy in per cent, all else in four digits."""
    if value is None:
        return MISSING
    return percent(value) if is_share(name) and 0.0 <= value <= 1.0 else number(value, 4)


def listing(items: Iterable[str], most: int = 6) -> str:
    """'a', 'a and b', 'a, b and c'; past `most`: 'a, b, c and 9 more'."""
    names = list(items)
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]


def title(name: str) -> str:
    """The name of a score as a heading: 'Accuracy', 'MSE'."""
    return name.upper() if name in ACRONYMS else name[:1].upper() + name[1:]


def sentence(text: str) -> str:
    """First letter upper case, a full stop at the end."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
