"""What is on disk of a run, read once, and read forgivingly: what is missing or torn becomes a note, never a traceback.

A report must be possible for a run that was killed, that is still going, or whose folder was damaged; so every file is
optional, and of every row only fields of the right type are kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradlearn.errors import Trouble, printable
from gradlearn.record import disk, log, strict
from gradlearn.record import settings as configuration
from gradlearn.record.folder import open_run
from gradlearn.report.words import finite, plural

COLUMNS = ("t", "loss", "norm", "lr", "n", "epoch", "applied", "seconds")
LARGEST = 2**24  # bytes of a JSON file worth reading,
VALUES = 4_000_000  # and values in it: a confusion matrix of 2,000 classes
MARKS = ("run.toml", "summary.json", "steps.jsonl", "scores.jsonl")  # any of these makes a folder a run


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder in memory. Columns of `steps` have one length; rows of the other logs are clean, in file order."""

    folder: Path
    settings: dict[str, Any]
    steps: dict[str, list[Any]]
    scores: list[dict[str, Any]]
    findings: list[dict[str, Any]]
    actions: list[dict[str, Any]]
    summary: dict[str, Any]
    confusion: dict[str, Any]
    mistakes: list[dict[str, Any]]
    lint: list[dict[str, Any]] | None  # None: no check of the data is on record; []: it found nothing
    checkpoints: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what could not be read
    unsure: list[dict[str, Any]] = field(default_factory=list)  # pictures of which the model is least sure
    calibration: dict[str, Any] = field(default_factory=dict)  # by split: how sure it is, how often right
    suspects: dict[str, Any] = field(default_factory=dict)  # labels in doubt
    looks: list[dict[str, Any]] = field(default_factory=list)  # pictures with the pixels that an answer rests on
    filters: dict[str, Any] = field(default_factory=dict)  # of the first layer
    detection: dict[str, Any] = field(default_factory=dict)  # averages, curves and errors of a detector
    drawn: list[dict[str, Any]] = field(default_factory=list)  # pictures with the boxes found in them

    @property
    def stop(self) -> dict[str, Any] | None:
        """How the run ended; None where no end is on record. A run that its remedies stopped logged that itself."""
        stop = self.summary.get("stop")
        if isinstance(stop, dict):
            return stop
        last = self.actions[-1] if self.actions else {}
        return {"reason": "numerics", "message": last["why"]} if last.get("name") == "stop" else None

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name


def read(folder: Path) -> Run:
    """Read a run folder. Raises InputTrouble where there is no folder, or one that is not of a run."""
    if not any((folder / name).is_file() for name in MARKS):
        open_run(folder)
    notes: list[str] = []
    settings = _settings(folder, notes)
    summary = _json(folder / "summary.json", dict, notes)
    if summary is None:
        notes.append("There is no summary of the run, as when it was killed or is still going. What follows is what its logs hold.")
    seen = folder / "pictures"
    lint = _json(seen / "lint.json", list, notes)
    return Run(
        folder=folder,
        settings=settings,
        steps=_steps(folder / "steps.jsonl", notes),
        scores=clean_scores(_rows(folder / "scores.jsonl", notes)),
        findings=events(_rows(folder / "findings.jsonl", notes)),
        actions=events(_rows(folder / "actions.jsonl", notes)),
        summary=summary or {},
        confusion=_json(seen / "confusion.json", dict, notes) or {},
        mistakes=_dicts(_json(seen / "mistakes.json", list, notes)),
        lint=None if lint is None else _dicts(lint),
        checkpoints=_checkpoints(folder / "checkpoints"),
        notes=notes,
        unsure=_dicts(_json(seen / "unsure.json", list, notes)),
        calibration=_json(seen / "calibration.json", dict, notes) or {},
        suspects=_json(seen / "suspects.json", dict, notes) or {},
        looks=_dicts(_json(seen / "looks.json", list, notes)),
        filters=_json(seen / "filters.json", dict, notes) or {},
        detection=_json(seen / "detection.json", dict, notes) or {},
        drawn=_dicts(_json(seen / "drawn.json", list, notes)),
    )


def columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows of steps.jsonl as columns: numbers or None; `applied` as bool. Rows without a step are left out."""
    rows = list(rows)
    return _clean({name: [row.get(name) for row in rows] for name in COLUMNS})


def _clean(table: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    keep = [i for i, t in enumerate(table["t"]) if _step(t) is not None]
    return {name: [table[name][i] is not False if name == "applied" else finite(table[name][i]) for i in keep] for name in COLUMNS}


def clean_scores(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """Rows of scores.jsonl with t and split; value and the entries of `all` are finite numbers or None."""
    kept = []
    for row in _dicts(rows):
        if _step(row.get("t")) is None or not isinstance(row.get("split"), str):
            continue
        found = row.get("all")
        every = found if isinstance(found, dict) else {}
        kept.append(
            {
                "t": int(row["t"]),
                "split": row["split"],
                "name": str(row.get("name", "score")),
                "higher": row.get("higher") is not False,
                "value": finite(row.get("value")),
                "all": {str(k): finite(v) for k, v in every.items()},
                "seconds": finite(row.get("seconds")),
            }
        )
    return kept


def events(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """Rows of findings.jsonl or actions.jsonl with a step; texts are strings, `evidence` is a dict."""
    kept = []
    for row in _dicts(rows):
        t = _step(row.get("t"))
        if t is None:
            continue
        texts = {k: "" if row.get(k) is None else str(row[k]) for k in ("name", "level", "what", "why", "remedy", "dial", "by")}
        for k in ("what", "why"):  # the step is shown beside the text
            texts[k] = texts[k].removeprefix(f"step {int(t)}: ")
        evidence = row.get("evidence")
        kept.append(
            {
                **texts,
                "t": int(t),
                "before": finite(row.get("before")),
                "after": finite(row.get("after")),
                "evidence": evidence if isinstance(evidence, dict) else {},
            }
        )
    return kept


def _step(value: object) -> int | None:
    """A step number, None for what cannot be one."""
    t = finite(value)
    return int(t) if t is not None and 0.0 <= t < 2.0**53 else None


def _dicts(rows: Any) -> list[dict[str, Any]]:
    return [row for row in rows or () if isinstance(row, dict)]


def _settings(folder: Path, notes: list[str]) -> dict[str, Any]:
    try:
        return configuration.read(folder)
    except Trouble as trouble:
        notes.append(f"The configuration is unknown: {_without(folder, trouble)}.")
        return {}


def _json(path: Path, kind: type, notes: list[str]) -> Any:
    """The content of a JSON file, None if there is none or it is not what it should be."""
    try:
        value = strict.read(path, limit=LARGEST, nodes=VALUES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Trouble as trouble:
        notes.append(f"Left out: {_without(path.parent, trouble)}.")
        return None
    if not isinstance(value, kind):
        notes.append(f"Left out: {path.name} does not hold what it should.")
        return None
    return value


def _steps(path: Path, notes: list[str]) -> dict[str, list[Any]]:
    """The columns of steps.jsonl, by the fast reader if the file is sound."""
    try:
        table = log.columns(path, COLUMNS)
    except Trouble:
        return columns(_salvage(path, notes))
    _torn(path, notes)
    return _clean(table)


def _rows(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    try:
        rows = log.read(path)
    except Trouble:
        return list(_salvage(path, notes))
    _torn(path, notes)
    return rows


def _torn(path: Path, notes: list[str]) -> None:
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
    except OSError:
        return  # no such file, or an empty one
    if torn:
        notes.append(f"The last line of {path.name} is torn, as a kill leaves it, and was left out.")


def _salvage(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a damaged log that can still be read."""
    try:
        lines = bytes(disk.read(path, log.LIMIT)).split(b"\n")
    except OSError as error:
        notes.append(f"{path.name} could not be read ({disk.why(error)}).")
        return
    bad = 0
    for line in filter(bytes.strip, lines):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield row
        else:
            bad += 1
    if bad:
        notes.append(f"{plural(bad, 'line')} of {path.name} could not be read and {'was' if bad == 1 else 'were'} left out.")


def _without(folder: Path, trouble: Trouble) -> str:
    """The line of a trouble, without the path of the folder in front."""
    return str(trouble).replace(f"{printable(folder)}{os.sep}", "").replace(f"{folder}{os.sep}", "").partition("; ")[0]


def _checkpoints(folder: Path) -> list[str]:
    try:
        return sorted(e.name for e in os.scandir(folder) if e.name.startswith("step-") and e.name[5:].isdigit())
    except OSError:
        return []
