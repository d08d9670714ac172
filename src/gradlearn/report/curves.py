"""Which curves a page shows, and the events marked on them.

Loss (raw light, running median strong, validation), score with its interval, learning rate, gradient norm, step time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradlearn.errors import printable
from gradlearn.report import noise, words
from gradlearn.report.chart import Band, Chart, Mark, draw
from gradlearn.report.facts import Facts, choice
from gradlearn.report.folder import Run
from gradlearn.report.series import Series, curve, smoothed

SMOOTH_FROM = 40  # with fewer steps a running median hides more than it shows
DEEDS = {"skip": "warn", "rewind": "alarm", "stop": "alarm"}


@dataclass(frozen=True, slots=True)
class Event:
    """A finding or an action, numbered in the order of steps."""

    number: int
    t: int
    kind: str  # "finding" or "action"
    level: str
    row: dict[str, Any]

    @property
    def title(self) -> str:
        """A few words for a flag."""
        return printable(f"step {words.count(self.t)}: {self.row['name']}", 120)


def happened(run: Run) -> list[Event]:
    """Findings and actions in the order of steps, a finding before the action that answers it."""
    rows = [(f["t"], 0, "finding", f["level"], f) for f in run.findings]
    rows += [(a["t"], 1, "action", DEEDS.get(a["name"], "info"), a) for a in run.actions]
    rows.sort(key=lambda row: row[:2])
    return [Event(i, t, kind, level, row) for i, (t, _, kind, level, row) in enumerate(rows, 1)]


def charts(run: Run, facts: Facts, events: Sequence[Event]) -> str:
    """All charts as HTML."""
    steps = run.steps
    ts = [t for t in steps["t"] if t is not None] + [row["t"] for row in run.scores]
    x = (min(ts, default=0.0), max(ts, default=1.0))
    marks = tuple(Mark(e.t, e.number, e.level, e.title) for e in events)
    bands = tuple(Band(a["t"], x[1], "on the way to the new end") for a in run.actions if a["name"] == "finish")[:1]
    plain = [
        Chart(
            "Learning rate",
            (curve("learning rate", steps["t"], steps["lr"], colour=3),),
            x,
            height=110,
            log=False,
            zero=True,
        ),
        Chart("Gradient norm", _both("norm", steps["t"], steps["norm"], 2), x, "length of the whole gradient", height=130),
        _time(run, x),
    ]
    drawn = [_loss(run, x, marks, bands), *_score(facts, x, marks, bands)]
    drawn += [replace(chart, marks=marks, flags=False, bands=bands) for chart in plain if any(s.x for s in chart.series)]
    return "".join(draw(chart) for chart in drawn)


def _time(run: Run, x: tuple[float, float]) -> Chart:
    """Milliseconds a step. The first steps warm up the machine; they may not flatten all others."""
    values = [None if v is None else 1000.0 * v for v in run.steps["seconds"]]
    series = _both("time", run.steps["t"], values, 4)
    return Chart("Time per step", series, x, height=110, log=False, zero=True, clip=True, unit=" ms")


def _both(name: str, x: Sequence[Any], y: Sequence[Any], colour: int, raw: str = "each step") -> tuple[Series, ...]:
    """Raw and running median; only the raw curve, drawn strong, where points are few."""
    if len(x) < SMOOTH_FROM:
        return (curve(name, x, y, colour=colour),)
    return (curve(raw, x, y, "raw", colour), smoothed("running median", x, y, colour))


def _loss(run: Run, x: tuple[float, float], marks: tuple[Mark, ...], bands: tuple[Band, ...]) -> Chart:
    steps = run.steps
    series = _both("training", steps["t"], steps["loss"], 0, "training, each batch")
    rows = [r for r in run.scores if r["split"] == "valid" and r["all"].get("loss") is not None]
    if rows:
        series += (curve("validation", [r["t"] for r in rows], [r["all"]["loss"] for r in rows], "dots", 1),)
    lost = tuple(t for t, v in zip(steps["t"], steps["loss"], strict=True) if v is None)
    return Chart("Loss", series, x, _beside(run.settings), 250, marks=marks, bands=bands, lost=lost)


def _beside(settings: Mapping[str, Any]) -> str:
    """What keeps the training and the validation loss from being one quantity, where the settings say so."""
    choices = settings.get("choice")
    for name in choices if isinstance(choices, Mapping) else ():
        value = words.finite(choice(settings, name))
        if name.endswith("label_smoothing") and value:
            return f"lower is better; the training loss includes label smoothing of {words.number(value)}"
    return "lower is better"


def _score(facts: Facts, x: tuple[float, float], marks: tuple[Mark, ...], bands: tuple[Band, ...]) -> list[Chart]:
    """The validation score with the 95 % interval that its number of examples leaves."""
    if not facts.valid:
        return []
    valid = curve("validation", [t for t, _ in facts.valid], [v for _, v in facts.valid], "dots", 1)
    share = words.is_share(facts.name) and all(0.0 <= v <= 1.0 for v in valid.y)
    n, note = facts.counts.get("valid"), "higher is better" if facts.higher else "lower is better"
    if n and facts.interval("valid", 0.5):
        ends = [noise.wilson(v, n) for v in valid.y]
        low, high = tuple(a for a, _ in ends), tuple(b for _, b in ends)
        valid = Series(valid.name, valid.x, valid.y, valid.look, valid.colour, low, high)
        note += f"; shaded: 95% interval for {words.plural(n, 'example')}"
    title = words.title(printable(facts.name, 60))
    return [
        Chart(title, (valid,), x, note, 200, share=share, marks=marks, bands=bands, best=facts.best, log=False if share else None)
    ]
