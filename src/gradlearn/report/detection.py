"""What a detector finds, misses and makes up: a table and precision-recall curves by class, errors by kind, pictures with boxes.

Everything comes from detection.json and drawn.json (`seen_boxes.py`); what is not as it should be is left out. A curve says which
precision there is at each recall, for boxes that overlap the true one by half at least (IoU .5); AP50 is the area under it.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradlearn.errors import printable
from gradlearn.report import confusion, mistakes, shares, words
from gradlearn.report.folder import Run

CURVES = 5  # colours there are
ROWS = 60  # classes in the table at once
KINDS = {
    "missed": "a thing that nothing found, not even badly",
    "wrong class": "in the right place, taken for another class",
    "badly placed": "the right class, but it overlaps the true box by less than half",
    "both": "badly placed, and of another class",
    "duplicate": "found once more, though a better box has it already",
    "background": "there is nothing",
}
LEGEND = {"right": "found", "missed": "missed", "extra": "too many, or badly placed", "hard": "in a box that does not count"}


@dataclass(frozen=True, slots=True)
class Row:
    """One class."""

    name: str
    train: int  # boxes trained on
    boxes: int  # boxes scored
    ap: float | None
    ap50: float | None
    precision: tuple[float, ...]  # at recalls 0, .01, ..., 1; empty without boxes


@dataclass(frozen=True, slots=True)
class Detection:
    """The content of detection.json."""

    split: str
    pictures: int
    threshold: float
    errors: Mapping[str, int]
    rows: tuple[Row, ...]


def read(value: Mapping[str, Any]) -> Detection | None:
    """None where it is not what it should be."""
    errors, rows = value.get("errors"), value.get("classes")
    n, threshold = words.finite(value.get("pictures")), words.finite(value.get("threshold"))
    if not isinstance(errors, Mapping) or not isinstance(rows, list) or n is None or threshold is None:
        return None
    counts = {kind: int(words.finite(errors.get(kind)) or 0) for kind in KINDS}
    split = str(value.get("split"))
    found = tuple(_row(row) for row in rows if isinstance(row, Mapping))
    return Detection(split if split in confusion.PARTS else "", int(n), threshold, counts, found)


def _row(row: Mapping[str, Any]) -> Row:
    train, boxes = (int(words.finite(row.get(k)) or 0) for k in ("train", "boxes"))
    given = row.get("precision")
    curve = [words.finite(p) for p in given] if isinstance(given, list) and len(given) == 101 else []
    known = tuple(min(max(p, 0.0), 1.0) for p in curve if p is not None)
    ap, ap50 = (words.finite(row.get(k)) for k in ("AP", "AP50"))
    return Row(printable(row.get("class", "?"), 120), train, boxes, ap, ap50, known if len(known) == 101 else ())


def table(found: Detection) -> str:
    """Each class with its boxes and averages, the worst first."""
    order = sorted(found.rows, key=lambda row: (row.ap50 is None, row.ap50 or 0.0))
    parts = [_row_of(row) for row in order[:ROWS]]
    scored = words.title(confusion.PARTS.get(found.split, "scored"))
    head = ["Class", "Boxes in train", f"In {scored.lower()}", "AP50", "mAP .50 to .95"]
    top = "".join(f'<th class="{"n" if k else ""}">{h}</th>' for k, h in enumerate(head))
    rest = len(order) - ROWS
    note = f'<p class="small">The other {rest} classes are found better, or have no box here.</p>' if rest > 0 else ""
    body = "".join(parts)
    return f'<div class="scroll"><table class="sort"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>{note}'


def _row_of(row: Row) -> str:
    cells = [words.count(row.train), words.count(row.boxes), f"{words.percent(row.ap50)}{confusion.meter(row.ap50)}"]
    cells.append(words.percent(row.ap))
    numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
    return f'<tr><td class="name">{html.escape(row.name)}</td>{numbers}</tr>'


def curves(found: Detection) -> str:
    """Precision over recall of each class; of many classes those found worst."""
    drawn = sorted((row for row in found.rows if row.precision), key=lambda row: row.ap50 or 0.0)[:CURVES]
    if not drawn:
        return ""
    body = [
        *shares.axes("precision: found boxes that are right", "recall: true boxes that are found"),
        *(_curve(row, k) for k, row in enumerate(drawn)),
    ]
    keys = "".join(
        f'<span class="key"><i class="line bar{k}"></i>{html.escape(row.name)} <b>{words.percent(row.ap50)}</b></span>'
        for k, row in enumerate(drawn)
    )
    some = f", the {len(drawn)} found worst" if len(drawn) < sum(bool(row.precision) for row in found.rows) else ""
    label = f"Precision over recall of {words.plural(len(drawn), 'class', 'classes')}{some}"
    return (
        f'<figure class="reliability lone"><figcaption><h3>Precision over recall{some}</h3></figcaption>'
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {shares.WIDTH} {shares.height()}">{"".join(body)}</svg>'
        f'<div class="readout">{keys}</div></figure>'
    )


def _curve(row: Row, k: int) -> str:
    last = max((i for i, p in enumerate(row.precision) if p > 0.0), default=0)
    path = "L".join(f"{shares.x(i / 100):.1f} {shares.y(p):.1f}" for i, p in enumerate(row.precision[: last + 1]))
    end = "" if last == 100 else f"V{shares.y(0.0):.1f}"
    told = f"{html.escape(row.name)}: AP50 {words.percent(row.ap50)}, recall up to {last}%"
    return f'<g><title>{told}</title><path class="line ink{k}" d="M{path}{end}"/></g>'


def errors(found: Detection) -> str:
    """How often each kind of error, most frequent first."""
    total = sum(found.errors.values())
    if not total:
        return '<p class="none">Not one error.</p>'
    rows = [
        f'<tr><td class="name keep">{kind}</td><td class="n">{words.count(n)}{confusion.meter(n / total)}</td>'
        f'<td class="far">{KINDS[kind]}</td></tr>'
        for kind, n in sorted(found.errors.items(), key=lambda item: -item[1])
    ]
    head = '<tr><th>Error</th><th class="n">Times</th><th class="far">What it is</th></tr>'
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def gallery(run: Run) -> str:
    """Pictures with their boxes: those with most errors, then some without one."""
    folder = run.folder / "pictures"
    wrong, right = ([row for row in run.drawn if bool(words.finite(row.get("errors"))) is is_wrong] for is_wrong in (True, False))
    kinds = {str(box.get("is")) for row in run.drawn for box in boxes_of(row)}
    keys = "".join(f'<span class="key"><i class="line was-{k}"></i>{text}</span>' for k, text in LEGEND.items() if k in kinds)
    parts = [f'<div class="readout">{keys}</div>']
    for title, rows in (("Where most is wrong", wrong), ("Where everything is right", right)):
        if rows:
            figures = "".join(figure(folder, row) for row in rows)
            parts.append(f'<h3 class="gap">{title}</h3><div class="gallery boxed">{figures}</div>')
    return "".join(parts) if len(parts) > 1 else ""


def boxes_of(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The boxes of a picture that are what they should be."""
    boxes = row.get("boxes")
    return [box for box in boxes if isinstance(box, Mapping) and box.get("is") in LEGEND] if isinstance(boxes, list) else []


def figure(folder: Path, row: Mapping[str, Any]) -> str:
    """One picture under its boxes."""
    uri, sides = mistakes.picture(folder, row.get("file")), [words.finite(row.get(k)) for k in ("width", "height")]
    caption = f"<figcaption><div>{said(row)}</div>{mistakes.source(row)}</figcaption>"
    if uri is None or not all(sides):
        return f'<figure><p class="none">no picture</p>{caption}</figure>'
    w, h = (int(v) for v in sides if v is not None)
    rects = "".join(_rect(box) for box in boxes_of(row))
    alt = html.escape(f"{printable(row.get('source', 'a picture'), 60)} with the boxes found in it", quote=True)
    image = f'<image href="{uri}" width="{w}" height="{h}" preserveAspectRatio="none"/>'
    return f'<figure><svg role="img" aria-label="{alt}" viewBox="0 0 {w} {h}">{image}{rects}</svg>{caption}</figure>'


def _rect(box: Mapping[str, Any]) -> str:
    corners = box.get("box")
    values = [words.finite(v) for v in corners] if isinstance(corners, list) else []
    ends = [v for v in values if v is not None]
    if len(ends) != 4 or len(values) != 4:
        return ""
    x1, y1, x2, y2 = ends
    kind, score = str(box["is"]), words.finite(box.get("score"))
    told = f"{printable(box.get('class', '?'), 60)}: {LEGEND[kind]}" + (f", score {score:.2f}" if score is not None else "")
    size = f'x="{x1:g}" y="{y1:g}" width="{max(x2 - x1, 0):g}" height="{max(y2 - y1, 0):g}"'
    return f'<rect class="was-{kind}" {size}><title>{html.escape(told)}</title></rect>'


def said(row: Mapping[str, Any]) -> str:
    """'2 missed (Platelets 2), 1 too many (RBC)'."""
    boxes, parts = boxes_of(row), []
    for kind, text in (("missed", "missed"), ("extra", "too many")):
        of = Counter(printable(box.get("class", "?"), 40) for box in boxes if box["is"] == kind)
        if of:
            each = ", ".join(html.escape(name) + (f" {n}" if n > 1 else "") for name, n in of.most_common(3))
            parts.append(f'<span class="{"truth" if kind == "missed" else "guess"}">{sum(of.values())} {text}</span> ({each})')
    right = sum(box["is"] == "right" for box in boxes)
    return ", ".join([*parts, f"{right} right"]) if boxes else "nothing there, nothing found"


def told(found: Detection | None, counts: confusion.Tally | None) -> str:
    """In words: from which score a box counts, how many of the true ones are found, how many of the found are right, what errs."""
    if found is None or counts is None or not counts.background:
        return ""
    k = len(counts.classes) - 1
    true, guessed = sum(counts.support[:k]), sum(counts.guessed[:k])
    right = sum(counts.matrix[i][i] for i in range(k))
    if not true:
        return ""
    parts = [
        f"Boxes count from a score of {found.threshold:.2f} on: with those it finds {words.count(right)} of "
        f"{words.plural(true, 'box', 'boxes')} ({words.percent(right / true)})"
    ]
    parts[0] += f", and {words.percent(right / guessed)} of what it finds is right." if guessed else "."
    kinds = [(n, kind) for kind, n in found.errors.items() if n]
    if kinds:
        named = words.listing(f"{words.count(n)} {kind}" for n, kind in sorted(kinds, key=lambda item: -item[0]))
        parts.append(f"Its errors by kind: {named}.")
    weak = min((row for row in found.rows if row.ap50 is not None), key=lambda row: row.ap50 or 0.0, default=None)
    if weak is not None and len(found.rows) > 1:
        parts.append(
            f"The weakest class is “{weak.name}”: AP50 {words.percent(weak.ap50)}, {words.count(weak.train)} boxes in train."
        )
    return " ".join(parts)


def hardest(rows: Sequence[Mapping[str, Any]]) -> str:
    """The pictures with most errors, by name."""
    wrong = [row for row in rows if words.finite(row.get("errors")) and row.get("source")][:3]
    named = [f"`{printable(row['source'], 60)}` ({words.plural(int(words.finite(row['errors']) or 0), 'error')})" for row in wrong]
    return f"Most is wrong in {words.listing(named)}." if named else ""
