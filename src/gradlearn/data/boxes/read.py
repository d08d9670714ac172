"""The door for pictures with boxes: find out what a path is, look at every box and every picture, and read them into `Boxed`.

    boxed = read("data/cells")                 # VOC, COCO or YOLO
    boxes, labels, hard = boxed.of(0)          # of the first picture

No pixel is decoded. Everything that is wrong is said before anything is trained, with its file and line.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gradlearn.data.boxes.boxed import Boxed
from gradlearn.data.boxes.check import check, settle
from gradlearn.data.boxes.coco import read_coco
from gradlearn.data.boxes.coco_layout import documents
from gradlearn.data.boxes.lint import lint
from gradlearn.data.boxes.listed import Listed, joined, note, without
from gradlearn.data.boxes.pictures import Looked, look
from gradlearn.data.boxes.turn import turned
from gradlearn.data.boxes.voc import is_voc, read_voc
from gradlearn.data.boxes.yolo import read_yolo
from gradlearn.data.boxes.yolo_layout import is_yolo
from gradlearn.data.header import MAX_PIXELS
from gradlearn.data.place import refused
from gradlearn.data.reject import Bad, reject
from gradlearn.data.reject import settle as settle_pictures
from gradlearn.data.source import PARTS
from gradlearn.data.split import divide, share
from gradlearn.errors import InputTrouble, printable

Where = str | os.PathLike[str]
Divided = Callable[[Listed], dict[str, np.ndarray]]  # to rows of train, valid and test


def read(
    path: Where,
    *,
    valid: float | Where | None = None,
    test: float | Where | None = None,
    seed: int = 0,
    clip_boxes: bool = False,
    skip_bad: float = 0.0,
    max_pixels: int = MAX_PIXELS,
    images: Where | None = None,
    follow_links_to: Where | None = None,
) -> Boxed:
    """Read pictures with boxes; what kind of data the path holds is found out.

    `valid`, `test`: a share in (0, 1) of the training pictures, a path of the same kind, or None: the given part if there is one,
    else 20 % for test (from 10,000 pictures on 10 %, at most 10,000) and 10 % of the rest for valid (at most 2,500), by the rarest
    class in each picture. `clip_boxes`: cut boxes that reach out of their pictures to them. `skip_bad`: share of unreadable
    pictures that may be left out; faulty boxes are left out below 1 %, or below this share where it is larger. `images`: where the
    pictures of a COCO file or a VOC folder are. Raises InputTrouble.
    """
    shares = {name: share(v, f"--{name}") for name, v in (("valid", valid), ("test", test)) if isinstance(v, (int, float))}
    listed = find(path, whole="valid" in shares, images=images, follow_links_to=follow_links_to)
    for name in shares:
        if name in listed.parts and "train" in listed.parts:
            listed = _unused(listed, name, shares[name])
    for name, given in (("valid", valid), ("test", test)):
        if isinstance(given, (str, os.PathLike)):
            listed = _with(listed, name, find(given, images=images, follow_links_to=follow_links_to))
    return _boxed(listed, lambda one: _split(one, shares, seed), clip_boxes, skip_bad, max_pixels)


def read_given(
    path: Where,
    *,
    clip_boxes: bool = False,
    skip_bad: float = 0.0,
    max_pixels: int = MAX_PIXELS,
    images: Where | None = None,
    follow_links_to: Where | None = None,
) -> Boxed:
    """The same with only the parts that are given: of undivided data all is train."""
    listed = find(path, images=images, follow_links_to=follow_links_to)
    return _boxed(listed, _given, clip_boxes, skip_bad, max_pixels)


def find(path: Where, *, images: Where | None = None, follow_links_to: Where | None = None, whole: bool = False) -> Listed:
    """What kind of data a path holds, and what is written in it; no picture is opened. Raises InputTrouble."""
    path = Path(path)
    mode = _mode(path)
    name = path.name.lower()
    if stat.S_ISREG(mode) and name.endswith(".json"):
        return read_coco(path, str(path), images, follow_links_to, _root(path))
    if stat.S_ISREG(mode) and name.endswith((".yaml", ".yml")):
        return read_yolo(path, follow_links_to)
    if not stat.S_ISDIR(mode):
        raise InputTrouble(f"{printable(path)}: no data with boxes; give a VOC or YOLO folder, a data.yaml or a COCO JSON file")
    parts = documents(path)
    kinds = [kind for kind, there in (("voc", is_voc(path)), ("coco", bool(parts)), ("yolo", is_yolo(path))) if there]
    if len(kinds) > 1:
        which = {"voc": "VOC", "coco": "COCO", "yolo": "YOLO"}
        both = " and ".join(which[kind] for kind in kinds)
        raise InputTrouble(f"{printable(path)}: looks like {both} at once; give the file, or the folder, that is meant")
    if not kinds:
        raise InputTrouble(f"{printable(path)}: no boxes found; expected Annotations/*.xml, annotations/*.json or labels/*.txt")
    if kinds == ["voc"]:
        return read_voc(path, images, follow_links_to, whole)
    if kinds == ["yolo"]:
        return read_yolo(path, follow_links_to)
    found = {part: read_coco(file, where, images, follow_links_to, root) for part, (file, where, root) in parts.items()}
    return joined(found, str(path)) if len(found) > 1 else next(iter(found.values()))


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputTrouble(f"{printable(path)}: not found; give a folder or file with boxes") from None
    except (OSError, ValueError) as error:
        bad = refused(error) if isinstance(error, OSError) else Bad("not a path", "give a folder or file with boxes")
        raise InputTrouble(reject(str(path), bad).line) from None


def _root(path: Path) -> Path:
    """The folder that a COCO file belongs to: the one above `annotations`."""
    return path.parent.parent if path.parent.name == "annotations" else path.parent


def _unused(listed: Listed, name: str, asked: float) -> Listed:
    """The data without a part that was given, of which a share of train takes the place."""
    keep = np.ones(len(listed.names), bool)
    keep[listed.parts[name]] = False
    unused = int((~keep).sum())
    what = f"the given {name} part ({unused} pictures) is not used: --{name} {asked:g} takes a share of train instead"
    left = without(listed, keep, np.ones(len(listed.values), bool))
    parts = {part: rows for part, rows in left.parts.items() if part != name}
    return replace(left, parts=parts, notes=[*left.notes, note("info", what, unused, [])])


def _with(listed: Listed, name: str, other: Listed) -> Listed:
    """The data with a part from another data set: its part of that name, or all of it where it is undivided."""
    chosen = name if name in other.parts else "train"
    if chosen == "train" and len(other.parts) > 1:
        have = ", ".join(other.parts)
        raise InputTrouble(f"{printable(other.where)}: has {have}, but nothing for {name}; give the folder that is meant")
    keep = np.zeros(len(other.names), bool)
    keep[other.parts[chosen]] = True
    every = np.ones(len(other.values), bool)
    parts = {part: _only(listed, rows) for part, rows in listed.parts.items() if part != name}
    parts[name] = without(other, keep, every)
    return joined({part: parts[part] for part in PARTS if part in parts}, listed.where)


def _only(listed: Listed, rows: np.ndarray) -> Listed:
    keep = np.zeros(len(listed.names), bool)
    keep[rows] = True
    return without(listed, keep, np.ones(len(listed.values), bool))


def _boxed(listed: Listed, divided: Divided, clip: bool, skip_bad: float, max_pixels: int) -> Boxed:
    """Look at pictures and boxes, leave out what may be, divide, lint."""
    if not listed.names:
        none = f"{printable(listed.where)}: no pictures; add some"
        raise InputTrouble(listed.rejects[0].line if listed.rejects else none)
    looked = look(listed.paths, max_pixels)
    stored, notes, wrong = _frames(listed, looked)
    bad = looked.bad | wrong
    rejects = listed.rejects + [reject(listed.sheets[i] if i in wrong else listed.shown(i), b) for i, b in bad.items()]
    notes += settle_pictures(rejects, len(listed.names) + len(listed.rejects), skip_bad)
    keep = np.ones(len(listed.names), bool)
    keep[list(bad)] = False
    listed = without(listed, keep, np.ones(len(listed.values), bool))
    sizes, turns, digests, stored = looked.sizes[keep], looked.turns[keep], looked.digests[keep], stored[keep]
    frame = np.where(stored[:, None], sizes[:, ::-1], sizes)
    total = len(listed.values) + listed.faults.count
    boxes, good, clipped = check(listed, frame, clip)
    notes += clipped + settle(listed.faults, total, skip_bad)
    listed = without(listed, np.ones(len(listed.names), bool), good)
    boxes = boxes[good]
    if not len(boxes):
        raise InputTrouble(f"{printable(listed.where)}: no boxes; a detector learns from boxes")
    h, w = frame[listed.pictures].T.astype(np.float32)
    boxes = turned(boxes, np.where(stored, turns, 1)[listed.pictures], w, h)
    split = divided(listed)
    notes = [*listed.notes, *notes, *lint(listed, boxes, split, digests)]
    first = np.searchsorted(listed.pictures, np.arange(len(listed.names) + 1))
    return Boxed(
        root=listed.root,
        files=[listed.file(i) for i in range(len(listed.names))],
        sizes=sizes,
        boxes=boxes,
        labels=listed.labels.astype(np.int32),
        hard=listed.hard,
        first=first.astype(np.int64),
        classes=listed.classes,
        split=split,
        kind=listed.kind,
        source=listed.where,
        notes=notes,
        fingerprint=_fingerprint(listed, sizes, boxes, first, digests),
        image_ids=listed.ids,
        category_ids=listed.category_ids,
    )


def _frames(listed: Listed, looked: Looked) -> tuple[np.ndarray, list[dict[str, Any]], dict[int, Bad]]:
    """(N,) bool: boxes were drawn on the picture as it is stored; lint rows; pictures that are not those that were annotated."""
    declared, sizes = listed.declared, looked.sizes
    said = (declared > 0).all(axis=1)
    same, swapped = (declared == sizes).all(axis=1), (declared == sizes[:, ::-1]).all(axis=1)
    stored = said & ~same & swapped & (looked.turns >= 5)
    wrong = {}
    for i in np.flatnonzero(said & ~same & ~stored).tolist():
        if i not in looked.bad:
            (h, w), (dh, dw) = sizes[i].tolist(), declared[i].tolist()
            what = f"image '{printable(listed.names[i])}' is {w}x{h}, declared {dw}x{dh}"
            wrong[i] = Bad(what, "fix the size, or annotate this picture")
    notes = []
    rows = [("boxes of {} pictures were drawn before EXIF turned them, and are turned with them", stored)]
    rows += [("{} pictures are turned by EXIF; their boxes are taken as drawn on what is shown", (looked.turns > 1) & ~stored)]
    rows += [("{} annotations do not say how large their picture is", ~said & (listed.kind != "yolo"))]
    for what, which in rows:
        where = np.flatnonzero(which)
        if len(where):
            notes.append(note("info", what.format(len(where)), len(where), [listed.names[i] for i in where[:5].tolist()]))
    return stored, notes, wrong


def _given(listed: Listed) -> dict[str, np.ndarray]:
    return {part: rows.astype(np.int32) for part, rows in listed.parts.items()}


def _split(listed: Listed, shares: dict[str, float], seed: int) -> dict[str, np.ndarray]:
    """The parts as they are given, and those that are not taken from train, by the rarest class of each picture."""
    parts = _given(listed)
    train = parts["train"]
    asked = {name: False if name in parts else shares.get(name) for name in ("valid", "test")}
    divided = divide(rarest(listed)[train], seed=seed, **asked)
    parts |= {name: train[index] for name, index in divided.items()}
    empty = next((name for name in PARTS if not len(parts[name])), None)
    if empty:
        what = f"{len(train)} pictures are too few to divide, none is left for {empty}"
        raise InputTrouble(f"{printable(listed.where)}: {what}; add pictures or name them with --valid and --test")
    return {name: parts[name] for name in PARTS}


def rarest(listed: Listed) -> np.ndarray:
    """(N,) int64: of the classes in a picture the one with the fewest boxes of all; C for a picture without boxes."""
    counts = np.bincount(listed.labels, minlength=len(listed.classes))
    rank = np.argsort(np.argsort(counts, kind="stable"), kind="stable")
    lowest = np.full(len(listed.names), len(counts))
    np.minimum.at(lowest, listed.pictures, rank[listed.labels])
    back = np.append(np.argsort(rank), len(counts))
    return back[lowest]


def _fingerprint(listed: Listed, sizes: np.ndarray, boxes: np.ndarray, first: np.ndarray, digests: np.ndarray) -> str:
    digest = hashlib.sha256(json.dumps([listed.kind, listed.classes]).encode())
    digest.update("\0".join(listed.names).encode("utf-8", "surrogateescape"))
    arrays: Sequence[np.ndarray] = (sizes, boxes, listed.labels, listed.hard, first, digests)
    for array in (*arrays, *(rows for rows in listed.parts.values())):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
