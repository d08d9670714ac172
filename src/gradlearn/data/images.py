"""The door for pictures with labels: find out what a path is, and read it into uint8 pixels, labels and a split.

pictures = read("data/flowers")                  # image folder, IDX folder, image Parquet; None: scikit-learn's digits
x = take(pixels, pictures.split["train"][:128])  # (128, h, w, c) uint8
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gradlearn.data.apart import Apart
from gradlearn.data.classes import enough, matched
from gradlearn.data.digits import read_digits
from gradlearn.data.fill import Filled, Wish, fill
from gradlearn.data.folder import Walk, batched, claims, read_folder
from gradlearn.data.header import MAX_PIXELS
from gradlearn.data.idx import is_idx, read_idx
from gradlearn.data.name import Chain
from gradlearn.data.parquet import holds_parquet, is_parquet, read_parquet
from gradlearn.data.place import irregular, refused, roots, scan
from gradlearn.data.reject import Bad, Reject, reject
from gradlearn.data.source import PARTS, Found, Part, joined
from gradlearn.data.split import divide, share
from gradlearn.data.stored import Stored
from gradlearn.errors import InputTrouble, printable

Where = str | os.PathLike[str]
LARGEST_SIZE = 4096
FEW = 500  # pictures to divide below which none are set aside for valid: a tenth of them tells nothing, and is missed in training


@dataclass(frozen=True)
class Pictures:
    """Pictures with labels, decoded: N examples, each in one of train, valid and test."""

    pixels: np.ndarray | Stored | Apart  # (N, H, W, C) uint8, C 1 or 3
    labels: np.ndarray  # (N,) into `classes`: uint8 up to 256 of them, else int32
    classes: tuple[str, ...]
    files: Sequence[str]  # a name for each example
    split: dict[str, np.ndarray]  # "train", "valid", "test": (k,) int32 into N, disjoint, complete
    kind: str  # digits, folder, idx or parquet
    source: str  # what was read, as it was given
    notes: list[dict[str, Any]]  # lint rows of the reading: skipped, scaled, passed over
    fingerprint: str  # SHA-256 over names, sizes, labels and contents; not over times or places

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one picture."""
        h, w, c = self.pixels.shape[1:]
        return h, w, c

    def __len__(self) -> int:
        return len(self.labels)


def read(
    path: Where | None,
    *,
    valid: float | Where | None = None,
    test: float | Where | None = None,
    seed: int = 0,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    memory: int | None = None,
    cache: Where | None = None,
    skip_bad: float = 0.0,
    max_pixels: int = MAX_PIXELS,
    allow_empty_class: bool = False,
    follow_links_to: Where | None = None,
) -> Pictures:
    """Read pictures with labels; what kind of data the path holds is found out. None: scikit-learn's digits.

    `valid`, `test`: a share in [0, 1) of the training data, 0 for none, a path of any kind, or None: the given part if
    there is one, else, stratified, 20 % for test (from 10,000 examples on 10 %, at most 10,000) and 10 % of the rest (at
    most 2,500; none of fewer than 500 pictures) for valid. `size`: side, or (h, w), that all pictures are brought to.
    `channels`: 1 or 3; None: 1 where all are grey, else 3. `memory`: bytes of pixels beyond which they are kept in the
    file `cache`; of fewer, those for valid and test may be. `skip_bad`: share of unreadable pictures that may be left
    out. Raises InputTrouble, ResourceTrouble.
    """
    shares = {name: share(v, f"--{name}") for name, v in (("valid", valid), ("test", test)) if isinstance(v, (int, float))}
    wish = Wish(sized(size), channels, max_pixels, memory, cache, skip_bad)
    found = find(path, allow_empty_class=allow_empty_class, follow_links_to=follow_links_to)
    enough(found.classes, found.where)
    for name, given in (("valid", valid), ("test", test)):
        if name in shares and name in found.parts:
            found = _without(found, name, shares[name])
        elif isinstance(given, (str, os.PathLike)):
            other = find(given, allow_empty_class=True, follow_links_to=follow_links_to)
            found = _with(found, name, other)
    parts = {name: found.parts[name] for name in PARTS if name in found.parts}
    filled = fill(parts, wish, found.rejects, lambda kept: _held(parts, kept, shares, seed))
    pictures = _pictures(found, filled)
    _no_class_gone(pictures, allow_empty_class)
    return _divided(pictures, shares, seed)


def read_known(
    path: Where | None,
    *,
    classes: Sequence[str],
    size: int | tuple[int, int],
    channels: int,
    part: str = "test",
    memory: int | None = None,
    cache: Where | None = None,
    skip_bad: float = 0.0,
    max_pixels: int = MAX_PIXELS,
    follow_links_to: Where | None = None,
) -> Pictures:
    """Labelled pictures for a model that is there: its classes, size (h, w) and channels; all are `part` of the split.

    Of data with parts, that part is read; of undivided data, all. Raises InputTrouble, also for a foreign class.
    """
    other = find(path, allow_empty_class=True, follow_links_to=follow_links_to)
    found = _with(replace(other, classes=tuple(classes), parts={}, notes=[], rejects=[]), part, other)
    wish = Wish(sized(size), channels, max_pixels, memory, cache, skip_bad)
    return _pictures(found, fill(found.parts, wish, found.rejects))


def read_files(
    paths: Sequence[Where],
    size: int | tuple[int, int] | None,
    channels: int | None,
    *,
    skip_bad: float = 0.0,
    max_pixels: int = MAX_PIXELS,
    follow_links_to: Where | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Pixels (n, h, w, c) uint8 and a name for each, of picture files and of all pictures below folders.

    `size` None: a common one; `channels` None: 1 if all are grey, else 3. Raises InputTrouble with the lines of `read`.
    """
    names, files, rejects = listed(paths, follow_links_to)
    part = Part("", names, np.zeros(len(names), np.int64), lambda: iter(batched(files)))
    filled = fill({"test": part}, Wish(sized(size), channels, max_pixels, None, None, skip_bad), rejects)
    assert isinstance(filled.pixels, np.ndarray)
    return filled.pixels, [names[i] for i in filled.kept["test"].tolist()]


def listed(paths: Sequence[Where], follow_links_to: Where | None = None) -> tuple[list[str], list[str], list[Reject]]:
    """(names as given, real paths, what is none) of picture files and of all pictures below folders. Raises InputTrouble."""
    names: list[str] = []
    files: list[str] = []
    rejects: list[Reject] = []
    for path in map(Path, paths):
        info = _status(path, "file", "give an existing picture or folder")
        if stat.S_ISDIR(info.st_mode):
            walk = Walk(roots(path, follow_links_to))
            below = list(walk.files(os.path.realpath(path), str(path)))
            names += [joined(str(path), name) for name, _ in below]
            files += [file for _, file in below]
            rejects += walk.rejects
        elif not stat.S_ISREG(info.st_mode):
            raise InputTrouble(reject(str(path), irregular(info.st_mode)).line)
        else:
            names.append(str(path))
            files.append(os.path.realpath(path))
    if not names and not rejects:
        raise InputTrouble(f"{printable(', '.join(map(str, paths)) or 'no path')}: no pictures; give picture files or folders")
    return names, files, rejects


def find(path: Where | None, *, allow_empty_class: bool, follow_links_to: Where | None) -> Found:
    """What kind of data a path holds, its names and labels; no pixel is decoded. Raises InputTrouble."""
    if path is None:
        return read_digits()
    path = Path(path)
    parquet = is_parquet(path.name)
    info = _status(path, *(("file", "give an existing Parquet file") if parquet else ("folder", "give an existing image folder")))
    if not stat.S_ISDIR(info.st_mode):
        if not stat.S_ISREG(info.st_mode):
            raise InputTrouble(reject(str(path), irregular(info.st_mode)).line)
        if not parquet:
            raise _other_file(path)
        return read_parquet(path, follow_links_to=follow_links_to)
    if any(is_idx(entry.name) for entry in scan(str(path), str(path))):
        return read_idx(path, follow_links_to=follow_links_to)
    tables = holds_parquet(path)
    if tables is not None:
        return read_parquet(tables, follow_links_to=follow_links_to)
    return read_folder(path, allow_empty_class=allow_empty_class, follow_links_to=follow_links_to)


def sized(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """(h, w) of a side or of (h, w); raises InputTrouble outside 1 to 4096."""
    if size is None:
        return None
    h, w = (size, size) if isinstance(size, int) else size
    if not (1 <= h <= LARGEST_SIZE and 1 <= w <= LARGEST_SIZE):
        raise InputTrouble(f"--size {h}x{w}: must be 1 to {LARGEST_SIZE} pixels a side")
    return int(h), int(w)


def _status(path: Path, kind: str, remedy: str) -> os.stat_result:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise InputTrouble(f"{printable(path)}: {kind} not found; {remedy}") from None
    except (OSError, ValueError) as error:
        bad = refused(error) if isinstance(error, OSError) else Bad("not a path", remedy)
        raise InputTrouble(reject(str(path), bad).line) from None


def _other_file(path: Path) -> InputTrouble:
    name = path.name.lower()
    if is_idx(path.name) or "idx1-ubyte" in name:
        what, remedy = "one file of an IDX data set", f"give its folder, {path.parent}"
    elif claims(path.name):
        what, remedy = "one picture", "give a folder <class>/<file>, or `predict` it"
    elif name.endswith((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")):
        what, remedy = "archives are not unpacked", "unpack it and give the folder"
    else:
        what, remedy = "no picture data", "give an image folder, an IDX folder or a Parquet file"
    return InputTrouble(f"{printable(path)}: {what}; {printable(remedy)}")


def _without(found: Found, name: str, asked: float) -> Found:
    unused = len(found.parts[name].names)
    instead = " takes a share of train instead" if asked else ""
    what = f"the given {name} part ({unused} pictures) is not used: --{name} {asked:g}{instead}"
    note = {"level": "info", "what": what, "count": unused, "examples": []}
    parts = {part: value for part, value in found.parts.items() if part != name}
    return replace(found, parts=parts, notes=[*found.notes, note])


def _with(found: Found, name: str, other: Found) -> Found:
    """The data with the part `name` from another data set: its part of that name, or all if it is undivided."""
    chosen = name if name in other.parts else "train"
    if chosen == "train" and len(other.parts) > 1:
        have = ", ".join(other.parts)
        raise InputTrouble(f"{printable(other.where)}: has {have}, but nothing for {name}; give the folder that is meant")
    part = matched(other, chosen, found.classes)
    return replace(
        found,
        parts=found.parts | {name: part},
        notes=found.notes + other.notes,
        rejects=found.rejects + other.rejects,
    )


def _pictures(found: Found, filled: Filled) -> Pictures:
    """What was decoded, with each part as it was found."""
    parts = [(name, found.parts[name]) for name in PARTS if name in found.parts]
    small = np.uint8 if len(found.classes) <= 256 else np.int32
    labels = np.concatenate([part.labels[filled.kept[name]].astype(small) for name, part in parts])
    starts = np.cumsum([0, *(len(part.names) for _, part in parts)]).tolist()
    kept = np.concatenate([filled.kept[name] + start for (name, _), start in zip(parts, starts, strict=False)])
    files = Chain([part.names for _, part in parts], None if len(kept) == starts[-1] else kept)
    cuts = np.cumsum([0, *(len(filled.kept[name]) for name, _ in parts)]).tolist()
    split = {name: np.arange(cuts[i], cuts[i + 1], dtype=np.int32) for i, (name, _) in enumerate(parts)}
    content = json.dumps([found.kind, found.classes, filled.digest])
    fingerprint = hashlib.sha256(content.encode()).hexdigest()
    notes = found.notes + filled.notes
    return Pictures(filled.pixels, labels, found.classes, files, split, found.kind, found.where, notes, fingerprint)


def _asked(given: Collection[str], shares: dict[str, float], count: int) -> dict[str, float | bool | None]:
    """What `divide` shall take from `count` pictures of train: nothing for a part that is given, nor for valid of few pictures."""
    asked = {name: False if name in given else shares.get(name) or (name not in shares and None) for name in ("valid", "test")}
    return asked | {"valid": False} if asked["valid"] is None and count < FEW else asked


def _held(parts: dict[str, Part], kept: Mapping[str, np.ndarray], shares: dict[str, float], seed: int) -> np.ndarray:
    """(n,) bool over the kept pictures of all parts: those that will be valid or test.

    A picture that turns out to be bad only when it is decoded may change that; what is trained on is then partly in the file.
    """
    held = {name: np.full(len(index), name != "train") for name, index in kept.items()}
    divided = divide(parts["train"].labels[kept["train"]], seed=seed, **_asked(parts, shares, len(kept["train"])))
    for name in ("valid", "test"):
        held["train"][divided.get(name, [])] = True
    return np.concatenate([held[name] for name in parts])


def _divided(pictures: Pictures, shares: dict[str, float], seed: int) -> Pictures:
    """The parts that were not given, taken from train."""
    split = dict(pictures.split)
    train = split["train"]
    asked = _asked(split, shares, len(train))
    divided = divide(pictures.labels[train], seed=seed, **asked)
    split |= {name: train[index] for name, index in divided.items()}
    split = {name: split.get(name, np.zeros(0, np.int32)) for name in PARTS}
    notes = [_none_left(len(train), name) for name in ("valid", "test") if asked[name] is not False and not len(split[name])]
    return replace(pictures, split=split, notes=[*pictures.notes, *notes])


def _none_left(count: int, name: str) -> dict[str, Any]:
    what = f"{count} pictures are too few to divide, none is left for {name}; add pictures or name them with --{name}"
    return {"level": "warn", "what": what, "count": count, "examples": []}


def _no_class_gone(pictures: Pictures, allowed: bool) -> None:
    """Raise InputTrouble where unreadable pictures were all that a class had."""
    counts = np.bincount(pictures.labels[pictures.split["train"]], minlength=len(pictures.classes))
    gone = np.flatnonzero(counts == 0)
    if pictures.kind == "folder" and len(gone) and not allowed:
        name = printable(pictures.classes[gone[0]])
        raise InputTrouble(f"{printable(pictures.source)}: class '{name}' has no readable image; replace them or remove the class")
