"""Which classes are taken for which: the confusion matrix as a heat map, recall and precision, the worst pairs.

Rows are the truth, columns the guess. recall = right / all that are of the class; precision = right / all that were
guessed to be of it. Past `MOST` classes a matrix is no longer legible, and only the most confused pairs are shown.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradlearn.errors import printable
from gradlearn.report import words

MOST = 30  # classes a matrix may have on the page
PAIRS = 20  # confused pairs worth showing
ROWS = 60  # rows of the table by class


@dataclass(frozen=True, slots=True)
class Tally:
    """A checked square matrix of counts, k classes."""

    classes: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]  # (k, k), rows = truth

    @property
    def total(self) -> int:
        """Examples scored."""
        return sum(map(sum, self.matrix))

    @property
    def right(self) -> int:
        """Examples on the diagonal."""
        return sum(row[i] for i, row in enumerate(self.matrix))

    @property
    def support(self) -> list[int]:
        """Examples of each class."""
        return [sum(row) for row in self.matrix]

    @property
    def guessed(self) -> list[int]:
        """How often each class was guessed."""
        return [sum(column) for column in zip(*self.matrix, strict=True)]

    def recall(self, i: int) -> float | None:
        """Share of class i that was recognised; None if there was no example of it."""
        n = sum(self.matrix[i])
        return self.matrix[i][i] / n if n else None

    def precision(self, i: int) -> float | None:
        """Share of the guesses of class i that were right; None if it was never guessed."""
        n = sum(row[i] for row in self.matrix)
        return self.matrix[i][i] / n if n else None

    def pairs(self) -> list[tuple[int, str, str]]:
        """(count, truth, guess) of every mistake, most frequent first."""
        cells = [
            (n, self.classes[i], self.classes[j]) for i, row in enumerate(self.matrix) for j, n in enumerate(row) if n and i != j
        ]
        return sorted(cells, key=lambda cell: -cell[0])


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
    return Tally(tuple(printable(c, 120) for c in classes), tuple(rows))


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
    """Recall and precision of each class, worst recall first."""
    order = sorted(range(len(counts.classes)), key=lambda i: (counts.recall(i) is None, counts.recall(i) or 0.0))
    rows = []
    for i in order[:ROWS]:
        recall, taken = counts.recall(i), _most_taken_for(counts, i)
        rows.append(
            f'<tr><td class="name">{html.escape(counts.classes[i])}</td>'
            f'<td class="n">{words.count(counts.support[i])}</td>'
            f'<td class="n">{words.percent(recall)}{_meter(recall)}</td>'
            f'<td class="n">{words.percent(counts.precision(i))}</td><td class="far">{taken}</td></tr>'
        )
    rest = len(order) - ROWS
    note = f'<p class="small">The other {rest} classes have a higher recall.</p>' if rest > 0 else ""
    return (
        '<div class="scroll"><table><tr><th>Class</th><th class="n">Examples</th><th class="n">Recall</th>'
        f'<th class="n">Precision</th><th class="far">Most often taken for</th></tr>{"".join(rows)}</table></div>{note}'
    )


def _most_taken_for(counts: Tally, i: int) -> str:
    others = [(n, j) for j, n in enumerate(counts.matrix[i]) if j != i and n]
    if not others:
        return ""
    n, j = max(others, key=lambda cell: (cell[0], -cell[1]))
    return f'{html.escape(counts.classes[j])} <span class="lede">({words.count(n)})</span>'


def _meter(share: float | None) -> str:
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
