"""The model card of a run, as Markdown: what it was trained on, how good it is, what goes in, what comes out, and its limits.

Mitchell et al., "Model cards for model reporting", arXiv 1810.03993. Everything in it comes from the run folder; what a person
alone can know (whom it may harm, who may use it) is named as open, not made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradlearn.errors import printable
from gradlearn.report import account, confusion, words
from gradlearn.report import facts as measured
from gradlearn.report.facts import Facts
from gradlearn.report.folder import Run

MOST = 40  # classes of which each is listed
ROLES = {"test": "test, not seen in training", "valid": "validation, looked at on the way", "train": "training, a sample"}


def text(run: Run, about: Mapping[str, Any], title: str, load: str) -> str:
    """The card.

    Args:
        run: the folder, read.
        about: what goes in and comes out: "preprocessing" and "postprocessing", steps with a sentence `what` each, and "outputs",
            a sentence for each name. Empty for a module of one's own.
        title: of the card.
        load: Python that loads the model and uses it.
    """
    facts = measured.gather(run.settings, run.steps, run.scores)
    parts = [
        ("", account.opening(run)),
        ("Trained on", trained(run, facts)),
        ("How good it is", good(run, facts)),
        ("What goes in", numbered(about.get("preprocessing", ()))),
        ("What comes out", output(about)),
        ("Limits", limits(run, facts, about)),
        ("How it was trained", settings(run)),
        ("Use it", f"```python\n{load.strip()}\n```"),
    ]
    return f"# {title}\n\n" + "\n\n".join(f"## {head}\n\n{body}" if head else body for head, body in parts if body) + "\n"


def trained(run: Run, facts: Facts) -> str:
    """Data, counts, classes."""
    table = measured.data(run.settings)
    rows = [f"- data: {printable(table.get('source', 'given from Python'))}"]
    if mark := str(table.get("fingerprint", "")):
        rows.append(f"- fingerprint of the data: `{printable(mark, 64)}`")
    counts = [f"{words.count(facts.counts[s])} {s}" for s in ("train", "valid", "test") if s in facts.counts]
    rows += [f"- examples: {words.listing(counts)}"] if counts else []
    names = table.get("classes")
    if isinstance(names, list) and names:
        rows.append(
            f"- {words.plural(len(names), 'class', 'classes')}: {words.listing((printable(n, 60) for n in names), most=MOST)}"
        )
    if "from" in run.settings.get("choice", {}):
        rows.append(f"- it began with the weights of {printable(measured.choice(run.settings, 'from'))}")
    return "\n".join(rows)


def good(run: Run, facts: Facts) -> str:
    """Scores with their 95 % intervals, and each class."""
    last = {split: next((r for r in reversed(run.scores) if r["split"] == split), None) for split in ROLES}
    rows = []
    for split, role in ROLES.items():
        row = last[split]
        if row is None or row["value"] is None:
            continue
        n, ends = facts.counts.get(split) if split != "train" else None, facts.interval(split, row["value"])
        sure = " to ".join(words.percent(end) for end in ends) if ends and split != "train" else ""
        rows.append(f"| {role} | {n or ''} | {words.score(row['name'], row['value'])} | {sure} |")
    if not rows:
        return "Nothing was scored."
    table = "\n".join([f"| | examples | {facts.name} | 95 % interval |", "|---|---:|---:|---|", *rows])
    return "\n\n".join(filter(None, (table, classes(run))))


def classes(run: Run) -> str:
    """Of each class: how many of its examples were recognised, how many guesses of it were right."""
    counts = confusion.tally(run.confusion)
    if counts is None or not 1 < len(counts.classes) <= MOST:
        return ""
    head = ["| class | examples | recognised | guesses of it that are right |", "|---|---:|---:|---:|"]
    rows = [
        f"| {cell(name)} | {counts.support[k]} | {words.percent(counts.recall(k), 0)} | {words.percent(counts.precision(k), 0)} |"
        for k, name in enumerate(counts.classes[: len(counts.classes) - counts.background])
    ]
    return "\n".join(head + rows)


def cell(name: str) -> str:
    """Text that may stand in a table."""
    return printable(name, 60).replace("|", "\\|")


def numbered(rows: Sequence[Mapping[str, Any]]) -> str:
    """Steps, in order."""
    return "\n".join(f"{k}. {row['step']}: {row['what']}" for k, row in enumerate(rows, 1))


def output(about: Mapping[str, Any]) -> str:
    """Each output by name, and what is done to get it."""
    named = [f"- `{name}`: {what}" for name, what in about.get("outputs", {}).items()]
    return "\n\n".join(filter(None, ("\n".join(named), numbered(about.get("postprocessing", ())))))


def limits(run: Run, facts: Facts, about: Mapping[str, Any]) -> str:
    """What it cannot do, and what is not known."""
    rows = [printable(row, 400) for row in about.get("limits", ())]
    if facts.test is None:
        rows.append("no test data were scored: how good it is on data that had no part in the run is not known")
    if facts.guessing:
        rows.append("its test accuracy cannot be told from guessing")
    rows += [f"data: {printable(row.get('what', ''), 200)}" for row in run.lint or () if row.get("level") in ("warn", "alarm")]
    rows += [f"training: {printable(row['what'], 200)}" for row in run.findings if row["level"] in ("warn", "alarm")]
    rows.append("whom mistakes may harm, and whether the data may be used so, is for a person to judge: nothing here says it")
    return "\n".join(f"- {row}" for row in dict.fromkeys(rows))


def settings(run: Run) -> str:
    """The choices that make the model, and the versions."""
    named = {"model": "network", "steps": "steps", "batch": "batch", "update": "update", "lr": "learning rate", "seed": "seed"}
    rows = [f"- {what}: {printable(value)}" for k, what in named.items() if (value := measured.choice(run.settings, k)) is not None]
    made = run.settings.get("machine", {})
    versions = [f"{k} {printable(made[k], 40)}" for k in ("gradlearn", "torch", "python") if k in made]
    return "\n".join(
        [*rows, *([f"- versions: {', '.join(versions)}"] if versions else []), "- every choice with its reason: `run.toml`"]
    )
