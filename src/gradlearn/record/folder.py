"""The run folder itself: made, found, locked by one process, discarded if the run never started.

runs/images-001, runs/images-002, ...   or   RUNS/X with `--name X`
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from gradlearn.errors import CheckpointTrouble, InputTrouble, ResourceTrouble, nearest, printable
from gradlearn.record import disk

SETTINGS = "run.toml"
_LOGS = ("steps", "scores", "findings", "actions")
_OURS = {SETTINGS, ".lock", ".reserve", "checkpoints", "pictures", *(f"{name}.jsonl" for name in _LOGS)}
_PICTURE = re.compile(r"[a-z0-9][a-z0-9_-]*\.(?:png|json)")
_held: set[int] = set()


def create(runs: Path, task: str, name: str | None = None) -> Path:
    """Make the folder of a new run: RUNS/name, else RUNS/task-001 or the next free number, whoever else does so too.

    Raises InputTrouble for a name that is taken or cannot be one, ResourceTrouble if the disk refuses.
    """
    with _refusals(runs):
        _parents(runs)
        return _numbered(runs, task) if name is None else _named(runs, name)


def begin(runs: Path, task: str, name: str | None, fill: Callable[[Path], None]) -> Path:
    """As `create`, but the folder appears with what `fill` writes into it: whoever sees it can resume it.

    It is made under a hidden name first; a process killed before the rename leaves no run.
    """
    with _refusals(runs):
        _parents(runs)
        if name is not None:
            check_name(runs, name)
        tmp = disk.spare(runs, "tmp", name or task)
        disk.make_private(tmp)
        try:
            fill(tmp)
            return _appear(tmp, runs, task, name)
        except BaseException:
            disk.remove(tmp)
            raise


def _appear(tmp: Path, runs: Path, task: str, name: str | None) -> Path:
    """Give the filled folder its name: the next free number, if a name was not asked for."""
    number = _last(runs, task) + 1
    while True:
        folder = runs / (name or f"{task}-{number:03d}")
        if name is not None and folder.is_dir() and not os.listdir(folder):
            disk.remove(folder)
        try:
            disk.put_new(tmp, folder)
        except FileExistsError:
            if name is not None:
                raise _taken(folder) from None
            number += 1
            continue
        return folder


def _parents(runs: Path) -> None:
    for folder in reversed([runs, *runs.parents]):
        if not folder.is_dir() and not disk.make_folder(folder) and not folder.is_dir():
            raise InputTrouble(f"{printable(folder)}: is not a folder; choose another with --runs DIR")


@contextlib.contextmanager
def _refusals(runs: Path) -> Iterator[None]:
    try:
        yield
    except (InputTrouble, ResourceTrouble):
        raise
    except OSError as error:
        what = f"cannot make a run folder ({disk.why(error)}); choose another with --runs DIR"
        raise ResourceTrouble(f"{printable(runs)}: {what}") from error


def open_run(path: Path) -> Path:
    """The folder of an existing run. Raises InputTrouble with the nearest name among its neighbours."""
    if (path / SETTINGS).is_file():
        return path
    runs = path.parent
    with contextlib.suppress(OSError):
        known = [entry.name for entry in os.scandir(runs) if (Path(entry.path) / SETTINGS).is_file()]
        hint = nearest(path.name, known) if known else ""
        if len(hint) > 200:
            hint = f"; {len(known)} runs are in {printable(runs)}"
        what = f"not a run folder (no {SETTINGS})" if path.exists() else "run not found"
        raise InputTrouble(f"{printable(path)}: {what}{hint or '; give the folder of a run'}")
    raise InputTrouble(f"{printable(path)}: run not found; give the folder of a run")


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the run: one process writes it. Freed by the system however the process ends. Raises CheckpointTrouble."""
    try:
        fd = disk.open_log(folder / ".lock")
    except OSError as error:
        what = f"cannot be locked ({disk.why(error)}); check its permissions"
        raise ResourceTrouble(f"{printable(folder)}: {what}") from error
    try:
        _claim(folder, fd)
        _held.add(fd)
        yield
    finally:
        _held.discard(fd)
        disk.close(fd)


def discard(folder: Path) -> bool:
    """Remove the folder of a run that made no step: only files that we made; False if there is more, and it stays."""
    try:
        disk.sweep(folder)
        names = set(os.listdir(folder))
        if not names <= _OURS or _started(folder):
            return False
        for name in ("pictures", "checkpoints"):
            disk.remove(folder / name)
        for name in sorted(names - {"pictures", "checkpoints"}):
            disk.remove(folder / name)
        disk.remove(folder)
    except OSError:
        return False
    return True


def _started(folder: Path) -> bool:
    """Whether a step was logged or a checkpoint made, or somebody put something of his own into the folder."""
    for name in _LOGS:
        path = folder / f"{name}.jsonl"
        if os.path.lexists(path) and os.lstat(path).st_size:
            return True
    pictures, checkpoints = folder / "pictures", folder / "checkpoints"
    foreign = pictures.is_dir() and not all(_PICTURE.fullmatch(name) for name in os.listdir(pictures))
    return foreign or (checkpoints.is_dir() and bool(os.listdir(checkpoints)))


def _numbered(runs: Path, task: str) -> Path:
    number = _last(runs, task) + 1
    while not disk.make_folder(runs / f"{task}-{number:03d}"):
        number += 1
    return runs / f"{task}-{number:03d}"


def _last(runs: Path, task: str) -> int:
    """The highest number that a run of this task has, 0 without any."""
    pattern = re.compile(re.escape(task) + r"-(\d{3,9})")
    return max((int(match[1]) for name in os.listdir(runs) if (match := pattern.fullmatch(name))), default=0)


def _named(runs: Path, name: str) -> Path:
    folder = check_name(runs, name)
    disk.make_folder(folder)
    return folder


def _taken(folder: Path) -> InputTrouble:
    return InputTrouble(f"{folder}: exists; choose another --name or resume it with: gradlearn resume {folder}")


def check_name(runs: Path, name: str) -> Path:
    """RUNS/name, if that can be the name of a new run. Raises InputTrouble."""
    if not 0 < len(name.encode()) <= 200 or not name.isprintable() or name[0] in ".-" or set(name) & set("/\\"):
        what = "no slash, no control character, no dot or dash in front"
        raise InputTrouble(f"--name '{printable(name)}': cannot be a name; {what}")
    folder = runs / name
    if os.path.lexists(folder) and (not folder.is_dir() or os.listdir(folder)):
        raise _taken(folder)
    return folder


def _claim(folder: Path, fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            what = f"cannot be locked ({disk.why(error)}); use a folder on a disk of this machine"
            raise ResourceTrouble(f"{printable(folder)}: {what}") from error
        owner = os.pread(fd, 20, 0)
        process = f"process {int(owner)}" if owner.strip().isdigit() else "another process"
        raise CheckpointTrouble(f"{printable(folder)}: locked by {process}; stop it or use another --name") from None
    with contextlib.suppress(OSError):  # the number is for people; a full disk must not keep a run from its end
        disk.truncate(fd, 0)
        disk.write_all(fd, b"%d\n" % os.getpid())


def _let_go() -> None:
    """A forked child (a worker) must not hold the lock of a parent that was killed."""
    for fd in _held:
        disk.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
