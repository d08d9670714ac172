"""What an annotation reader hands over before a picture is looked at: names, boxes as they are written, and where."""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gradlearn.data.reject import Bad, Reject, reject
from gradlearn.data.source import joined as below
from gradlearn.errors import InputTrouble, nearest, printable

KEPT = 1000  # faults whose lines are kept; of more, only the number


class Columns:
    """Boxes as they are read: numbers in arrays, 41 bytes a box."""

    def __init__(self) -> None:
        self.values, self.labels, self.hard = array("d"), array("q"), array("b")
        self.pictures, self.places = array("q"), array("q")

    def add(self, picture: int, label: int, hard: bool, place: int, box: tuple[float, ...]) -> None:
        """One box: four numbers as they are written, and its line or annotation id."""
        self.values.extend(box)
        self.labels.append(label)
        self.hard.append(hard)
        self.pictures.append(picture)
        self.places.append(place)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(M, 4) float64 values, (M,) int64 pictures, labels and places, (M,) bool hard."""
        values = np.frombuffer(self.values, np.float64).reshape(-1, 4) if self.values else np.empty((0, 4))
        pictures, labels, places = (
            np.frombuffer(a, np.int64) if a else np.empty(0, np.int64) for a in (self.pictures, self.labels, self.places)
        )
        return values, pictures, labels, places, np.frombuffer(self.hard, np.int8).astype(bool) if self.hard else np.empty(0, bool)


@dataclass
class Faults:
    """Boxes that cannot be used: how many, and the lines of the first."""

    rejects: list[Reject] = field(default_factory=list)
    count: int = 0
    mendable: int = 0  # of these, how many `clip_boxes` would mend

    def add(self, where: str, what: str, remedy: str = "fix the box", mendable: bool = False) -> None:
        """One more."""
        self.count += 1
        self.mendable += mendable
        if len(self.rejects) < KEPT:
            self.rejects.append(reject(where, Bad(what, remedy)))


@dataclass(frozen=True)
class Listed:
    """A data set as one reader found it. Boxes are in the order of their pictures."""

    kind: str  # voc, coco or yolo: says what the four numbers of a box are
    where: str
    root: str  # real path of the folder that names are below
    base: str  # the same as the person wrote it
    classes: tuple[str, ...]
    category_ids: np.ndarray  # (C,) int64
    names: list[str]  # (N,) below the root
    paths: list[str]  # (N,) real paths to open
    sheets: list[str]  # (N,) the file in which the boxes of a picture are
    ids: np.ndarray  # (N,) int64
    declared: np.ndarray  # (N, 2) int32 h, w as the annotation says; 0 where it says nothing
    values: np.ndarray  # (M, 4) float64: x1 y1 x2 y2 (voc), x y w h (coco), cx cy w h of 0..1 (yolo)
    pictures: np.ndarray  # (M,) int64 into N, rising
    labels: np.ndarray  # (M,) int64 into `classes`
    hard: np.ndarray  # (M,) bool
    places: np.ndarray  # (M,) int64: line (voc, yolo), id of the annotation (coco)
    parts: dict[str, np.ndarray]  # part -> (k,) rows; in train, valid, test order, one after another
    faults: Faults = field(default_factory=Faults)
    rejects: list[Reject] = field(default_factory=list)  # pictures that cannot be had
    notes: list[dict[str, Any]] = field(default_factory=list)

    def shown(self, i: int) -> str:
        """Where picture i is, for a person."""
        inside = os.path.join(self.root, self.names[i]) == self.paths[i]
        return below(self.base, self.names[i]) if inside else self.paths[i]

    def file(self, i: int) -> str:
        """The name of picture i below the root, or where it really is."""
        inside = os.path.join(self.root, self.names[i]) == self.paths[i]
        return self.names[i] if inside else self.paths[i]

    def place(self, box: int) -> str:
        """Where a box is written."""
        sheet, place = self.sheets[int(self.pictures[box])], int(self.places[box])
        if self.kind == "coco":
            return annotation(sheet, place)
        return f"{sheet}:{place}"


def annotation(sheet: str, place: int) -> str:
    """Where an annotation of a COCO file is: its id, or, below zero, its number in the list."""
    return f"{sheet}: annotation {place}" if place >= 0 else f"{sheet}: annotations[{-1 - place}]"


def without(listed: Listed, keep: np.ndarray, boxes: np.ndarray) -> Listed:
    """Only the pictures `keep` (N,) bool, and of their boxes only `boxes` (M,) bool."""
    if keep.all() and boxes.all():
        return listed
    boxes = boxes & keep[listed.pictures]
    number = np.cumsum(keep) - 1
    index = np.flatnonzero(keep).tolist()
    return replace(
        listed,
        names=[listed.names[i] for i in index],
        paths=[listed.paths[i] for i in index],
        sheets=[listed.sheets[i] for i in index],
        ids=listed.ids[keep],
        declared=listed.declared[keep],
        values=listed.values[boxes],
        pictures=number[listed.pictures[boxes]],
        labels=listed.labels[boxes],
        hard=listed.hard[boxes],
        places=listed.places[boxes],
        parts={part: number[rows[keep[rows]]] for part, rows in listed.parts.items()},
    )


def joined(parts: dict[str, Listed], where: str) -> Listed:
    """Several data sets as the parts of one, the classes of the first; all of each is that part. Raises InputTrouble."""
    lists = list(parts.values())
    first = lists[0]
    if any(one.kind != first.kind for one in lists):
        kinds = " and ".join(sorted({one.kind for one in lists}))
        raise InputTrouble(f"{printable(where)}: {kinds} cannot be mixed; convert one of them first: gradlearn convert")
    starts = np.cumsum([0, *(len(one.names) for one in lists)])
    labels = [mapped(one, first.classes) for one in lists]
    rows = {part: np.arange(starts[i], starts[i + 1]) for i, part in enumerate(parts)}
    faults = Faults()
    for one in lists:
        faults.count += one.faults.count
        faults.mendable += one.faults.mendable
        faults.rejects += one.faults.rejects
    return Listed(
        kind=first.kind,
        where=where,
        root=first.root,
        base=first.base,
        classes=first.classes,
        category_ids=first.category_ids,
        names=[name for one in lists for name in one.names],
        paths=[path for one in lists for path in one.paths],
        sheets=[sheet for one in lists for sheet in one.sheets],
        ids=np.concatenate([one.ids for one in lists]),
        declared=np.concatenate([one.declared for one in lists]),
        values=np.concatenate([one.values for one in lists]),
        pictures=np.concatenate([one.pictures + starts[i] for i, one in enumerate(lists)]),
        labels=np.concatenate(labels),
        hard=np.concatenate([one.hard for one in lists]),
        places=np.concatenate([one.places for one in lists]),
        parts=rows,
        faults=faults,
        rejects=[bad for one in lists for bad in one.rejects],
        notes=[note for one in lists for note in one.notes],
    )


def mapped(listed: Listed, classes: tuple[str, ...]) -> np.ndarray:
    """(M,) int64 labels of a data set as numbers of other `classes`; raises InputTrouble for one that is not among them."""
    if listed.classes == classes:
        return listed.labels
    have = {name: i for i, name in enumerate(classes)}
    table = np.array([have.get(name, -1) for name in listed.classes] or [-1], np.int64)
    labels = table[listed.labels]
    if len(labels) and labels.min() < 0:
        name = listed.classes[int(listed.labels[int(labels.argmin())])]
        what = f"class '{printable(name)}' is not in train{printable(nearest(name, classes))}"
        raise InputTrouble(f"{printable(listed.where)}: {what}; add it to train or remove it")
    return labels


def note(level: str, what: str, count: int, examples: list[str]) -> dict[str, Any]:
    """A lint row with its first examples."""
    return {"level": level, "what": what, "count": count, "examples": examples[:5]}
