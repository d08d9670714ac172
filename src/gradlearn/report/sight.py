"""What the model looks at: pictures with the pixels that an answer rests on, and the filters of the first layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradlearn.errors import printable
from gradlearn.report import mistakes, words
from gradlearn.report.folder import Run


def looks(run: Run) -> str:
    """Each picture beside its map, right answers first; empty where nothing is on record."""
    folder = run.folder / "pictures"
    parts = []
    for title, right in (("Right answers, the surest of each class", True), ("Wrong answers", False)):
        rows = [row for row in run.looks if (row.get("truth") == row.get("guess")) is right][: mistakes.MOST]
        if rows:
            figures = "".join(mistakes.figure(folder, _pair(row), _caption(row)) for row in rows)
            parts.append(f'<h3 class="gap">{title}</h3><div class="gallery looks">{figures}</div>')
    return "".join(parts)


def _pair(row: Mapping[str, Any]) -> list[tuple[object, str]]:
    truth, guess = (printable(row.get(k, "?"), 60) for k in ("truth", "guess"))
    return [
        (row.get("file"), f"a picture of the class {truth}"),
        (row.get("map"), f"the same in grey; what glows are the pixels that the answer {guess} rests on"),
    ]


def _caption(row: Mapping[str, Any]) -> str:
    if row.get("truth") != row.get("guess"):
        return mistakes.mistake(row)
    truth, p = mistakes.name(row, "truth"), mistakes.share(row.get("p"))
    return f'<div>is <span class="truth">{truth}</span>{p}</div>{mistakes.source(row)}'


def filters(run: Run) -> str:
    """The sheets before and after training, with a line on them; the reason where there are none; empty where nothing is known."""
    found = run.filters
    if not found:
        return ""
    if "after" not in found:
        reason = words.safe(words.sentence(str(found.get("reason") or "none are on record")), 200)
        return f'<p class="none">There is nothing to show: {reason[:1].lower() + reason[1:]}</p>'
    folder, figures = run.folder / "pictures", []
    frozen = found.get("frozen") is True
    for key, title in (("before", "Before the first step"), ("after", "After the last")):
        if key in found and not (key == "before" and frozen):
            title = "As they are; they are not trained" if frozen else title
            alt = f"the filters of the first layer: {title.lower()}"
            figures.append(
                f"<figure>{mistakes.image(folder, found[key], alt, crisp=1000)}<figcaption>{title}</figcaption></figure>"
            )
    return f'<div class="sheets">{"".join(figures)}</div>'


def told(run: Run) -> str:
    """How many filters of what size there are, and how far they moved."""
    shape = run.filters.get("shape")
    if "after" not in run.filters or not isinstance(shape, list) or len(shape) != 4 or not all(words.finite(v) for v in shape):
        return ""
    k, c, h, w = (int(v) for v in shape)
    shown = int(words.finite(run.filters.get("shown")) or k)
    some = f"the strongest {shown} of {k}" if shown < k else f"all {k}"
    colour = "in colour, grey where it does nothing" if c == 3 else "dark where it is negative, bright where it is positive"
    layer = words.safe(run.filters.get("layer", ""), 60)
    what = f"What each unit of the first layer (<code>{layer}</code>) multiplies {w}×{h} pixels with"
    text = f"{what}: {some}, strongest first; {colour}."
    moved = words.finite(run.filters.get("changed"))
    if moved is None or run.filters.get("frozen") is True:
        return text
    return f"{text} Training moved them by {words.percent(moved, 0)} of their length."
