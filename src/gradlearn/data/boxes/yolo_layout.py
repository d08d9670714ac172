"""Where the parts of a YOLO data set are, and what its classes are called: data.yaml, or the folders themselves.

Nothing is opened that the root, or a folder that was allowed by name, does not hold. `download:` is never executed, and refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradlearn.data.boxes.listed import Columns, Faults, note
from gradlearn.data.boxes.place import Folder, text
from gradlearn.data.boxes.plain_yaml import load
from gradlearn.data.folder import Walk
from gradlearn.data.place import inside, refused, roots
from gradlearn.data.reject import Bad, Reject, reject
from gradlearn.data.source import PART_NAMES, joined
from gradlearn.errors import InputTrouble, printable

CLASSES = ("classes.txt", "labels/classes.txt", "obj.names")
MOST_CLASSES = 100_000


@dataclass
class Reading:
    """What has been read so far."""

    where: str  # of the root
    root: str
    roots: tuple[str, ...]
    names: tuple[str, ...] | None  # of the classes
    sheet: str  # where they are from
    columns: Columns = field(default_factory=Columns)
    faults: Faults = field(default_factory=Faults)
    rejects: list[Reject] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    sheets: list[str] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    labelled: int = 0
    top: int = -1  # the largest class


def configs(path: Path) -> list[str]:
    """The YAML files of a folder that could be YOLO's."""
    try:
        found = sorted(
            e.name for e in os.scandir(path) if e.name.lower().endswith((".yaml", ".yml")) and not e.name.startswith(".")
        )
    except OSError:
        return []
    return [name for name in found if name.lower() in ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")] or found[:2]


def is_yolo(path: Path) -> bool:
    """Whether a folder looks like YOLO: data.yaml, or labels beside images."""
    if any(name.lower().startswith("data") for name in configs(path)):
        return True
    return (path / "labels").is_dir() or any((folder / "labels").is_dir() for folder in _folders(path).values())


def _folders(path: Path) -> dict[str, Path]:
    """Folders that are named after parts."""
    try:
        found = sorted(e.name for e in os.scandir(path) if e.name.casefold() in PART_NAMES and e.is_dir())
    except OSError:
        return {}
    return {PART_NAMES[name.casefold()]: path / name for name in found}


def configured(folder: Path, name: str, follow_links_to: Any) -> tuple[Reading, dict[str, list[str]]]:
    """What a data.yaml says: where pictures are, and the classes."""
    where = joined(str(folder), name)
    said = load(folder / name, where, follow_links_to)
    if "download" in said:
        raise InputTrouble(f"{printable(where)}: key 'download' is never executed; remove it")
    names = _names(said, where)
    notes = []
    root, base = os.path.realpath(folder), said.get("path")
    allowed = roots(folder, follow_links_to)
    if base not in (None, "", "."):
        real = os.path.realpath(os.path.join(root, str(base)))
        if not os.path.isdir(real):
            notes.append(
                note("info", f"path '{printable(base)}' in {printable(name)} is not there: taken as its own folder", 1, [])
            )
        elif not any(inside(real, one) for one in allowed):
            what = f"path '{printable(base)}' leaves the folder of the file"
            raise InputTrouble(f"{printable(where)}: {what}; pass --follow-links-to DIR to allow it")
        else:
            root = real
    shown = str(folder) if root == os.path.realpath(folder) else str(base)
    reading = Reading(shown, root, allowed, names, where, notes=notes)
    parts: dict[str, list[str]] = {}
    for key, part in (("train", "train"), ("val", "valid"), ("valid", "valid"), ("test", "test")):
        value = said.get(key)
        if value in (None, "") or part in parts:
            continue
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str) and entry for entry in entries):
            raise InputTrouble(
                f"{printable(where)}: {key} is {printable(repr(value), 60)}; give a folder, a text file or a list of them"
            )
        parts[part] = entries
    if "train" not in parts:
        raise InputTrouble(f"{printable(where)}: no 'train'; say where the training pictures are")
    return reading, parts


def _names(said: dict[str, Any], where: str) -> tuple[str, ...]:
    """The classes, from `names` (a list, or a mapping from 0, 1, ...) and `nc`."""
    names, nc = said.get("names"), said.get("nc")
    if names is None and isinstance(nc, int) and not isinstance(nc, bool) and 0 < nc <= MOST_CLASSES:
        return tuple(str(i) for i in range(nc))
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(str(i) for i in range(len(names))):
            raise InputTrouble(
                f"{printable(where)}: the keys of names are not 0, 1, ... {len(names) - 1}; number the classes from 0"
            )
        by = {int(key): value for key, value in names.items()}
        names = [by[i] for i in range(len(by))]
    if not isinstance(names, list) or not names or not all(isinstance(n, (str, int, float)) for n in names):
        raise InputTrouble(f"{printable(where)}: no names; give the class names as a list")
    if nc is not None and nc != len(names):
        raise InputTrouble(f"{printable(where)}: nc is {printable(nc, 20)}, names has {len(names)}; make them agree")
    texts = [str(name) for name in names]
    if len(set(texts)) != len(texts):
        twice = next(name for name in texts if texts.count(name) > 1)
        raise InputTrouble(f"{printable(where)}: class '{printable(twice)}' appears twice; names must be unique")
    return tuple(texts)


def class_list(folder: Path, allowed: tuple[str, ...]) -> tuple[tuple[str, ...] | None, str]:
    """The class names of classes.txt or obj.names, and where they are from; None where there is neither."""
    for name in CLASSES:
        where = joined(str(folder), name)
        try:
            lines = text(str(folder / name), allowed).decode("utf-8-sig").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (Bad, UnicodeDecodeError) as error:
            raise InputTrouble(f"{printable(where)}: {printable(error)}; give one class name a line, UTF-8") from None
        return _names({"names": [line.strip() for line in lines if line.strip()]}, where), where
    return None, ""


def plain(folder: Path) -> dict[str, list[str]]:
    """Parts of a folder without data.yaml."""
    for parts in (
        {part: [os.path.relpath(p, folder)] for part, p in _folders(folder / "images").items()},
        {part: [joined(p.name, "images")] for part, p in _folders(folder).items() if (p / "images").is_dir()},
    ):
        if "train" in parts:
            return parts
    if not (folder / "images").is_dir():
        raise InputTrouble(f"{printable(folder)}: no images folder beside labels; expected images/ and labels/")
    return {"train": ["images"]}


def pictures_of(reading: Reading, entry: str) -> Iterator[tuple[str, str]]:
    """(name below the root, real path) of the pictures of one entry: a folder, or a text file that lists them."""
    real = _entry(reading, entry)
    below = os.path.relpath(real, reading.root)
    if os.path.isdir(real):
        walk = Walk(reading.roots)
        prefix = "" if below == "." else below
        for name, path in walk.files(real, joined(reading.where, prefix)):
            yield joined(prefix, name) if prefix else name, path
        reading.rejects += walk.rejects
        return
    where = joined(reading.where, below)
    folder = Folder(reading.root, reading.roots)
    try:
        lines = text(real, reading.roots).decode("utf-8-sig").split("\n")
    except (Bad, UnicodeDecodeError, FileNotFoundError) as error:
        raise InputTrouble(f"{printable(where)}: {printable(error)}; give one picture a line, UTF-8") from None
    for i, line in enumerate(lines):
        name = line.strip()
        if not name:
            continue
        name = _below(name, os.path.dirname(below), reading)
        try:
            path = folder.resolve(name)
            if path is None:
                raise Bad(f"image '{printable(name)}' not found", "fix the list")
        except Bad as bad:
            if bad.remedy == "refused":
                raise InputTrouble(reject(f"{where}:{i + 1}", bad).line) from None
            reading.rejects.append(reject(f"{where}:{i + 1}", bad))
            continue
        yield name, path


def _below(name: str, beside: str, reading: Reading) -> str:
    """A line of a list as a name below the root: `./` stands for the folder of the list."""
    if name.startswith("./"):
        return os.path.normpath(joined(beside, name[2:]) if beside else name[2:])
    if os.path.isabs(name) and inside(name, reading.root):
        return os.path.relpath(name, reading.root)
    return name


def _entry(reading: Reading, entry: str) -> str:
    """The real path of a part; Roboflow's `../train/images` means `train/images`. Raises InputTrouble."""
    tries = [entry, entry.removeprefix("../")] if entry.startswith("../") else [entry]
    for name in tries:
        try:
            real = os.path.realpath(os.path.join(reading.root, name))
            there = os.path.exists(real)
        except (OSError, ValueError) as error:
            bad = refused(error) if isinstance(error, OSError) else Bad("not a path", "fix it")
            raise InputTrouble(reject(reading.sheet, bad).line) from None
        if any(inside(real, one) for one in reading.roots):
            if there:
                return real
        elif name == tries[-1]:
            what = f"'{printable(entry)}' leaves the folder of the data"
            raise InputTrouble(f"{printable(reading.sheet)}: {what}; pass --follow-links-to DIR to allow it")
    raise InputTrouble(
        f"{printable(reading.sheet)}: '{printable(entry)}' not found under {printable(reading.where)}/; fix the path"
    )
