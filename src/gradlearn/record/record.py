"""What a training loop holds of its run folder: rows go in, checkpoints are committed, a resume gives everything back.

    with folder.lock(path), Record(path) as record:
        for step in train(...):
            record.step(step)

A log row that the disk refuses waits in memory and a failed checkpoint is a warning, so that the run goes on; the third
failed checkpoint in a row ends it (ResourceTrouble, exit code 5).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gradlearn.errors import CheckpointTrouble, ResourceTrouble
from gradlearn.record import checkpoint, disk, log, strict
from gradlearn.record.checkpoint import Loaded

if TYPE_CHECKING:
    from gradlearn.record.checkpoint import Parts
    from gradlearn.symbols import Action, Finding, Score, Step

LOGS = ("steps", "scores", "findings", "actions")
ROWS = 500  # steps that wait at most,
SECONDS = 1.0  # and how long
FAILURES = 3  # checkpoints in a row
RESERVE = 1 << 20  # bytes held for the last rows of a run whose disk is full
_NAME = re.compile(r"(?:pictures/)?[a-z0-9][a-z0-9_-]*\.json")


class Record:
    """The open run folder of one run. The caller holds its lock."""

    def __init__(self, folder: Path, *, keep: int = 3, warn: Callable[[str], None] | None = None, _resumed: bool = False) -> None:
        """A folder fresh from `folder.create`. keep: checkpoints kept; warn: told of every warning, a line each."""
        self.folder = folder
        self.warnings: list[str] = []
        self.saved: int | None = None  # step of the newest checkpoint of this run
        self.infinite: Collection[str] | None = None  # see `checkpoint.save`
        self._keep, self._tell = keep, warn
        self._failed = self._waiting = 0
        self._age, self._last = 0.0, -1
        if not _resumed and any(_filled(folder / f"{name}.jsonl") for name in LOGS):
            raise CheckpointTrouble(f"{folder}: has a run already; resume it with: gradlearn resume {folder}")
        self._logs = {name: log.Log(folder, name) for name in LOGS}
        self._steps = self._logs["steps"]
        disk.reserve(folder / ".reserve", RESERVE)
        if _resumed or (folder / "checkpoints").exists():  # else the names of the logs become durable with the first checkpoint's
            try:
                disk.sync_folder(folder)
            except OSError as error:
                raise ResourceTrouble(disk.refusal(folder, error)) from error

    @classmethod
    def resume(
        cls, folder: Path, *, keep: int = 3, warn: Callable[[str], None] | None = None
    ) -> tuple[Record, Loaded | None, dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
        """Come back after any end: the record, the newest checkpoint that verifies (None: start at step 0), all rows up
        to it by log, and the actions logged behind it, of which those that a clock or a user decided must be replayed.

        Raises CheckpointTrouble where there are checkpoints or rows but damaged ones, ResourceTrouble.
        """
        loaded = checkpoint.newest(folder)
        offsets = dict.fromkeys(LOGS, 0)
        if loaded is not None:
            found = loaded.state.get("log")
            if type(found) is not dict or set(found) != set(LOGS) or not all(type(n) is int for n in found.values()):
                what = f"checkpoint of step {loaded.t} has no places in the logs"
                raise CheckpointTrouble(f"{folder}: {what}; start anew")
            offsets = found
            loaded = replace(loaded, state={key: item for key, item in loaded.state.items() if key != "log"})
        t = loaded.t if loaded else 0
        disk.sweep(folder)
        for name in LOGS:
            log.rewind(folder / f"{name}.jsonl", offsets[name], t)
        rows = {name: log.read(folder / f"{name}.jsonl") for name in LOGS}
        record = cls(folder, keep=keep, warn=warn, _resumed=True)
        record._last = _increasing(folder, rows["steps"])
        record.saved = loaded.t if loaded else None
        for line in loaded.warnings if loaded else ():
            record._warn(line)
        return record, loaded, rows, _lost(folder, t)

    def step(self, step: Step) -> None:
        """Log a step. t strictly increases."""
        if step.t <= self._last:
            raise ValueError(f"step {step.t} after step {self._last}: t never goes back")
        self._last = step.t
        self._steps.add_step(step)
        self._waiting += 1
        self._age += step.seconds
        if self._waiting >= ROWS or self._age >= SECONDS:
            self.flush()

    def score(self, t: int, split: str, score: Score, seconds: float) -> None:
        """Log a score on "valid", "train" or "test" after t steps, and how long the scoring took."""
        row = {"t": t, "split": split, "name": score.name, "higher": score.higher, "value": score.value}
        self._add("scores", row | {"all": dict(score.all), "seconds": seconds})

    def finding(self, finding: Finding) -> None:
        """Log what a check said."""
        row = {name: getattr(finding, name) for name in ("t", "name", "level", "what", "why", "remedy")}
        self._add("findings", row | {"evidence": dict(finding.evidence)})

    def action(self, action: Action) -> None:
        """Log what was done about it."""
        names = ("t", "name", "why", "dial", "before", "after", "by")
        self._add("actions", {name: getattr(action, name) for name in names})

    def checkpoint(self, t: int, parts: Parts, state: Mapping[str, Any]) -> bool:
        """Commit the state after t steps, with the places in the logs that belong to it; whether it is safe now.

        Raises ResourceTrouble at the third failure in a row, NumericsTrouble if the state is not finite.
        """
        if "log" in state:
            raise ValueError("state: the key 'log' is written by us")
        try:
            offsets = {name: one.sync() for name, one in self._logs.items()}
            self._waiting, self._age = 0, 0.0
            checkpoint.save(self.folder, t, parts, {**state, "log": offsets}, self._keep, self.infinite)
        except ResourceTrouble as error:
            self._failed += 1
            if self._failed >= FAILURES:
                what = f"{FAILURES} saves in a row failed"
                raise ResourceTrouble(f"{error}; {what}, go on with: gradlearn resume {self.folder}") from error
            self._warn(f"{error}; step {t} not saved, the run goes on (failure {self._failed}, {FAILURES} in a row end it)")
            return False
        self._failed, self.saved = 0, t
        return True

    def write_json(self, name: str, value: Any) -> None:
        """Write summary.json or pictures/NAME.json: old or new at every instant; non-finite numbers as null."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r}: only NAME.json and pictures/NAME.json are written")
        path = self.folder / name
        try:
            disk.make_folder(path.parent)
            disk.replace(path, strict.text(value))
        except OSError as error:
            raise ResourceTrouble(disk.refusal(path, error)) from error

    def flush(self) -> None:
        """Hand all rows to the system; a refusal is a warning, the rows wait."""
        self._waiting, self._age = 0, 0.0
        for one in self._logs.values():
            try:
                one.flush()
            except ResourceTrouble as error:
                self._warn(f"{error}; rows wait in memory, the run goes on")

    def close(self) -> None:
        """Flush and close. Raises ResourceTrouble if rows are lost."""
        failed: ResourceTrouble | None = None
        with contextlib.suppress(OSError):
            disk.remove(self.folder / ".reserve")
        for one in self._logs.values():
            try:
                one.close()
            except ResourceTrouble as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _add(self, name: str, row: dict[str, Any]) -> None:
        self._logs[name].add(row)
        self.flush()

    def _warn(self, line: str) -> None:
        self.warnings.append(line)
        if self._tell is not None:
            self._tell(line)


def _filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _increasing(folder: Path, rows: list[dict[str, Any]]) -> int:
    """The t of the last step, -1 if there is none."""
    last = -1
    for row in rows:
        t = row.get("t")
        if type(t) is not int or t <= last:
            raise CheckpointTrouble(f"{folder}/steps.jsonl: t does not increase after step {last}; restore a copy")
        last = t
    return last


def _lost(folder: Path, t: int) -> list[dict[str, Any]]:
    """Actions behind step t that an earlier life of this run logged, each once: also those of the life before the last,
    which a kill soon after a resume would have made forget them.
    """
    rows = log.read(log.lost_path(folder / "actions.jsonl", t))
    seen = {strict.line(row): row for row in rows}
    return sorted(seen.values(), key=lambda row: row.get("t", 0))
