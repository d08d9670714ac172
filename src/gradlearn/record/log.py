"""The log of a run: one JSON object a line, appended, never rewritten; on resume cut back to what the checkpoint knows.

    steps.jsonl  scores.jsonl  findings.jsonl  actions.jsonl

Rows wait in memory and leave in one write. A torn last line (a kill amid a write) is dropped, other damage is an error.
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlearn.errors import CheckpointTrouble, ResourceTrouble
from gradlearn.record import disk, strict

if TYPE_CHECKING:
    from gradlearn.symbols import Step

LIMIT = 4 << 30  # bytes of a log: about 30 million steps
_BLOCK = 1 << 20
_STEP = ("t", "loss", "norm", "lr", "n", "epoch", "applied", "seconds")


class Log:
    """An append-only file of rows. Not for several writers: the run is locked."""

    def __init__(self, folder: Path, name: str) -> None:
        """Open FOLDER/NAME.jsonl, made if need be; a torn last line is cut off. Raises ResourceTrouble."""
        self.path = folder / f"{name}.jsonl"
        self._rows: list[str] = []
        self._rest = b""  # rows that a flush could not get rid of
        self._told = False  # whether a refusal of the disk has been reported
        self._sick = False  # whether an fsync of this file has failed
        try:
            self._fd = disk.open_log(self.path)
            data = disk.read(self.path, LIMIT)
            del data[data.rfind(b"\n") + 1 :]
            disk.truncate(self._fd, len(data))
        except OSError as error:
            raise self._trouble(error) from error
        self.size = len(data)  # bytes in the file; where the next row goes once `pending` is 0
        self._digest = hashlib.sha256(data)
        self._synced = -1 if self.size else 0  # nothing can be lost of an empty one

    @property
    def pending(self) -> int:
        """Rows not written yet."""
        return len(self._rows) + self._rest.count(b"\n")

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; it waits for `flush`. Non-finite numbers become null."""
        self._rows.append(strict.line(row))

    def add_step(self, step: Step) -> None:
        """Append a row of steps.jsonl, fast: 1 to 2 microseconds."""
        t, loss, norm, lr, n, epoch, applied, seconds, _ = step
        total = t + loss + norm + lr + n + epoch + seconds
        if type(total) is float and total - total == 0.0:  # all are plain and finite
            self._rows.append(
                f'{{"t":{t},"loss":{loss!r},"norm":{norm!r},"lr":{lr!r},"n":{n},"epoch":{epoch!r},'
                f'"applied":{"true" if applied else "false"},"seconds":{seconds!r}}}\n'
            )
        else:
            self.add(dict(zip(_STEP, (t, loss, norm, lr, n, epoch, bool(applied), seconds), strict=True)))

    def flush(self) -> None:
        """Hand the rows to the system in one write. Raises ResourceTrouble once if the disk refuses; the rows stay here
        and are tried again with every flush, in silence until one has worked.
        """
        if self._rows:
            self._rest += "".join(self._rows).encode("ascii")
            self._rows.clear()
        if not self._rest:
            return
        done, error = disk.append(self._fd, self._rest)
        self._digest.update(self._rest[:done])
        self._rest = self._rest[done:]
        self.size += done
        if error is None:
            self._told = False
        elif not self._told:
            self._told = True
            raise self._trouble(error) from error

    def sync(self) -> int:
        """Flush, wait until a power cut cannot take it; the size in bytes then. Raises ResourceTrouble every time."""
        try:
            self._told = False
            self.flush()
            if self._synced != self.size:
                self._renew() if self._sick else self._settle()
        except ResourceTrouble:
            raise
        except OSError as error:
            raise self._trouble(error) from error
        self._synced = self.size
        return self.size

    def close(self) -> None:
        """Flush and close. Raises ResourceTrouble if rows are lost by that."""
        if self._fd < 0:
            return
        self._told = False
        try:
            self.flush()
        finally:
            fd, self._fd = self._fd, -1
            try:
                disk.close(fd)
            except OSError as error:
                raise self._trouble(error) from error

    def _settle(self) -> None:
        try:
            disk.sync(self._fd)
        except OSError:
            self._sick = True
            raise

    def _renew(self) -> None:
        """Once an fsync has failed, the next may lie: go on in a new file with the same bytes."""
        data = disk.read(self.path, LIMIT)
        if hashlib.sha256(data).digest() != self._digest.digest():
            raise OSError(errno.EIO, "rows written before are lost")
        disk.replace(self.path, data)
        fd, self._fd = self._fd, disk.open_log(self.path)
        self._sick = False
        disk.close(fd)

    def _trouble(self, error: OSError) -> ResourceTrouble:
        return ResourceTrouble(disk.refusal(self.path, error))


# ---- reading


def read(path: Path, *, limit_bytes: int = LIMIT) -> list[dict[str, Any]]:
    """All rows of a log; none if there is no such file. Raises CheckpointTrouble for anything but a torn last line."""
    return [row for line in _lines(path, limit_bytes) for row in [_row(path, *line)]]


def columns(path: Path, names: Sequence[str], *, limit_bytes: int = LIMIT) -> dict[str, list[Any]]:
    """Some fields of all rows, as lists of equal length with None where a row lacks one: fast on a long steps.jsonl."""
    table: dict[str, list[Any]] = {name: [] for name in names}
    pattern = _pattern(tuple(name for name in _STEP if name in table))
    wanted = [name for name in _STEP if name in table]
    for first, block in _blocks(path, limit_bytes):
        found = pattern.findall(block) if len(wanted) == len(table) else []
        if found and len(found) == block.count(b"\n"):
            for i, name in enumerate(wanted):
                convert = _CONVERT[name]
                table[name] += [convert(row[i + 1]) for row in found]
        else:
            for i, line in enumerate(block.split(b"\n")[:-1]):
                row = _row(path, first + i, line)
                for name, column in table.items():
                    column.append(row.get(name))
    return table


def rewind(path: Path, offset: int, t: int) -> list[dict[str, Any]]:
    """Cut a log at `offset`, where the checkpoint of step t was made; the rows behind it, which are kept in
    NAME.lost-t.jsonl. They were never promised: what a power cut left of them ends at the first line that is none.

    Raises CheckpointTrouble if the log ends before `offset` or has no line end there, ResourceTrouble.
    """
    try:
        data = disk.read(path, LIMIT) if offset or path.exists() else bytearray()
        if len(data) < offset or (offset and data[offset - 1] != ord("\n")):
            raise CheckpointTrouble(f"{path}: damaged before byte {offset}, the end at step {t}; restore a copy")
        rows, tail = _promised(bytes(data[offset:]))
        if tail:
            _keep(lost_path(path, t), tail)
        if len(data) > offset:
            fd = disk.open_log(path)
            try:
                disk.truncate(fd, offset)
            finally:
                disk.close(fd)
    except FileNotFoundError:
        what = f"file not found, step {t} needs {offset} bytes of it"
        raise CheckpointTrouble(f"{path}: {what}; restore a copy") from None
    except OSError as error:
        raise ResourceTrouble(f"{path}: cannot be cut at byte {offset} ({disk.why(error)}); check the disk") from error
    return rows


def lost_path(path: Path, t: int) -> Path:
    """Where the rows go that a resume from step t cut off."""
    return path.with_name(f"{path.stem}.lost-{t}.jsonl")


def _keep(path: Path, tail: bytes) -> None:
    """Append rows that were cut off; not again if a kill between this and the cut brings them here twice."""
    fd = disk.open_log(path)
    try:
        before = disk.read(path, LIMIT)
        if not before.endswith(tail):
            disk.truncate(fd, before.rfind(b"\n") + 1)
            disk.write_all(fd, tail)
            disk.sync(fd)
    finally:
        disk.close(fd)
    disk.sync_folder(path.parent)


def _promised(tail: bytes) -> tuple[list[dict[str, Any]], bytes]:
    rows, size = [], 0
    for line in tail.split(b"\n")[:-1]:
        try:
            row = strict.parse(line)
        except strict.Malformed:
            break
        if type(row) is not dict:
            break
        rows.append(row)
        size += len(line) + 1
    return rows, tail[:size]


def _blocks(path: Path, limit: int) -> Iterator[tuple[int, bytes]]:
    """(number of its first line, about a megabyte of whole lines)."""
    try:
        data = disk.read(path, limit)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CheckpointTrouble(f"{path}: cannot be read ({disk.why(error)}); restore a copy") from None
    start, first, last = 0, 1, data.rfind(b"\n") + 1
    while start < last:
        end = data.find(b"\n", min(start + _BLOCK, last) - 1) + 1
        block = bytes(data[start:end])
        yield first, block
        first += block.count(b"\n")
        start = end


def _lines(path: Path, limit: int) -> Iterator[tuple[int, bytes]]:
    for first, block in _blocks(path, limit):
        yield from enumerate(block.split(b"\n")[:-1], first)


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = strict.parse(line)
        if type(row) is not dict:
            raise strict.Malformed("not a JSON object")
    except strict.Malformed as error:
        raise CheckpointTrouble(f"{path}:{number}: {error}; restore a copy") from None
    return row


def _pattern(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """A line as `add_step` writes it, with a group for each of these fields after the first, which is empty."""
    whole = r"(?:0|[1-9]\d{0,17})"
    number = rf"-?{whole}(?:\.\d+)?(?:e[+-]\d\d|e-\d\d\d)?|null"
    shapes = {"t": whole, "n": whole, "applied": "true|false"}
    fields = (f'"{name}":({"" if name in names else "?:"}{shapes.get(name, number)})' for name in _STEP)
    return re.compile((r"^()\{" + ",".join(fields) + r"\}$").encode(), re.MULTILINE)


def _number(text: bytes) -> float | None:
    return None if text == b"null" else float(text)


_CONVERT: dict[str, Any] = dict.fromkeys(_STEP, _number) | {"t": int, "n": int, "applied": b"true".__eq__}
