"""Pascal VOC: an XML file for each picture, and lists of names for train, val and test.

    PATH/JPEGImages/a.jpg   PATH/Annotations/a.xml   PATH/ImageSets/Main/{train,val,trainval,test}.txt
    PATH/images/a.jpg       PATH/annotations/a.xml                                 (no lists: all of them)
    PATH/train/a.jpg        PATH/train/a.xml         PATH/valid/...  PATH/test/...

A picture belongs to the annotation of the same name. The numbers of a box are taken as they stand (labelImg and CVAT write
continuous coordinates; the devkit of 2007 counts pixels from 1, its boxes are then up to a pixel further right and down). Classes
are in the order of `labels.txt` where there is one, else in natural order.

Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 88, 2010.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradlearn.data.boxes.listed import Columns, Faults, Listed, note
from gradlearn.data.boxes.place import text
from gradlearn.data.boxes.voc_sheet import SIDES, Sheet, parse
from gradlearn.data.classes import listed as listed_classes
from gradlearn.data.classes import ordered
from gradlearn.data.folder import Walk
from gradlearn.data.name import natural
from gradlearn.data.place import roots, scan
from gradlearn.data.reject import Bad, Reject, reject
from gradlearn.data.source import PART_NAMES, PARTS, joined
from gradlearn.errors import InputTrouble, nearest, printable

ANNOTATIONS = ("Annotations", "annotations")
IMAGES = ("JPEGImages", "images", "Images", "jpegimages")
LISTS = ("ImageSets/Main", "ImageSets")
FLAG = re.compile(r"\s+-?[01]$")


@dataclass
class _Reading:
    """What has been read so far."""

    where: str
    roots: tuple[str, ...]
    columns: Columns = field(default_factory=Columns)
    faults: Faults = field(default_factory=Faults)
    rejects: list[Reject] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    sheets: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    classes: dict[str, int] = field(default_factory=dict)  # in the order of their coming
    notes: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, dict[str, list[tuple[str, str]]]] = field(default_factory=dict)  # by folder and name


@dataclass(frozen=True)
class _Place:
    """Where the annotations and pictures of one part are, as names below the root."""

    annotations: str
    images: str


def is_voc(path: Path) -> bool:
    """Whether a folder looks like VOC: an Annotations folder with XML files, or pictures with XML files beside them."""
    return any(_has_xml(path / name) for name in ANNOTATIONS) or _has_xml(path) or any(_has_xml(p) for p in _parts(path).values())


def _has_xml(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(e.name.lower().endswith(".xml") and not e.name.startswith(".") for e in entries)
    except OSError:
        return False


def _parts(path: Path) -> dict[str, Path]:
    """Folders train, valid and test."""
    try:
        with os.scandir(path) as entries:
            found = sorted(e.name for e in entries if e.name.casefold() in PART_NAMES and e.is_dir())
    except OSError:
        return {}
    return {PART_NAMES[name.casefold()]: path / name for name in found}


def read_voc(
    path: Path, images: str | os.PathLike[str] | None, follow_links_to: str | os.PathLike[str] | None, whole: bool = False
) -> Listed:
    """All pictures and boxes of a VOC folder; `whole`: train on the list trainval where there is one. Raises InputTrouble."""
    allowed = roots(path, follow_links_to) + ((os.path.realpath(images),) if images is not None else ())
    reading = _Reading(str(path), allowed)
    rows: dict[str, np.ndarray] = {}
    for part, (place, ids) in _found(path, images, reading, whole).items():
        start = len(reading.names)
        _read_part(reading, path, place, ids)
        rows[part] = np.arange(start, len(reading.names))
    values, pictures, labels, places, hard = reading.columns.arrays()
    classes, table = _classes(reading, path)
    n = len(reading.names)
    return Listed(
        kind="voc",
        where=str(path),
        root=allowed[0],
        base=str(path),
        classes=classes,
        category_ids=np.arange(1, len(classes) + 1),
        names=reading.names,
        paths=reading.paths,
        sheets=reading.sheets,
        ids=np.arange(1, n + 1),
        declared=np.array(reading.sizes, np.int32).reshape(n, 2),
        values=values,
        pictures=pictures,
        labels=table[labels] if len(labels) else labels,
        hard=hard,
        places=places,
        parts=rows,
        faults=reading.faults,
        rejects=reading.rejects,
        notes=reading.notes + _unlisted(reading),
    )


def _found(
    path: Path, images: str | os.PathLike[str] | None, reading: _Reading, whole: bool
) -> dict[str, tuple[_Place, list[str]]]:
    """part -> where it is and the names of its pictures."""
    annotations = next((name for name in ANNOTATIONS if _has_xml(path / name)), None)
    if annotations is None and not _has_xml(path):
        folders = {part: folder for part, folder in _parts(path).items() if _has_xml(folder)}
        if "train" not in folders:
            raise InputTrouble(f"{printable(path)}: no 'train' folder beside '{next(iter(folders.values())).name}'; add one")
        return {p: (_Place(folders[p].name, folders[p].name), _stems(folders[p])) for p in PARTS if p in folders}
    beside = next((name for name in IMAGES if (path / name).is_dir()), None)
    if annotations is not None and beside is None and images is None:
        raise InputTrouble(f"{printable(path)}: no JPEGImages or images folder beside {annotations}; give it with --images")
    where = os.path.realpath(images) if images is not None else beside or ""
    place = _Place(annotations or "", where)
    lists = _lists(path, reading)
    if not lists:
        return {"train": (place, _stems(path / (annotations or "")))}
    _choose(lists, reading, whole)
    return {part: (place, lists[part]) for part in PARTS if part in lists}


def _choose(lists: dict[str, list[str]], reading: _Reading, whole: bool) -> None:
    """What is trained on: the list train, with val beside it; or trainval, where a share of it is asked for as valid."""
    both = lists.pop("trainval", None)
    if both is not None and (whole or "train" not in lists):
        lists["train"] = both
        lists.pop("valid", None)
        what = f"trained on the list trainval ({len(both)} pictures), less what is taken from it"
        reading.notes.append(note("info", what, len(both), []))
    elif both is not None:
        what = f"trained on the list train ({len(lists['train'])} pictures); trainval ({len(both)}) is used with --valid SHARE"
        reading.notes.append(note("info", what, len(both), []))
    if "train" not in lists:
        raise InputTrouble(f"{printable(reading.where)}: no train.txt in ImageSets/Main; add one")


def _stems(folder: Path) -> list[str]:
    return sorted((e.name[:-4] for e in scan(str(folder), str(folder)) if e.name.lower().endswith(".xml")), key=natural)


def _lists(path: Path, reading: _Reading) -> dict[str, list[str]]:
    """The lists of names, by part; a line may hold a flag after the name, which is not asked for here."""
    found: dict[str, list[str]] = {}
    for folder in LISTS:
        for file, part in (("train", "train"), ("val", "valid"), ("trainval", "trainval"), ("test", "test")):
            name = f"{folder}/{file}.txt"
            try:
                data = text(str(path / name), reading.roots)
                lines = data.decode("utf-8-sig").split("\n")
            except (FileNotFoundError, NotADirectoryError):
                continue
            except Bad as bad:
                raise InputTrouble(reject(joined(reading.where, name), bad).line) from None
            except UnicodeDecodeError:
                raise InputTrouble(f"{printable(joined(reading.where, name))}: not UTF-8; give one name a line") from None
            found[part] = [FLAG.sub("", line.strip()) for line in lines if line.strip()]
        if found:
            break
    return found


def _read_part(reading: _Reading, path: Path, place: _Place, ids: list[str]) -> None:
    """The annotations and pictures of these names."""
    folder = os.path.realpath(path / place.images)
    below = place.images if os.path.isabs(place.images) else joined(reading.where, place.images)
    pictures = _pictures(reading, folder, below)
    spoiled = {r.where.rpartition(".")[0] for r in reading.rejects}
    for stem in ids:
        where = joined(reading.where, f"{place.annotations}/{stem}.xml" if place.annotations else f"{stem}.xml")
        try:
            sheet = _sheet(path, place, stem, reading.roots, where)
            name, real = _picture(pictures, stem, sheet.filename, below)
        except Bad as bad:
            if joined(below, stem) not in spoiled:
                reading.rejects.append(reject(where, bad))
            continue
        reading.names.append(joined(place.images, name) if not os.path.isabs(place.images) else os.path.join(folder, name))
        reading.paths.append(real)
        reading.sheets.append(where)
        reading.sizes.append(sheet.size)
        _add(reading, sheet, where)


def _pictures(reading: _Reading, folder: str, below: str) -> dict[str, list[tuple[str, str]]]:
    """Name without extension -> the pictures of that name, and where to open them."""
    if folder not in reading.pictures:
        if not os.path.isdir(folder):
            raise InputTrouble(f"{printable(below)}: folder not found; check --images")
        walk = Walk(reading.roots)
        found = reading.pictures.setdefault(folder, {})
        for name, real in walk.files(folder, below):
            found.setdefault(name.rpartition(".")[0] or name, []).append((name, real))
        reading.rejects += walk.rejects
    return reading.pictures[folder]


def _sheet(path: Path, place: _Place, stem: str, allowed: tuple[str, ...], where: str) -> Sheet:
    if ".." in stem.split("/") or stem.startswith("/") or "\\" in stem or "\0" in stem:
        raise InputTrouble(f"{printable(where)}: name '{printable(stem)}' leaves the folder; refused")
    try:
        return parse(text(os.path.realpath(path / place.annotations) + f"/{stem}.xml", allowed), where)
    except (FileNotFoundError, NotADirectoryError):
        raise Bad("annotation not found", "add it, or take the name off the lists") from None


def _picture(pictures: dict[str, list[tuple[str, str]]], stem: str, filename: str, below: str) -> tuple[str, str]:
    """The picture of the same name as its annotation; of several, the one that it names."""
    found = pictures.get(stem) or pictures.get(filename.rpartition("/")[2].rpartition(".")[0])
    if not found:
        raise Bad(f"image '{printable(stem)}' not found under {printable(below)}/", "check --images")
    return next((one for one in found if one[0] == filename), found[0])


def _add(reading: _Reading, sheet: Sheet, where: str) -> None:
    picture = len(reading.names) - 1
    for thing in sheet.things:
        missing = next((side for side in SIDES if side not in thing.sides), None)
        if thing.wrong or missing or not thing.name:
            what = thing.wrong or (f"object has no {missing}" if missing else "object has no name")
            reading.faults.add(f"{where}:{thing.line}", what)
            continue
        label = reading.classes.setdefault(thing.name, len(reading.classes))
        s = thing.sides
        reading.columns.add(picture, label, thing.difficult, thing.line, (s["xmin"], s["ymin"], s["xmax"], s["ymax"]))


def _classes(reading: _Reading, path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes, and for each in the order of its coming its number."""
    named = listed_classes(path)
    classes = named or ordered(list(reading.classes), reading.where)
    unknown = next((name for name in reading.classes if name not in classes), None)
    if unknown is not None:
        what = f"class '{printable(unknown)}' is not in labels.txt{printable(nearest(unknown, classes))}"
        raise InputTrouble(f"{printable(reading.where)}: {what}; add it or remove labels.txt")
    number = {name: i for i, name in enumerate(classes)}
    return classes, np.array([number[name] for name in reading.classes], np.int64)


def _unlisted(reading: _Reading) -> list[dict[str, Any]]:
    """A lint row about pictures that have no annotation, or are in no list."""
    used = set(reading.paths)
    extra = [real for found in reading.pictures.values() for some in found.values() for _, real in some if real not in used]
    if not extra:
        return []
    what = f"{len(extra)} pictures have no annotation, or are in no list, and are left out"
    return [note("info", what, len(extra), [os.path.basename(real) for real in extra[:5]])]
