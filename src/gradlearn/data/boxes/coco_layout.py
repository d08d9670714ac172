"""Which JSON files of a folder are a COCO data set: one for each part, by its name or by the folder it is in."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gradlearn.data.place import open_regular
from gradlearn.data.reject import Bad
from gradlearn.data.source import PART_NAMES, PARTS, joined
from gradlearn.errors import InputTrouble, printable

OTHERS = ("captions", "person_keypoints", "stuff", "panoptic", "image_info", "package", "tsconfig")
KEYS = (b'"images"', b'"annotations"', b'"categories"')
HEAD = 1 << 16  # bytes in which one of them comes
WORDS = re.compile(r"[a-z]+")


def documents(path: Path) -> dict[str, tuple[Path, str, Path]]:
    """part -> (file, as a person would write it, the folder that its pictures are below); empty where there is none."""
    where = str(path)
    below = {part: _json(path / name) for part, name in _folders(path).items()}
    if any(below.values()):
        return {part: _one(path, _folders(path)[part], below[part], where) for part in PARTS if below.get(part)}
    for name in ("annotations", ""):
        found = _json(path / name if name else path)
        chosen = [one for one in found if one.startswith("instances_")] or found
        if chosen:
            return _by_name(path, name, chosen, where)
    return {}


def _folders(path: Path) -> dict[str, str]:
    try:
        found = sorted(e.name for e in os.scandir(path) if e.name.casefold() in PART_NAMES and e.is_dir())
    except OSError:
        return {}
    return {PART_NAMES[name.casefold()]: name for name in found}


def _json(folder: Path) -> list[str]:
    try:
        found = sorted(e.name for e in os.scandir(folder) if e.name.lower().endswith(".json") and not e.name.startswith("."))
    except OSError:
        return []
    return [name for name in found if not name.startswith(OTHERS) and (name.startswith("instances_") or _claims(folder / name))]


def _claims(path: Path) -> bool:
    """Whether a JSON file begins like COCO: others may lie about."""
    try:
        with open_regular(os.path.realpath(path), None) as file:
            head = file.read(HEAD)
    except Bad:
        return False
    return any(key in head for key in KEYS)


def _one(path: Path, folder: str, files: list[str], where: str) -> tuple[Path, str, Path]:
    if len(files) > 1:
        raise _several(joined(where, folder), files[0], files[1])
    return path / folder / files[0], joined(where, f"{folder}/{files[0]}"), path


def _by_name(path: Path, folder: str, files: list[str], where: str) -> dict[str, tuple[Path, str, Path]]:
    """The parts, by a word in the names of the files; one file alone is undivided."""
    parts: dict[str, str] = {}
    for name in files:
        words = WORDS.findall(name.lower())
        part = next((PART_NAMES[word] for word in words if word in PART_NAMES), "train" if len(files) == 1 else None)
        if part is None:
            continue
        if part in parts:
            raise _several(joined(where, folder) if folder else where, parts[part], name)
        parts[part] = name
    if list(parts) == ["valid"] or list(parts) == ["test"]:
        parts = {"train": next(iter(parts.values()))}  # one file alone, whatever it is called
    if parts and "train" not in parts:
        raise InputTrouble(f"{printable(where)}: no file for train beside '{printable(next(iter(parts.values())))}'; add one")
    below = {part: joined(folder, parts[part]) if folder else parts[part] for part in PARTS if part in parts}
    return {part: (path / name, joined(where, name), path) for part, name in below.items()}


def _several(where: str, one: str, other: str) -> InputTrouble:
    both = f"'{printable(one)}' and '{printable(other)}' could both be meant"
    return InputTrouble(f"{printable(where)}: {both}; give the file")
