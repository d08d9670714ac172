"""COCO: one JSON file with images, annotations and categories for each part of the data.

    PATH.json                                             images under --images, or images/ or a folder of the part beside it
    PATH/annotations/instances_{train,val}2017.json       PATH/train2017/..., or PATH/images/train2017/...
    PATH/{train,valid,test}/_annotations.coco.json        pictures beside it

Read as a stream (`stream.py`): of each annotation its image, its category, its box and whether it is a crowd are kept. Masks and
key points are passed over.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, https://arxiv.org/abs/1405.0312
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from gradlearn.data.boxes.listed import Columns, Faults, Listed, annotation, note
from gradlearn.data.boxes.place import Folder
from gradlearn.data.boxes.stream import Stream
from gradlearn.data.place import open_regular, roots
from gradlearn.data.reject import Bad, Reject, reject
from gradlearn.data.source import joined
from gradlearn.errors import InputTrouble, printable

FILE_BYTES = 1 << 36
LARGEST = 1 << 53  # an id beyond it is no id


class Picture(NamedTuple):
    """One of `images`."""

    id: int
    name: str
    height: int
    width: int


@dataclass
class Document:
    """What is kept of a COCO file."""

    where: str
    pictures: list[Picture] = field(default_factory=list)
    categories: dict[int, str] = field(default_factory=dict)
    columns: Columns = field(default_factory=Columns)  # pictures and labels are the file's own ids
    faults: Faults = field(default_factory=Faults)
    masks: int = 0


def read_coco(
    path: Path, where: str, images: str | os.PathLike[str] | None, follow_links_to: str | os.PathLike[str] | None, root: Path
) -> Listed:
    """All pictures and boxes of one COCO file, undivided; pictures are looked up below `root` or `images`. Raises InputTrouble."""
    document = Document(where)
    try:
        real = os.path.realpath(path)
        with open_regular(real, FILE_BYTES) as file:
            _take(Stream(file, where), document)
    except Bad as bad:
        raise InputTrouble(reject(where, bad).line) from None
    found = _folder(path, document, images, follow_links_to, root)
    return _listed(document, found, str(root if images is None else images))


def _take(stream: Stream, document: Document) -> None:
    takers = {"images": _image, "annotations": _annotation, "categories": _category}
    counts = dict.fromkeys(takers, 0)
    for key, item in stream.members():
        if key in takers:
            at = f"{document.where}: {key}[{counts[key]}]"
            if not isinstance(item, dict):
                raise InputTrouble(f"{printable(at)}: expected an object, got {printable(repr(item), 40)}; fix the file")
            takers[key](item, document, at, counts[key])
            counts[key] += 1
    missing = next((key for key in takers if key not in stream.keys), None)
    if missing:
        raise InputTrouble(f"{printable(document.where)}: no '{missing}'; expected images, annotations and categories")
    _unique(document)


def _unique(document: Document) -> None:
    ids = np.sort(np.array([p.id for p in document.pictures], np.int64))
    again = ids[1:][ids[1:] == ids[:-1]]
    if len(again):
        raise InputTrouble(f"{printable(document.where)}: image id {again[0]} appears twice; ids must be unique")


def _image(item: dict[str, Any], document: Document, at: str, _: int) -> None:
    number, name = _id(item, "id", at), item.get("file_name")
    if not isinstance(name, str) or not name:
        raise InputTrouble(f"{printable(document.where)}: image id {number} has no file_name; fix the file")
    document.pictures.append(Picture(number, name, _size(item.get("height")), _size(item.get("width"))))


def _size(value: object) -> int:
    """A size in pixels; 0 where it is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1 << 31:
        return int(value)
    return 0


def _category(item: dict[str, Any], document: Document, at: str, _: int) -> None:
    number, name = _id(item, "id", at), item.get("name")
    if not isinstance(name, str) or not name:
        raise InputTrouble(f"{printable(at)}: category {number} has no name; fix the file")
    twice = "id" if number in document.categories else "name" if name in document.categories.values() else ""
    if twice:
        shown = number if twice == "id" else f"'{printable(name)}'"
        raise InputTrouble(f"{printable(document.where)}: category {twice} {shown} appears twice; {twice}s must be unique")
    document.categories[number] = name


def _annotation(item: dict[str, Any], document: Document, at: str, count: int) -> None:
    said = item.get("id")
    place: int = said if _whole(said) and said >= 0 else -1 - count
    box: Any = item.get("bbox")
    where = annotation(document.where, place)
    wrong = _wrong(item, box)
    if wrong:
        document.faults.add(where, *wrong)
        return
    document.masks += bool(item.get("segmentation"))
    x, y, w, h = map(float, box)
    document.columns.add(item["image_id"], item["category_id"], bool(item.get("iscrowd")), place, (x, y, w, h))


def _wrong(item: dict[str, Any], box: object) -> tuple[str, str] | None:
    """Why this annotation has no box that could be looked at."""
    if not isinstance(box, list):
        return "no bbox", "add it or remove the annotation"
    if len(box) != 4:
        return f"{len(box)} numbers, expected 4 (x y width height)", "fix the box"
    odd = next((v for v in box if not isinstance(v, (int, float)) or isinstance(v, bool) or _huge(v)), None)
    if odd is not None or any(v is None for v in box):
        return f"{printable(repr(odd), 40)} is not a number", "fix the box"
    for key in ("image_id", "category_id"):
        if not _whole(item.get(key)):
            return f"{key} {printable(repr(item.get(key)), 40)} is not a whole number", "fix it"
    return None


def _huge(value: float) -> bool:
    return isinstance(value, int) and abs(value) > LARGEST


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _id(item: dict[str, Any], key: str, at: str) -> int:
    value = item.get(key)
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    if not _whole(value):
        raise InputTrouble(f"{printable(at)}: {key} {printable(repr(value), 40)} is not a whole number; fix the file")
    return value


def _folder(
    path: Path,
    document: Document,
    images: str | os.PathLike[str] | None,
    follow_links_to: str | os.PathLike[str] | None,
    root: Path,
) -> tuple[Folder, str, str]:
    """The folder of the pictures, as a person would write it, and below the root: the first in which one of them is found."""
    base = images if images is not None else root
    if not os.path.isdir(base):
        raise InputTrouble(f"{printable(base)}: folder not found; check --images")
    allowed = roots(Path(base), follow_links_to)
    names = [p.name for p in document.pictures[:20]]
    for below in _candidates(path, root) if images is None else [""]:
        folder = os.path.realpath(os.path.join(base, below))
        if os.path.isdir(folder):
            looked = Folder(folder, allowed)
            if images is not None or any(_there(looked, name) for name in names):
                return looked, allowed[0], below
    below = "images" if images is None and (Path(base) / "images").is_dir() else ""
    return Folder(os.path.realpath(os.path.join(base, below)), allowed), allowed[0], below


def _there(folder: Folder, name: str) -> bool:
    try:
        return folder.resolve(name) is not None
    except Bad:
        return False


def _candidates(path: Path, root: Path) -> list[str]:
    """Where pictures usually are, below the root: a folder named after the part, `images`, or beside the file."""
    stem = path.stem.removeprefix("instances_")
    part = stem.rstrip("0123456789")
    beside = os.path.relpath(path.parent, root)
    names = [f"images/{stem}", stem, f"images/{part}", part, "images", "" if beside == "." else beside, f"{beside}/images", ""]
    return list(dict.fromkeys(n for n in names if ".." not in n.split("/")))


def _listed(document: Document, found: tuple[Folder, str, str], base: str) -> Listed:
    folder, root, below = found
    names, paths, ids, declared = [], [], [], []
    rejects: list[Reject] = []
    for picture in document.pictures:
        real = None
        try:
            real = folder.resolve(picture.name)
            bad = Bad(f"image '{printable(picture.name)}' not found under {printable(below or base)}/", "check --images")
        except Bad as error:
            if error.remedy == "refused":
                raise InputTrouble(reject(document.where, error).line) from None
            bad = Bad(f"image '{printable(picture.name)}': {error.what}", error.remedy)
        if real is None:
            rejects.append(reject(document.where, bad))
            continue
        names.append(joined(below, picture.name) if below else picture.name)
        paths.append(real)
        ids.append(picture.id)
        declared.append((picture.height, picture.width))
    missing = {p.id for p in document.pictures}.difference(ids)
    number = np.array(ids, np.int64)
    values, owners, labels, places, hard = document.columns.arrays()
    row, known = _rows(number, owners)
    category_ids = np.array(list(document.categories), np.int64)
    label, named = _rows(category_ids, labels)
    for i in np.flatnonzero(~(known & named)).tolist():
        at = annotation(document.where, int(places[i]))
        if not named[i]:
            document.faults.add(at, f"category_id {labels[i]} is not in categories", "fix it")
        elif int(owners[i]) not in missing:
            document.faults.add(at, f"image_id {owners[i]} is not in images", "fix it")
    good = np.flatnonzero(known & named)
    good = good[np.argsort(row[good], kind="stable")]
    return Listed(
        kind="coco",
        where=document.where,
        root=root,
        base=base,
        classes=tuple(document.categories.values()),
        category_ids=category_ids,
        names=names,
        paths=paths,
        sheets=[document.where] * len(names),
        ids=number,
        declared=np.array(declared, np.int32).reshape(-1, 2),
        values=values[good],
        pictures=row[good],
        labels=label[good],
        hard=hard[good],
        places=places[good],
        parts={"train": np.arange(len(names))},
        faults=document.faults,
        rejects=rejects,
        notes=_notes(document, places),
    )


def _rows(ids: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M,) int64 where each wanted id is among `ids`, and (M,) bool whether it is there at all."""
    if not len(ids):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    order = np.argsort(ids)
    at = np.minimum(np.searchsorted(ids[order], wanted), len(ids) - 1)
    return order[at], ids[order][at] == wanted


def _notes(document: Document, places: np.ndarray) -> list[dict[str, Any]]:
    notes = []
    ids = np.sort(places[places >= 0])
    again = np.unique(ids[1:][ids[1:] == ids[:-1]])
    if len(again):
        what = f"{len(again)} ids of annotations appear more than once"
        notes.append(note("warn", what, len(again), [annotation(document.where, i) for i in again[:5].tolist()]))
    if document.masks:
        notes.append(note("info", f"{document.masks} masks passed over: boxes are learned, not outlines", document.masks, []))
    return notes
