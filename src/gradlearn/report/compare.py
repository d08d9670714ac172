"""Runs side by side: scores with their noise, cost, the settings that differ, and whether the gap is more than luck.

The sentence rests on the two-proportion z test of `noise`: it treats the two test sets as drawn apart, which is
cautious where both runs were scored on the same examples. It knows the luck of the examples, not that of the seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gradlearn.errors import printable
from gradlearn.report import facts as measured
from gradlearn.report import noise, story, words
from gradlearn.report.folder import Run, read

LEVEL = 0.05  # a two-sided p below this is called more than luck


def compare(folders: Iterable[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """(one row a run, lines of text for a terminal). Values not on record are None in rows and blank in the text.

    A row has run, task, name, higher, valid, valid_n, valid_interval, test, test_n, test_interval, steps, seconds,
    stop, data and choices (only the settings that differ). Raises InputTrouble if a folder is not of a run.
    """
    runs = [read(Path(folder)) for folder in folders]
    rows = [_row(run) for run in runs]
    differ = differences([run.settings for run in runs])
    for row, run in zip(rows, runs, strict=True):
        row["choices"] = {name: measured.choice(run.settings, name) for name in differ}
    return rows, [*_scores(rows), "", *_settings(rows, differ), verdict(rows)]


def differences(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the settings that are not the same in all runs, in the order of the first run that has them."""
    names: dict[str, None] = {}
    for each in settings:
        table = each.get("choice")
        names |= dict.fromkeys(table if isinstance(table, Mapping) else ())
    return [name for name in names if len({repr(measured.choice(each, name)) for each in settings}) > 1]


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """One sentence: is the best test score better than the next by more than the noise of the test examples?"""
    scored = [row for row in rows if row["test"] is not None]
    if len(rows) < 2:
        return "One run alone compares with nothing."
    if len(scored) < 2:
        return "Fewer than two of these runs have a test score, so there is nothing to compare."
    if len({(row["name"], row["higher"]) for row in scored}) > 1:
        return "The runs are scored by different numbers, which do not compare."
    scored.sort(key=lambda row: -row["test"] if row["higher"] else row["test"])
    best, second = scored[0], scored[1]
    if best["data"] and second["data"] and best["data"] != second["data"]:
        return f"{_name(best)} and {_name(second)} were scored on different data, so their scores do not compare."
    return _sentence(best, second, len(scored))


def _sentence(best: Mapping[str, Any], second: Mapping[str, Any], among: int) -> str:
    name, a, b = printable(best["name"], 40), best["test"], second["test"]
    pair = f"{_name(best)} ({words.score(name, a)}) and {_name(second)} ({words.score(name, b)})"
    pair = pair if among == 2 else f"The best two of {among}, {pair},"
    if a == b:
        return f"{pair} have the same test {name}."
    size = words.points(a - b) if words.is_share(name) else words.number(abs(a - b))
    lead = f"{pair} differ by {size} of test {name}"
    n, m = best["test_n"], second["test_n"]
    if not n or not m or not words.is_proportion(name) or not (0.0 <= a <= 1.0 and 0.0 <= b <= 1.0):
        return f"{lead}; whether that is more than noise cannot be told from what is on record."
    test = noise.difference(a, n, b, m)
    numbers = f"z = {abs(test.z):.1f}, p {f'= {words.number(test.p, 2)}' if test.p >= 1e-4 else '< 0.0001'}"
    coarse = "; with so few mistakes the test is coarse" if test.rough else ""
    many = f"; picked from {among} runs, so take it with care" if among > 2 and test.p < LEVEL else ""
    examples = words.plural(n, "test example") if n == m else f"{words.count(n)} and {words.count(m)} test examples"
    if test.p < LEVEL:
        return f"{lead}, more than the noise of {examples} ({numbers}{coarse}{many})."
    return f"{lead}, which is within the noise of {examples} ({numbers}{coarse})."


def _row(run: Run) -> dict[str, Any]:
    facts = measured.gather(run.settings, run.steps, run.scores)
    kept = run.summary.get("score")
    stored = kept if isinstance(kept, Mapping) else {}
    named = facts.valid or facts.test is not None
    name = facts.name if named else str(stored.get("name") or "score")
    higher = facts.higher if named else stored.get("higher") is not False
    test = facts.test if facts.test is not None else words.finite(stored.get("test"))
    best = facts.best[1] if facts.best else None
    valid = words.finite(stored.get("valid"))
    valid = best if valid is None else valid
    seconds = words.finite(run.summary.get("seconds"))
    return {
        "run": str(run.folder),
        "task": str(run.settings.get("task") or run.summary.get("task") or ""),
        "name": name,
        "higher": higher,
        "valid": valid,
        "valid_n": facts.counts.get("valid"),
        "valid_interval": _interval(name, valid, facts.counts.get("valid")),
        "test": test,
        "test_n": facts.counts.get("test"),
        "test_interval": _interval(name, test, facts.counts.get("test")),
        "steps": facts.steps,
        "seconds": facts.seconds if seconds is None else seconds,
        "stop": "" if run.stop is None else story.ended(run.stop),
        "data": str(measured.data(run.settings).get("fingerprint") or ""),
    }


def _interval(name: str, value: float | None, n: int | None) -> list[float] | None:
    if value is None or not n or not words.is_proportion(name) or not 0.0 <= value <= 1.0:
        return None
    return list(noise.wilson(value, n))


def _name(row: Mapping[str, Any]) -> str:
    return printable(Path(row["run"]).name or row["run"], 60)


def _scores(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    body = []
    for row in rows:
        interval = row["test_interval"]
        body.append(
            [
                _name(row),
                "" if row["test"] is None else words.score(row["name"], row["test"]),
                "" if interval is None else f"{words.percent(interval[0])} to {words.percent(interval[1])}",
                "" if row["valid"] is None else words.score(row["name"], row["valid"]),
                words.count(row["steps"]) if row["steps"] else "",
                "" if row["seconds"] is None else words.duration(row["seconds"]),
            ]
        )
    return _aligned([["run", "test", "95% interval", "valid", "steps", "time"], *body], right=True)


def _settings(rows: Sequence[Mapping[str, Any]], differ: Sequence[str]) -> list[str]:
    """A line for each setting that is not the same in all runs, a column for each run."""
    if not differ or len(rows) < 2:
        return []
    body = [[printable(name, 40), *(_shown(row["choices"][name]) for row in rows)] for name in differ]
    return [*_aligned([["setting", *(_name(row) for row in rows)], *body], right=False), ""]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return words.number(value, 4) if isinstance(value, float) else printable(value, 32)


def _aligned(lines: Sequence[Sequence[str]], right: bool) -> list[str]:
    """Columns padded to one width; all but the first to the right, if so asked."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [text.rjust(w) if right and i else text.ljust(w) for i, (text, w) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    ]
    return ["  ".join(line).rstrip() for line in padded]
