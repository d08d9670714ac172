"""May one believe the probabilities? How sure the model was of its answers, against how often it was right: drawn, and in words.

A dot below the line is an answer given too surely, one above it too modestly. Its whiskers are the 95 % interval that so many
examples allow (Wilson). Whether over- or under-confidence is more than chance is asked of all answers at once: |z| > 2, z the
excess of right answers over what the probabilities promise, in its standard errors (see `insight/calibration.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradlearn.report import facts as measured
from gradlearn.report import noise, shares, words
from gradlearn.report.folder import Run

SPLITS = {"test": "test", "valid": "validation"}
UNDER = 66  # pixels for the counts below the diagram
BEYOND = 2.0  # standard errors
NEARLY = 0.8  # of the confidence that smoothing allows
SMALL = 0.01  # a mean gap that is nothing to speak of, however sure


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about the same confidence."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Part:
    """Calibration on one part of the data."""

    n: int
    confidence: float
    accuracy: float
    ece: float
    brier: float
    z: float
    bins: tuple[Bin, ...]

    @property
    def verdict(self) -> str:
        """'over', 'under', or 'fair' where the gap is within the noise or too small to matter."""
        if abs(self.z) <= BEYOND or abs(self.accuracy - self.confidence) < SMALL:
            return "fair"
        return "under" if self.z > 0 else "over"


def parts(value: Mapping[str, Any]) -> dict[str, Part]:
    """The content of calibration.json by split, test first; what is not as it should be is left out."""
    found = {split: _part(value.get(split)) for split in SPLITS}
    return {split: part for split, part in found.items() if part is not None}


def _part(value: object) -> Part | None:
    if not isinstance(value, Mapping):
        return None
    numbers = {k: words.finite(value.get(k)) for k in ("n", "confidence", "accuracy", "ece", "brier", "z")}
    given = {k: v for k, v in numbers.items() if v is not None}
    shares = [given.get(k, -1.0) for k in ("confidence", "accuracy", "ece")]
    if len(given) < len(numbers) or given["n"] < 1 or not all(0.0 <= v <= 1.0 for v in shares):
        return None
    rows = value.get("bins")
    bins = [_bin(row) for row in rows] if isinstance(rows, list) else []
    rest = (given[k] for k in ("confidence", "accuracy", "ece", "brier", "z"))
    return Part(int(given["n"]), *rest, bins=tuple(b for b in bins if b is not None))


def _bin(row: object) -> Bin | None:
    if not isinstance(row, Mapping):
        return None
    values = [words.finite(row.get(k)) for k in ("low", "high", "count", "confidence", "accuracy")]
    if any(v is None or v < 0.0 for v in values):
        return None
    low, high, count, confidence, accuracy = (v for v in values if v is not None)
    good = count >= 1 and low < high <= 1.0 and confidence <= 1.0 and accuracy <= 1.0
    return Bin(low, high, int(count), confidence, accuracy) if good else None


def told(run: Run) -> str:
    """Over- or under-confident, why, and what would mend it; empty where nothing is on record."""
    found = parts(run.calibration)
    if not found:
        return ""
    split, part = next(iter(found.items()))
    sure, right = words.percent(part.confidence), words.percent(part.accuracy)
    lead = f"On the {words.plural(part.n, SPLITS[split] + ' picture')} it is {sure} sure on average and right {right} of the time"
    sentences = [f"{lead}: {_judged(part)}."]
    if part.verdict == "under" and (why := _smoothed(run, part.confidence)):
        sentences.append(why)
    error = f"Its expected calibration error is {words.points(part.ece)}"
    mended = _mended(run, split, part.ece)
    return " ".join([*sentences, f"{error}{mended}."])


def _judged(part: Part) -> str:
    if part.verdict == "fair":
        return f"the gap is within the noise of {words.count(part.n)}" if abs(part.z) <= BEYOND else "its probabilities are honest"
    return (
        "it is over-confident, surer than it should be" if part.verdict == "over" else "it is under-confident, better than it says"
    )


def _smoothed(run: Run, confidence: float) -> str:
    """Whether smoothing of the labels explains that it never dares to be sure: it is about as sure as that allows."""
    smoothing = words.finite(measured.choice(run.settings, "cross_entropy.label_smoothing"))
    classes = measured.data(run.settings).get("classes")
    if not smoothing or smoothing <= 0.0 or not isinstance(classes, list) or len(classes) < 2:
        return ""
    most = 1.0 - smoothing + smoothing / len(classes)
    if confidence < NEARLY * most:
        return ""
    mixed = any(row["name"] == "turn" and row["dial"] in ("mix", "smooth") and row["after"] for row in run.actions)
    more = ", and the mixing or smoothing that was turned up on the way even less," if mixed else ","
    return (
        f"Label smoothing of {words.number(smoothing)} asks it never to be more than {words.percent(most)} sure{more} "
        "which is the likely cause: the order of its answers does not suffer, the probabilities do."
    )


def _mended(run: Run, split: str, error: float) -> str:
    """'; at a temperature of 0.62, fitted on validation, it would be 1.2 points', if that is less."""
    t, value = words.finite(run.calibration.get("temperature")), run.calibration.get("tempered")
    after = words.finite(value.get("ece")) if isinstance(value, Mapping) and value.get("split") == split else None
    if t is None or t <= 0.0 or after is None or after >= error:
        return ""
    own = " (on the very pictures that it was fitted on)" if split == "valid" else ""
    return f"; at a temperature of {words.number(t)}, fitted on the validation pictures, it would be {words.points(after)}{own}"


def draw(run: Run) -> str:
    """A diagram for each part of the data, side by side, and their numbers; empty where nothing is on record."""
    found = parts(run.calibration)
    if not found:
        return ""
    figures = "".join(_diagram(split, part) for split, part in found.items())
    rows = "".join(
        f'<tr><td class="name">{SPLITS[split]}</td><td class="n">{words.count(p.n)}</td>'
        f'<td class="n">{words.percent(p.confidence)}</td><td class="n">{words.percent(p.accuracy)}</td>'
        f'<td class="n">{words.percent(p.ece)}</td><td class="n">{words.number(p.brier)}</td></tr>'
        for split, p in found.items()
    )
    head = "".join(
        f'<th class="n">{h}</th>' for h in ("Pictures", "Sure on average", "Right", "Expected calibration error", "Brier score")
    )
    table = f'<div class="scroll"><table><thead><tr><th>Part</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f'<div class="couple">{figures}</div>{table}'


def _diagram(split: str, part: Part) -> str:
    """Share of right answers by confidence, with the line of honesty, and how many answers each dot is."""
    body = [
        *shares.axes("share that was right", "how sure it was", UNDER),
        f'<path class="honest" d="M{shares.x(0):.1f} {shares.y(0):.1f}L{shares.x(1):.1f} {shares.y(1):.1f}"/>',
    ]
    most = max((b.count for b in part.bins), default=1)
    for b in part.bins:
        low, high = noise.wilson(b.accuracy, b.count)
        said = f"{words.percent(b.low, 0)} to {words.percent(b.high, 0)} sure: {words.plural(b.count, 'picture')}, "
        said += f"{words.percent(b.confidence)} sure on average, {words.percent(b.accuracy)} right"
        x, tall = shares.x(b.confidence), max((UNDER - 20) * b.count / most, 1.0)
        left, wide, top = shares.x(b.low) + 1.5, shares.x(b.high) - shares.x(b.low) - 3.0, shares.TOP + shares.SIDE + UNDER - tall
        body.append(
            f'<g><title>{said}</title><path class="whisker" d="M{x:.1f} {shares.y(low):.1f}V{shares.y(high):.1f}"/>'
            f'<path class="miss" d="M{x:.1f} {shares.y(b.confidence):.1f}V{shares.y(b.accuracy):.1f}"/>'
            f'<circle class="fill0" cx="{x:.1f}" cy="{shares.y(b.accuracy):.1f}" r="4.5"/>'
            f'<rect class="amount" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{tall:.1f}"/>'
            f'<text class="word" x="{left + wide / 2:.1f}" y="{top - 4:.1f}" text-anchor="middle">{words.count(b.count)}</text>'
            "</g>"
        )
    name = SPLITS[split]
    label = (
        f"Reliability diagram of the {name} pictures: {words.percent(part.confidence)} sure on average, "
        f"{words.percent(part.accuracy)} right"
    )
    return (
        f'<figure class="reliability"><figcaption><h3>{words.title(name)}</h3></figcaption>'
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {shares.WIDTH} {shares.height(UNDER)}">{"".join(body)}</svg></figure>'
    )
