"""A run folder -> one HTML file that needs nothing else: story, scores, curves, mistakes, data, settings.

Everything that comes from the run is escaped. The page's content policy allows exactly the one style and the one script
below (by their SHA-256) and pictures from data URIs: no network, no event attributes, nothing from the data can run.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

from gradlearn.errors import ResourceTrouble
from gradlearn.record import disk
from gradlearn.report import account, confusion, curves, detection, mistakes, reliability, sight, story, tables, words
from gradlearn.report import facts as measured
from gradlearn.report.curves import Event
from gradlearn.report.facts import Facts
from gradlearn.report.folder import Run, read

NAME = "report.html"


def write(folder: Path) -> Path:
    """Make report.html in the run folder, old or new at every instant. Raises InputTrouble, ResourceTrouble."""
    content = render(folder).encode("utf-8", "backslashreplace")
    target = Path(folder) / NAME
    try:
        disk.replace(target, content)
    except OSError as error:
        raise ResourceTrouble(disk.refusal(target, error)) from error
    return target


def render(folder: Path) -> str:
    """The page as text. Raises InputTrouble if the folder is not of a run."""
    run = read(Path(folder))
    facts = measured.gather(run.settings, run.steps, run.scores)
    events = curves.happened(run)
    body = "".join(
        (
            _head(run),
            _notes(run),
            _cards(run, facts),
            _account(run),
            _curves(run, facts, events),
            _found(run),
            _mistakes(run, facts),
            _trust(run),
            _sight(run),
            _data(run),
            _section("Settings", tables.settings(run), "Every setting of the run, who chose it, and why."),
            _section("Machine", tables.machine(run)),
        )
    )
    return _document(f"{run.name} · gradlearn", body)


def _document(title: str, body: str) -> str:
    style, script = (resources.files("gradlearn.report").joinpath(f).read_text("utf-8") for f in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="light dark">'
        f"<title>{words.safe(title)}</title><style>{style}</style></head>\n"
        f"<body><main>{body}<footer>Made by gradlearn from this run's own folder. The file stands alone: it loads "
        f"nothing, and sends nothing.</footer></main><script>{script}</script></body></html>\n"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _section(title: str, content: str, lede: str = "") -> str:
    note = f'<p class="lede">{lede}</p>' if lede else ""
    return f"<section><h2>{title}</h2>{note}{content}</section>"


def _head(run: Run) -> str:
    task = run.settings.get("task") or run.summary.get("task")
    line = " · ".join(["gradlearn", *([words.safe(task, 40)] if task else []), "report of a training run"])
    return (
        f'<header><p class="eyebrow">{line}</p><h1>{words.safe(run.name, 120)}</h1></header>'
        f'<p class="story">{_marked(account.opening(run))}</p>'
    )


def _notes(run: Run) -> str:
    lines = "".join(f"<p>{words.safe(note, 300)}</p>" for note in run.notes)
    return f'<div class="notes">{lines}</div>' if lines else ""


def _account(run: Run) -> str:
    pairs = "".join(f"<dt>{words.safe(q)}</dt><dd>{_marked(a)}</dd>" for q, a in account.answers(run))
    return _section("The account", f'<dl class="account">{pairs}</dl>') if pairs else ""


def _marked(text: str) -> str:
    """Plain text as HTML; what stands between backquotes, in pairs, as code."""
    pieces = words.safe(text, 8000).split("`")
    if len(pieces) % 2 == 0:
        return "`".join(pieces)
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(pieces))


def _card(what: str, value: str, more: str, css: str = "") -> str:
    word = " word" if len(value) > 7 else ""
    return (
        f'<div class="card {css}"><div class="what">{what}</div><div class="value{word}">{value}</div>'
        f'<div class="more">{more}</div></div>'
    )


def _cards(run: Run, facts: Facts) -> str:
    name = words.safe(facts.name, 40)
    cards = []
    interval = facts.interval("test", facts.test)
    n = facts.counts.get("test")
    more = f"95% interval {words.percent(interval[0])} to {words.percent(interval[1])}" if interval else ""
    of = f"{words.plural(n, 'example')} never trained on" if n else "data never trained on"
    if facts.test is None:
        cards.append(_card("Test", words.MISSING, "not scored"))
    else:
        cards.append(_card(f"Test {name}", words.score(facts.name, facts.test), "<br>".join(p for p in (more, of) if p)))
    if facts.best is None:
        cards.append(_card("Validation", words.MISSING, "not scored"))
    else:
        best = f"best, at step {words.count(facts.best[0])}"
        m = facts.counts.get("valid")
        best += f"<br>{words.plural(m, 'example')}" if m else ""
        cards.append(_card(f"Validation {name}", words.score(facts.name, facts.best[1]), best))
    passes = f"{words.number(facts.passes)} passes over the data" if facts.passes else "no pass on record"
    skipped = f"<br>{words.count(facts.skipped)} not applied" if facts.skipped else ""
    cards.append(_card("Steps", words.count(facts.steps), passes + skipped))
    cards.append(_time(run, facts))
    cards.append(_end(run))
    return f'<div class="cards">{"".join(cards)}</div>'


def _time(run: Run, facts: Facts) -> str:
    total = words.finite(run.summary.get("seconds"))
    each = f"{words.duration(facts.seconds / facts.steps)} a step" if facts.seconds and facts.steps else ""
    label = "from start to end" if total is not None else "in steps"
    return _card(
        "Time",
        words.duration(total if total is not None else facts.seconds),
        "<br>".join(p for p in (label, each) if p),
    )


def _end(run: Run) -> str:
    kind = story.ended(run.stop)
    word, css = {
        "planned": ("as planned", "good"),
        "signal": ("by a signal", "warn"),
        "numerics": ("numerics", "alarm"),
        "unknown": ("no record", "warn"),
        "other": ("early", "warn"),
    }[kind]
    said = words.safe((run.stop or {}).get("message") or (run.stop or {}).get("reason") or "", 140)
    return _card("Ended", word, said, css)


def _curves(run: Run, facts: Facts, events: list[Event]) -> str:
    if not facts.steps and not run.scores:
        return _section("Curves", '<p class="none">No step is on record, so there is nothing to draw.</p>')
    lede = "Point at a curve to read it; the cursor is the same on all."
    if events:
        lede += " Numbered flags are the events listed below the curves."
    content = curves.charts(run, facts, events)
    if events:
        content += "<h3>Events</h3>" + tables.happenings(events)
    if run.scores:
        content += f"<details><summary>Every score that was taken</summary>{tables.scores(run.scores)}</details>"
    return _section("Curves", content, lede)


def _found(run: Run) -> str:
    """Of a detector."""
    found = detection.read(run.detection)
    if found is None:
        return ""
    where = confusion.PARTS.get(found.split, "scored")
    lede = (
        f"On {words.plural(found.pictures, where + ' picture')}. AP50 counts a box as right where it overlaps the true one by half "
    )
    lede += "(IoU .5); mAP averages that over ten overlaps, .50 to .95."
    parts = [_section("What it finds", detection.table(found) + detection.curves(found), lede)]
    lede = f"Among boxes with a score of at least {found.threshold:.2f}, "
    lede += "where precision and recall are best together (F1) on validation pictures."
    parts.append(_section("What it gets wrong", detection.errors(found), lede))
    if pictures := detection.gallery(run):
        lede = "Point at a box to read its class and its score."
        parts.append(_section("What it sees", pictures, lede))
    return "".join(parts)


def _background(counts: confusion.Tally, where: str) -> str:
    k = len(counts.classes) - 1
    found, true = sum(counts.matrix[i][i] for i in range(k)), sum(counts.support[:k])
    return (
        f"{words.plural(true, 'box', 'boxes')} {where}, {words.count(found)} of them found. Rows are the truth, columns the guess; "
        "the last column is what was missed, the last row what was found where nothing is."
    )


def _mistakes(run: Run, facts: Facts) -> str:
    counts = confusion.tally(run.confusion)
    parts = []
    if counts is not None:
        split = counts.split or next((s for s in ("test", "valid") if facts.counts.get(s) == counts.total), None)
        where = {"test": "of the test data", "valid": "of the validation data"}.get(split or "", "of the data scored")
        lede = f"{words.count(counts.total)} examples {where}, {words.count(counts.total - counts.right)} of them wrong."
        if len(counts.classes) <= confusion.MOST:
            lede += " Rows are the truth, columns the guess; a colour is as strong as the share of its row."
        lede = _background(counts, where) if counts.background else lede
        parts.append(_section("Which class is taken for which", confusion.draw(counts), lede))
    if run.mistakes:
        lede = "The most confident wrong answers, with the probability that the model gave them."
        parts.append(_section("The worst mistakes", mistakes.gallery(run.folder / "pictures", run.mistakes), lede))
    if run.unsure:
        lede = "Right or wrong: the answers to which another class came closest."
        pictures = mistakes.gallery(run.folder / "pictures", run.unsure, mistakes.doubt, "picture")
        parts.append(_section("Where it hesitates", pictures, lede))
    if not parts:
        parts.append(_section("Mistakes", '<p class="none">No confusion matrix and no pictures of mistakes are on record.</p>'))
    return "".join(parts)


def _trust(run: Run) -> str:
    content = reliability.draw(run)
    if not content:
        return ""
    lede = "On the dashed line, of all answers that were 80% sure 80% are right. Whiskers: 95% intervals; below, how many answers."
    return _section(
        "How sure may one be of its probabilities?", content + f'<p class="after">{_marked(reliability.told(run))}</p>', lede
    )


def _sight(run: Run) -> str:
    parts = []
    if pictures := sight.looks(run):
        lede = (
            "Beside each picture the pixels on which the answer rests: where a small change would change its probability most "
            "(SmoothGrad). It says what this model uses, not why."
        )
        parts.append(_section("What it looks at", pictures, lede))
    if pictures := sight.filters(run):
        parts.append(_section("What the first filters look for", pictures, sight.told(run)))
    return "".join(parts)


def _data(run: Run) -> str:
    folder = run.folder / "pictures"
    parts = [
        tables.data(run),
        '<h3 class="gap">Check of the data</h3>',
        tables.lint(run.lint),
        mistakes.linted(folder, run.lint or []),
    ]
    rows = run.suspects.get("rows")
    if said := account.doubted(run):
        parts.append(f'<h3 class="gap">Labels in doubt</h3><p class="lede after">{_marked(said)}</p>')
        shown = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        parts.append(mistakes.gallery(folder, shown, mistakes.suspect, "picture") if shown else "")
    return _section("Data", "".join(parts))
