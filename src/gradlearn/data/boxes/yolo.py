"""YOLO: a text file for each picture, a line for each box: class, centre, width and height as shares of the picture.

    data.yaml (path, train, val, test, names, nc)     each part a folder, a text file that lists pictures, or a list of them
    PATH/images/train/a.jpg     PATH/labels/train/a.txt            PATH/train/images/a.jpg     PATH/train/labels/a.txt

The labels of a picture are found by putting `labels` for the last `images` in its path; a picture without a label file has no
boxes. Without data.yaml, class names are the lines of classes.txt, else numbers. `download:` is never executed.

Redmon et al., "You Only Look Once", CVPR 2016, https://arxiv.org/abs/1506.02640; the layout is Ultralytics'.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from gradlearn.data.boxes.listed import Listed, note
from gradlearn.data.boxes.place import text
from gradlearn.data.boxes.voc_sheet import number
from gradlearn.data.boxes.yolo_layout import MOST_CLASSES as MOST
from gradlearn.data.boxes.yolo_layout import Reading, class_list, configs, configured, pictures_of, plain
from gradlearn.data.place import roots
from gradlearn.data.reject import Bad, reject
from gradlearn.data.source import PARTS, joined
from gradlearn.errors import InputTrouble, printable


def read_yolo(path: Path, follow_links_to: str | os.PathLike[str] | None) -> Listed:
    """All pictures and boxes of a data.yaml or of a folder; raises InputTrouble."""
    folder, config = (path, configs(path)) if path.is_dir() else (path.parent, [path.name])
    if len(config) > 1:
        raise InputTrouble(f"{printable(path)}: '{printable(config[0])}' and '{printable(config[1])}'; give the one that is meant")
    if config:
        reading, parts = configured(folder, config[0], follow_links_to)
    else:
        root = os.path.realpath(folder)
        names, sheet = class_list(folder, roots(folder, follow_links_to))
        reading = Reading(str(folder), root, roots(folder, follow_links_to), names, sheet)
        parts = plain(folder)
    rows: dict[str, np.ndarray] = {}
    for part in PARTS:
        if part in parts:
            start = len(reading.pictures)
            for entry in parts[part]:
                for name, real in pictures_of(reading, entry):
                    _add(reading, name, real)
            rows[part] = np.arange(start, len(reading.pictures))
    return _listed(reading, rows)


def _add(reading: Reading, name: str, real: str) -> None:
    """One picture, and the lines of its label file."""
    sheet = labels_of(name)
    where = joined(reading.where, sheet)
    try:
        data = text(os.path.join(reading.root, sheet), reading.roots)
        lines = data.decode("utf-8-sig").split("\n")
        reading.labelled += 1
    except (FileNotFoundError, NotADirectoryError):
        lines = []
    except (Bad, UnicodeDecodeError) as error:
        bad = error if isinstance(error, Bad) else Bad("not UTF-8", "fix the file")
        reading.rejects.append(reject(where, bad))
        return
    picture = len(reading.pictures)
    reading.pictures.append(name)
    reading.paths.append(real)
    reading.sheets.append(where)
    classes = MOST if reading.names is None else len(reading.names)
    for i, line in enumerate(lines):
        words = line.split()
        if not words:
            continue
        try:
            label, box = parsed(words, classes, reading.sheet)
        except Bad as bad:
            reading.faults.add(f"{where}:{i + 1}", bad.what, bad.remedy)
            continue
        reading.top = max(reading.top, label)
        reading.columns.add(picture, label, False, i + 1, box)


def labels_of(name: str) -> str:
    """The label file of a picture: `labels` in place of the last `images`, .txt in place of the extension."""
    above, _, last = name.rpartition("/")
    parts = above.split("/") if above else []
    at = next((i for i in range(len(parts) - 1, -1, -1) if parts[i] == "images"), None)
    if at is not None:
        parts[at] = "labels"
    return "/".join([*parts, f"{last.rpartition('.')[0] or last}.txt"])


def parsed(words: list[str], classes: int, sheet: str) -> tuple[int, tuple[float, ...]]:
    """Class and cx, cy, w, h of one line; raises Bad."""
    if len(words) != 5:
        more = " (an outline? boxes are expected)" if len(words) > 6 and len(words) % 2 else ""
        raise Bad(f"{len(words)} numbers, expected 5{more}", "class cx cy w h")
    values = []
    for word in words:
        try:
            values.append(number(word))
        except ValueError:
            raise Bad(f"'{printable(word, 40)}' is not a number", "class cx cy w h") from None
    label = values[0]
    if label != label or label % 1 or abs(label) == float("inf"):
        raise Bad(f"class {printable(words[0], 40)} is not a whole number", "fix it")
    if not 0 <= label < classes:
        raise Bad(f"class {label:.0f} outside 0..{classes - 1}", f"fix it or {sheet.rpartition('/')[2] or 'the classes'}")
    return int(label), tuple(values[1:])


def _listed(reading: Reading, rows: dict[str, np.ndarray]) -> Listed:
    if not reading.labelled:
        what = "no label files; expected labels/<name>.txt for images/<name>.jpg"
        raise InputTrouble(f"{printable(reading.where)}: {what}")
    notes = reading.notes
    if reading.names is None:
        notes = [*notes, note("info", "no data.yaml or classes.txt: classes have numbers for names", reading.top + 1, [])]
    n = len(reading.pictures)
    classes = reading.names if reading.names is not None else tuple(str(i) for i in range(reading.top + 1))
    values, pictures, labels, places, hard = reading.columns.arrays()
    return Listed(
        kind="yolo",
        where=reading.where,
        root=reading.root,
        base=reading.where,
        classes=classes,
        category_ids=np.arange(1, len(classes) + 1),
        names=reading.pictures,
        paths=reading.paths,
        sheets=reading.sheets,
        ids=np.arange(1, n + 1),
        declared=np.zeros((n, 2), np.int32),
        values=values,
        pictures=pictures,
        labels=labels,
        hard=hard,
        places=places,
        parts=rows,
        faults=reading.faults,
        rejects=reading.rejects,
        notes=notes,
    )
