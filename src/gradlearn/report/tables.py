"""What a page lists: events, scores, the data and its check, every setting with who chose it and why, the machine."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from gradlearn.report import words
from gradlearn.report.account import CHOSE
from gradlearn.report.chart import LEVELS
from gradlearn.report.curves import Event
from gradlearn.report.folder import Run

MOST = 200  # rows of one table on the page
FEW = 30  # events that are all shown at once
COUNTED = {"train", "valid", "test"}


def table(head: Sequence[str], rows: Sequence[Sequence[str]], classes: Sequence[str] = (), more: int = 0) -> str:
    """HTML cells -> a table; `classes` by column; a line on how many rows are left out."""
    css = [*classes, *[""] * len(head)]

    def cell(tag: str, i: int, content: str) -> str:
        return f'<{tag} class="{css[i]}">{content}</{tag}>' if css[i] else f"<{tag}>{content}</{tag}>"

    top = "".join(cell("th", i, words.safe(h, 60)) for i, h in enumerate(head))
    body = "".join("<tr>" + "".join(cell("td", i, c) for i, c in enumerate(row)) + "</tr>" for row in rows)
    note = f'<p class="small">{words.plural(more, "more row")} not shown.</p>' if more > 0 else ""
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>{note}'


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values, without a head."""
    body = "".join(f'<tr><td class="name">{name}</td><td>{content}</td></tr>' for name, content in rows)
    return f'<div class="scroll"><table class="pairs"><tbody>{body}</tbody></table></div>'


def happenings(events: Sequence[Event]) -> str:
    """Findings and actions, numbered as the flags on the curves are; of very many the gravest, the rest folded."""
    if len(events) <= FEW:
        return _events(events)
    grave = sorted(events, key=lambda e: (-LEVELS.get(e.level, 0), e.t))[:10]
    first = _events(sorted(grave, key=lambda e: e.number))
    rest = f"<details><summary>All {words.count(len(events))} events</summary>{_events(events)}</details>"
    return f'<p class="lede">The ten gravest of {words.count(len(events))}:</p>{first}{rest}'


def _events(events: Sequence[Event]) -> str:
    rows = []
    for e in events[:MOST]:
        level = e.level if e.level in ("info", "warn", "alarm") else "info"
        label = e.level or "info" if e.kind == "finding" else "action"
        told = _told(e.row) if e.kind == "finding" else _done(e.row)
        pill = f'<span class="pill {level}">{words.safe(label, 20)}</span>'
        rows.append((str(e.number), words.count(e.t), pill, words.safe(e.row["name"], 60), told))
    head = ("No.", "Step", "Kind", "Name", "What, why, and what was done")
    return table(head, rows, ("n", "n", "", "name"), len(events) - MOST)


def _told(row: Mapping[str, Any]) -> str:
    parts = [words.safe(words.sentence(row["what"]), 400)]
    parts += [f'<span class="small">{lead}: {words.safe(row[k], 400)}</span>' for k, lead in _ASIDES if row[k]]
    evidence = ", ".join(f"{words.safe(k, 40)} = {value(v, 60)}" for k, v in list(row["evidence"].items())[:8])
    return "".join(parts) + (f'<span class="small">Evidence: {evidence}</span>' if evidence else "")


_ASIDES = (("why", "Likely cause"), ("remedy", "Remedy"))


def _done(row: Mapping[str, Any]) -> str:
    parts = [words.safe(words.sentence(row["why"]), 400)]
    if row["dial"]:
        change = f"{words.number(row['before'])} → {words.number(row['after'])}"
        parts.append(f'<span class="small">dial {words.safe(row["dial"], 40)}: {change}</span>')
    if row["by"] not in ("", "watch"):
        parts.append(f'<span class="small">by {words.safe(row["by"], 20)}</span>')
    return "".join(parts)


def scores(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every score that was taken, with all its numbers."""
    names = list(dict.fromkeys(k for row in rows for k in row["all"]))[:8]
    shown = [row for row in rows if row["split"] == "test"] + [row for row in rows if row["split"] != "test"]
    cells = [
        [words.count(r["t"]), words.safe(r["split"], 20), words.score(r["name"], r["value"])]
        + [words.score(k, r["all"].get(k)) for k in names if k != r["name"]]
        for r in shown[:MOST]
    ]
    main = rows[-1]["name"] if rows else "score"
    head = ["Step", "Split", words.title(main), *[words.title(k) for k in names if k != main]]
    return table(head, cells, ("n", "", *["n"] * (len(head) - 2)), len(rows) - MOST)


def lint(rows: Sequence[Mapping[str, Any]] | None) -> str:
    """What the check of the data found."""
    if rows is None:
        return '<p class="none">No check of the data is on record.</p>'
    if not rows:
        return '<p class="none">The check of the data found nothing to report.</p>'
    cells = []
    for row in rows[:MOST]:
        level = row.get("level") if row.get("level") in ("info", "warn", "error") else "info"
        given = row.get("examples")
        examples = given if isinstance(given, list) else []
        names = ", ".join(f"<code>{words.safe(e, 80)}</code>" for e in examples[:5]) + ("…" if len(examples) > 5 else "")
        names = "shown below" if row.get("shown") else names
        n = words.finite(row.get("count"))
        pill = f'<span class="pill {level}">{level}</span>'
        cells.append((pill, words.safe(row.get("what", ""), 300), "" if n is None else words.count(n), names))
    return table(("Level", "What", "Count", "Examples"), cells, ("", "", "n"), len(rows) - MOST)


def data(run: Run) -> str:
    """The facts of the data as a table: source, split, shape, fingerprint."""
    table_ = run.settings.get("data")
    entries = table_ if isinstance(table_, Mapping) else {}
    rows = []
    for key, item in entries.items():
        if key == "classes" and isinstance(item, list):
            names = ", ".join(words.safe(c, 40) for c in item[:40]) + (f" and {len(item) - 40} more" if len(item) > 40 else "")
            rows.append(("classes", f"{len(item)}: {names}"))
        elif key in COUNTED and words.finite(item) is not None:
            rows.append((words.safe(key, 40), words.plural(item, "example")))
        else:
            rows.append((words.safe(key, 40), value(item)))
    return pairs(rows) if rows else '<p class="none">Nothing on record.</p>'


def settings(run: Run) -> str:
    """Every setting: value, who chose it, why. The user's own stand out by colour."""
    choices = run.settings.get("choice")
    rows = []
    for name, entry in choices.items() if isinstance(choices, Mapping) else ():
        if not isinstance(entry, Mapping):
            continue
        by = str(entry.get("by", ""))
        word, title = CHOSE.get(by, (by or "unknown", "no word on how"))
        css = by if by in CHOSE else ""
        pill = f'<span class="pill {css}" title="{html.escape(title)}">{words.safe(word, 20)}</span>'
        rows.append((words.safe(name, 60), value(entry.get("value")), pill, words.safe(entry.get("why") or "", 400)))
    if not rows:
        return '<p class="none">No settings on record.</p>'
    return table(("Setting", "Value", "Chosen by", "Why"), rows, ("name", "mono"))


def machine(run: Run) -> str:
    """Program and machine."""
    entries = run.settings.get("machine")
    rows = [(words.safe(key, 40), value(run.settings[key])) for key in ("program", "task", "format") if key in run.settings]
    rows += [(words.safe(k, 40), value(v)) for k, v in (entries.items() if isinstance(entries, Mapping) else ())]
    return pairs(rows) if rows else '<p class="none">Nothing on record.</p>'


def value(item: Any, limit: int = 160) -> str:
    """A value from a file as HTML text: numbers short, lists by commas, yes and no."""
    if item is None or item in ("", [], {}):
        return words.MISSING
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, int):
        return words.safe(item, limit)
    if isinstance(item, float):
        return words.number(item, 4)
    if isinstance(item, list):
        return words.safe(", ".join(map(str, item[:40])), limit)
    if isinstance(item, Mapping):
        return words.safe(", ".join(f"{k} = {v}" for k, v in list(item.items())[:40]), limit)
    return words.safe(item, limit)
