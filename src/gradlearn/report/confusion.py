"""Which classes are taken for which: the confusion matrix as a heat map, recall and precision, the worst pairs.

Rows are the truth, columns the guess. recall = right / all that are of the class; precision = right / all that were
guessed to be of it; F1 = 2 right / (both together). Balanced accuracy is the mean recall, macro F1 the mean F1: each class counts
the same, however rare. Past `MOST` classes a matrix is no longer legible, and only the most confused pairs are shown.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gradlearn.errors import printable
from gradlearn.report import words

MOST = 30  # classes a matrix may have on the page
PARTS = {"train": "train", "valid": "validation", "test": "test"}
PAIRS = 20  # confused pairs worth showing
ROWS = 60  # rows of the table by class that are shown at once


@dataclass(frozen=True)
class Tally:
    """A checked square matrix of counts, k classes."""

    classes: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]  # (k, k), rows = truth
    known: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # examples of each class in other parts: train, valid
    split: str = ""  # which part was scored; empty: not on record
    background: bool = False  # the last is not a class but nothing there: of detectors

    @property
    def total(self) -> int:
        """Examples scored."""
        return sum(map(sum, self.matrix))

    @property
    def right(self) -> int:
        """Examples on the diagonal."""
        return sum(row[i] for i, row in enumerate(self.matrix))

    @cached_property
    def support(self) -> list[int]:
        """Examples of each class."""
        return [sum(row) for row in self.matrix]

    @cached_property
    def guessed(self) -> list[int]:
        """How often each class was guessed."""
        return [sum(column) for column in zip(*self.matrix, strict=True)]

    def recall(self, i: int) -> float | None:
        """Share of class i that was recognised; None if there was no example of it."""
        n = self.support[i]
        return self.matrix[i][i] / n if n else None

    def precision(self, i: int) -> float | None:
        """Share of the guesses of class i that were right; None if it was never guessed."""
        n = self.guessed[i]
        return self.matrix[i][i] / n if n else None

    def f1(self, i: int) -> float | None:
        """Harmonic mean of recall and precision of class i; None if there was neither example nor guess of it."""
        n = self.support[i] + self.guessed[i]
        return 2 * self.matrix[i][i] / n if n else None

    @property
    def balanced(self) -> float | None:
        """Mean recall of the classes that have examples."""
        return _mean([self.recall(i) for i in range(len(self.classes))])

    @property
    def macro(self) -> float | None:
        """Mean F1 of the classes that have examples or guesses."""
        return _mean([self.f1(i) for i in range(len(self.classes))])

    def pairs(self) -> list[tuple[int, str, str]]:
        """(count, truth, guess) of every mistake, most frequent first."""
        cells = [
            (n, self.classes[i], self.classes[j]) for i, row in enumerate(self.matrix) for j, n in enumerate(row) if n and i != j
        ]
        return sorted(cells, key=lambda cell: -cell[0])


def _mean(values: Sequence[float | None]) -> float | None:
    found = [v for v in values if v is not None]
    return sum(found) / len(found) if found else None


def tally(value: Mapping[str, Any]) -> Tally | None:
    """The content of confusion.json; None where it is not a square matrix of counts with a name for each class."""
    classes, matrix = value.get("classes"), value.get("matrix")
    if not isinstance(classes, list) or not isinstance(matrix, list) or not classes or len(matrix) != len(classes):
        return None
    rows = []
    for row in matrix:
        if not isinstance(row, list) or len(row) != len(classes):
            return None
        numbers = [words.finite(n) for n in row]
        if any(n is None or n < 0 for n in numbers):
            return None
        rows.append(tuple(int(n) for n in numbers if n is not None))
    split = value.get("split")
    return Tally(
        tuple(printable(c, 120) for c in classes),
        tuple(rows),
        _known(value, len(classes)),
        split if split in PARTS else "",
        value.get("background") is True and len(classes) > 1,
    )


def _known(value: Mapping[str, Any], k: int) -> dict[str, tuple[int, ...]]:
    """The counts of confusion.json: examples of each of k classes in other parts."""
    table, found = value.get("counts"), {}
    for part in ("train", "valid"):
        row = table.get(part) if isinstance(table, Mapping) else None
        numbers = [words.finite(n) for n in row] if isinstance(row, list) else []
        given = [int(n) for n in numbers if n is not None and n >= 0]
        if len(given) == len(numbers) == k:
            found[part] = tuple(given)
    return found


def draw(counts: Tally) -> str:
    """The heat map (to MOST classes) or the most confused pairs, then the table by class."""
    if not counts.total:
        return '<p class="none">No example was scored.</p>'
    picture = heat(counts) if len(counts.classes) <= MOST else confused(counts)
    return picture + by_class(counts)


def heat(counts: Tally) -> str:
    """The matrix as SVG; the strength of a cell is its share of the row, so that rare classes show as clearly."""
    k = len(counts.classes)
    size = 44 if k <= 10 else 34 if k <= 16 else 25
    tags = [_cut(c, 16) for c in counts.classes]
    tall = max(len(t) for t in tags)
    left, upright = max(7 * tall + 34, 64), all(len(t) * 7 <= size - 4 for t in tags)
    top = 44 if upright else min(7 * tall, 120) + 30
    parts = [f'<text class="axis" x="{left}" y="14">guess</text><text class="axis" x="0" y="{top - 8}">truth</text>']
    for i, tag in enumerate(tags):
        middle = i * size + size / 2
        title = f"<title>{html.escape(counts.classes[i])}</title>"
        x, y = left + middle, top - 8
        turn = f'text-anchor="middle" x="{x}" y="{y}"' if upright else f'transform="translate({x + 4} {y}) rotate(-90)"'
        parts.append(f"<text {turn}>{html.escape(tag)}{title}</text>")
        parts.append(f'<text x="{left - 8}" y="{top + middle + 4}" text-anchor="end">{html.escape(tag)}{title}</text>')
        parts += [_cell(counts, i, j, left + j * size, top + i * size, size) for j in range(k)]
    width, height = left + k * size + 4, top + k * size + 4
    return (
        f'<div class="wide"><svg class="matrix" role="img" aria-label="Confusion matrix of {k} classes" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">{"".join(parts)}</svg></div>'
    )


def _cell(counts: Tally, i: int, j: int, x: float, y: float, size: int) -> str:
    n, of = counts.matrix[i][j], sum(counts.matrix[i])
    box = f'x="{x + 1}" y="{y + 1}" width="{size - 2}" height="{size - 2}" rx="3"'
    if not n:
        return f'<rect class="cell" {box}/>'
    share = n / of
    depth = (0.12 + 0.88 * share**0.6) if i == j else (0.25 + 0.75 * share**0.5)
    kind = "right" if i == j else "wrong"
    title = html.escape(f"truth {counts.classes[i]}, guess {counts.classes[j]}: {words.count(n)} of {words.count(of)}")
    small = len(str(n)) * 7.5 > size - 4
    text = words.percent(share, 0) if small and size > 30 else "" if small else str(n)
    ink = ' class="on"' if depth > 0.72 else ""
    return (
        f'<g><title>{title}</title><rect class="cell" {box}/><rect class="{kind}" {box} fill-opacity="{depth:.2f}"/>'
        f'<text{ink} x="{x + size / 2}" y="{y + size / 2 + 4}" text-anchor="middle">{text}</text></g>'
    )


def confused(counts: Tally) -> str:
    """The most frequent mistakes as a table, for many classes."""
    pairs = counts.pairs()
    if not pairs:
        return '<p class="none">Not one mistake.</p>'
    support = dict(zip(counts.classes, counts.support, strict=True))
    rows = [
        f'<tr><td class="name">{html.escape(truth)}</td><td>{html.escape(guess)}</td>'
        f'<td class="n">{words.count(n)}</td><td class="n">{words.percent(n / support[truth])}</td></tr>'
        for n, truth, guess in pairs[:PAIRS]
    ]
    return (
        f"<h3>The most confused pairs, of {len(counts.classes)} classes</h3>" + '<div class="scroll"><table><tr><th>Truth</th>'
        '<th>Guess</th><th class="n">Times</th><th class="n">Of the truth</th></tr>' + "".join(rows) + "</table></div><br>"
    )


def by_class(counts: Tally) -> str:
    """Recall, precision and F1 of each class, worst recall first; of very many classes the worst, and all of them folded."""
    every = range(len(counts.classes) - counts.background)
    order = sorted(every, key=lambda i: (counts.recall(i) is None, counts.recall(i) or 0.0))
    rest = len(order) - ROWS
    note = ""
    if rest > 0:
        note = f'<p class="small">The other {rest} classes have a higher recall, or no example.</p>'
        note += f"<details><summary>All {words.count(len(order))} classes</summary>{_table(counts, every)}</details>"
    return _macro(counts) + _table(counts, order[:ROWS]) + note


def _macro(counts: Tally) -> str:
    if counts.balanced is None or len(counts.classes) < 3 or counts.background:
        return ""
    numbers = f"{words.percent(counts.balanced)}, macro F1 {words.percent(counts.macro)}"
    return f'<p class="small after">With each class counted the same, however rare: balanced accuracy {numbers}.</p>'


def _table(counts: Tally, order: Sequence[int]) -> str:
    parts = [part for part in ("train", "valid") if part in counts.known and part != counts.split]
    scored = PARTS.get(counts.split, "scored")
    head = ["Class", *(words.title(PARTS[part]) for part in parts), words.title(scored) if parts else "Examples", "Recall"]
    head += ["Precision", "F1", "Most often taken for"]
    css = ["name", *["n"] * (len(head) - 2), "far"]
    top = "".join(f'<th class="{"" if c == "name" else c}">{h}</th>' for h, c in zip(head, css, strict=True))
    rows = []
    for i in order:
        recall = counts.recall(i)
        cells = [html.escape(counts.classes[i]), *(words.count(counts.known[part][i]) for part in parts)]
        cells += [words.count(counts.support[i]), f"{words.percent(recall)}{meter(recall)}", words.percent(counts.precision(i))]
        cells += [words.percent(counts.f1(i)), _most_taken_for(counts, i)]
        rows.append("<tr>" + "".join(f'<td class="{c}">{cell}</td>' for cell, c in zip(cells, css, strict=True)) + "</tr>")
    table = f'<table class="sort"><thead><tr>{top}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _most_taken_for(counts: Tally, i: int) -> str:
    others = [(n, j) for j, n in enumerate(counts.matrix[i]) if j != i and n]
    if not others:
        return ""
    n, j = max(others, key=lambda cell: (cell[0], -cell[1]))
    if counts.background and j == len(counts.classes) - 1:
        return f'nothing <span class="lede">({words.count(n)} missed)</span>'
    return f'{html.escape(counts.classes[j])} <span class="lede">({words.count(n)})</span>'


def meter(share: float | None) -> str:
    """A bar as long as the share, behind a number."""
    width = 0.0 if share is None else 110 * share
    return (
        '<svg class="meter" viewBox="0 0 110 8" aria-hidden="true"><rect class="back" width="110" height="8" rx="4"/>'
        f'<rect class="front" width="{width:.1f}" height="8" rx="4"/></svg>'
    )


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def baseline(counts: Tally) -> tuple[str, float]:
    """(class, share): what always guessing the commonest class would score."""
    most: Sequence[int] = counts.support
    i = max(range(len(most)), key=most.__getitem__)
    return counts.classes[i], most[i] / max(counts.total, 1)
