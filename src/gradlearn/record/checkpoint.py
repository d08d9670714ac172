"""The whole state of a run at step t, committed as one folder: it is there completely, or it is not there.

    checkpoints/step-000000001200/{model,update,average,task,ring}.safetensors  state.json  MANIFEST.json

Files are written under a spare name, the manifest with their sizes and SHA-256 last, and fsynced; one rename makes the
folder appear. There is no pointer to the latest: the newest step whose manifest verifies is the latest. A damaged step
is set aside, never deleted, and the one before it is used. The caller holds the lock of the run (`folder.lock`).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlearn.errors import CheckpointTrouble, NumericsTrouble, ResourceTrouble
from gradlearn.record import disk, strict, tensors
from gradlearn.record.filling import filling
from gradlearn.record.strict import Malformed

if TYPE_CHECKING:
    from torch import Tensor

    Parts = Mapping[str, Mapping[str, Tensor]]

FORMAT = 1
PARTS = ("model", "update", "average", "task", "ring")
STATE = "state.json"
MANIFEST = "MANIFEST.json"
SPARE = 16 << 20  # bytes of the disk that a checkpoint leaves to others
_STEP = re.compile(r"step-(\d{12})(?:\.old)?")
_CORRUPT = re.compile(r"step-\d{12}(?:\.old)?\.corrupt(?:-\d+)?")
_FILES = {f"{part}.safetensors": part for part in PARTS} | {STATE: ""}


class SaveFailed(ResourceTrouble):
    """This checkpoint could not be written; those before it are as they were, and the run may go on."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint that verified."""

    t: int
    parts: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    warnings: list[str] = field(default_factory=list)  # what was found damaged on the way, a line each


class _Incomplete(Malformed):
    """Files are missing."""


# ---- saving


def save(folder: Path, t: int, parts: Parts, state: dict[str, Any], keep: int = 3, infinite: Collection[str] | None = None) -> Path:
    """Commit the state at step t; then forget all but the newest `keep` steps.

    parts: {"model": {name: tensor}, ...}, names of `PARTS` only; tensors may be views, on any device, in any strides.
    state: what JSON can hold exactly; finite. infinite: "part/name" of tensors that may hold infinities, None: any may.
    Raises NumericsTrouble for a NaN, SaveFailed where the disk did not take it (after a second try with new files).
    """
    if keep < 1 or not 0 <= t < 10**12:
        raise ValueError(f"keep {keep} must be at least 1, step {t} in 0..10^12")
    _finite(folder, t, parts, infinite)
    packed = {part: tensors.Packed(parts[part]) for part in PARTS if part in parts}
    if len(packed) != len(parts):
        raise ValueError(f"parts {sorted(parts)}: only {', '.join(PARTS)} are stored")
    text = strict.document(state, indent=1)
    home, failed = folder / "checkpoints", None
    for _ in range(2):
        try:
            disk.make_folder(home)
            _room(home, sum(part.size for part in packed.values()) + len(text))
            path = _commit(home, t, packed, text)
        except OSError as error:
            failed = failed or error
            if isinstance(error, SaveFailed):
                break
        else:
            _prune(home, keep, path)
            return path
    assert failed is not None
    raise _failure(folder, failed) from failed


def infinities(parts: Parts) -> frozenset[str]:
    """ "part/name" of all tensors that hold an infinity: taken before the first step, what `save` shall allow."""
    return frozenset(f"{part}/{name}" for part, group in parts.items() for name in tensors.infinities(group))


def _finite(folder: Path, t: int, parts: Parts, infinite: Collection[str] | None) -> None:
    for part, group in parts.items():
        fault = tensors.fault(group, lambda name, part=part: infinite is None or f"{part}/{name}" in infinite)
        if fault:
            what = f"{part} tensor {fault}, not saved{_last(folder)}"
            raise NumericsTrouble(f"{folder}: step {t}: {what}; lower --lr or check the data")


def _room(home: Path, size: int) -> None:
    need, free = size * 11 // 10 + SPARE, disk.free(home)
    if free < need:
        what = f"disk has {free / 1e6:.1f} MB free, a checkpoint needs {need / 1e6:.1f} MB; free space"
        raise SaveFailed(f"{home.parent}: {what}")


def _commit(home: Path, t: int, packed: Mapping[str, tensors.Packed], text: bytes) -> Path:
    tmp, final = disk.spare(home, "tmp", t), home / f"step-{t:012d}"
    try:
        with filling(tmp) as new:
            files = {f"{part}.safetensors": each for part, each in packed.items()}
            written = {name: new(name, each.chunks()) for name, each in files.items()}
            written[STATE] = new(STATE, [text])
            new(MANIFEST, [_manifest(t, written)])
        disk.put(tmp, final)
    except OSError:
        with contextlib.suppress(OSError):
            disk.remove(tmp)
        raise
    return final


def _manifest(t: int, written: Mapping[str, tuple[int, str]]) -> bytes:
    files = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in written.items()}
    return strict.document(strict.sealed({"format": FORMAT, "step": t, "files": files}), indent=1)


def _prune(home: Path, keep: int, newest: Path) -> None:
    """Forget old steps: only what bears our name and a manifest. A failure leaves a folder too many: no harm."""
    with contextlib.suppress(OSError):
        disk.sweep(home)
        steps = [path for path in _steps(home) if path != newest and (path / MANIFEST).is_file()]
        stale = [path for path in steps if path.suffix == ".old" and path.with_suffix("").is_dir()]
        for path in stale + [path for path in steps if path not in stale][keep - 1 :]:
            disk.remove(path)


def _failure(folder: Path, error: OSError) -> SaveFailed:
    if isinstance(error, SaveFailed):
        return error
    return SaveFailed(disk.refusal(folder, error, f"checkpoint{_last(folder)}"))


def _last(folder: Path) -> str:
    try:
        steps = _steps(folder / "checkpoints")
    except OSError:
        steps = []
    return f", last good step {_number(steps[0])}" if steps else ""


# ---- loading


def newest(folder: Path) -> Loaded | None:
    """The newest checkpoint that verifies, None if there never was one; damaged ones are renamed `step-….corrupt`.

    Raises CheckpointTrouble if none of those there is valid, or the newest was written by a newer program.
    """
    home, bad, incomplete = folder / "checkpoints", [], 0
    if not home.is_dir():
        return None
    disk.sweep(home)
    for path in _steps(home):
        try:
            parts, state = _load(path, _number(path))
        except (Malformed, OSError) as error:
            incomplete += isinstance(error, _Incomplete)
            bad.append(f"{path}: {error if isinstance(error, Malformed) else f'cannot be read ({disk.why(error)})'}")
            if isinstance(error, Malformed):
                _set_aside(path)
            continue
        return Loaded(_number(path), parts, state, [f"{line}; using {path.name}" for line in bad])
    damaged = sum(bool(_CORRUPT.fullmatch(name)) for name in os.listdir(home)) - incomplete
    damaged = max(damaged, len(bad) - incomplete)
    if damaged or incomplete:
        raise CheckpointTrouble(
            f"{home}: no valid checkpoint ({damaged} damaged, {incomplete} incomplete); start anew or restore a copy"
        )
    return None


def _steps(home: Path) -> list[Path]:
    """Step folders, newest first; a replaced `step-N.old` after `step-N`. Links are none."""
    names = [name for name in os.listdir(home) if _STEP.fullmatch(name)]
    paths = [home / name for name in sorted(names, key=lambda name: (name[:17], name[17:] == ""), reverse=True)]
    return [path for path in paths if stat.S_ISDIR(os.lstat(path).st_mode)]


def _number(path: Path) -> int:
    return int(path.name[5:17])


def _load(path: Path, t: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    names = set(os.listdir(path))
    if MANIFEST not in names:
        raise _Incomplete(f"{MANIFEST} is missing (incomplete)")
    files = _verified(path, t)
    if names - {MANIFEST} != set(files):
        odd = sorted(names - {MANIFEST} ^ set(files))[0]
        if odd in files:
            raise _Incomplete(f"{odd} is missing (incomplete)")
        raise Malformed("has a file that is not in its manifest (damaged)")
    for name, entry in files.items():  # sizes first: a file of another size need not be read
        info = os.lstat(path / name)
        if not stat.S_ISREG(info.st_mode) or info.st_size != entry["bytes"]:
            raise Malformed(f"{name} has {info.st_size} bytes, not {entry['bytes']} (damaged)")
    parts, state = {}, {}
    for name, entry in files.items():
        data = disk.read(path / name, entry["bytes"])
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise Malformed(f"{name} hash differs (damaged)")
        if name == STATE:
            state = strict.parse(data)
        else:
            parts[_FILES[name]] = tensors.unpack(data)
    return parts, state


def _verified(path: Path, t: int) -> dict[str, dict[str, Any]]:
    """The files of a manifest: {name: {"bytes", "sha256"}}."""
    data = disk.read(path / MANIFEST, 1 << 16)
    manifest = strict.parse(data)
    if not strict.intact(manifest, data):
        raise Malformed(f"{MANIFEST} hash differs (damaged)")
    if manifest["format"] > FORMAT:
        what = f"format {manifest['format']} is newer than this program ({FORMAT})"
        raise CheckpointTrouble(f"{path}: {what}; upgrade it")
    files = manifest.get("files")
    if manifest.get("step") != t:
        raise Malformed(f"{MANIFEST} is of another step (damaged)")
    if type(files) is not dict or STATE not in files or not set(files) <= set(_FILES):
        raise Malformed(f"{MANIFEST} lists files that are none of ours (damaged)")
    if not all(type(entry) is dict and type(entry.get("bytes")) is int and "sha256" in entry for entry in files.values()):
        raise Malformed(f"{MANIFEST} lists files without size and hash (damaged)")
    return files


def _set_aside(path: Path) -> None:
    """Rename a bad step, never delete it: a person may still want what can be saved of it."""
    taken = set(os.listdir(path.parent))
    names = (path.name + ".corrupt" + (f"-{i}" if i else "") for i in itertools.count())
    with contextlib.suppress(OSError):  # on a disk that is read-only it stays, and is passed over again
        disk.rename(path, path.with_name(next(name for name in names if name not in taken)))
