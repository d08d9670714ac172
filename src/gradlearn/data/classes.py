"""From the labels that a data set has to class numbers: the classes are those of train, and no part may have others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gradlearn.data.name import natural
from gradlearn.data.place import load
from gradlearn.data.reject import Bad
from gradlearn.data.source import Found, Part
from gradlearn.errors import InputTrouble, nearest, printable


def ordered(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Class names in natural order; raises InputTrouble where two differ only by case."""
    seen: dict[str, str] = {}
    for name in sorted(names, key=natural):
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            both = f"names '{printable(other)}' and '{printable(name)}' differ only by case"
            raise InputTrouble(f"{printable(where)}: {both}; rename one")
    return tuple(sorted(names, key=natural))


def enough(classes: Sequence[str], where: str) -> None:
    """Raise InputTrouble for fewer than two classes."""
    if len(classes) < 2:
        only = f"only one class '{printable(classes[0])}'" if classes else "no classes"
        raise InputTrouble(f"{printable(where)}: {only}; classification needs at least 2")


def numbered(raw: Mapping[str, np.ndarray], names: Sequence[str] | None, where: Mapping[str, str]) -> tuple[tuple[str, ...], dict]:
    """Classes and (n,) int64 labels of each part, from labels `raw` by part; `names` are of integers 0, 1, ...

    Raises InputTrouble for a label that train does not have or that `names` does not reach.
    """
    train = raw["train"]
    if names is not None and train.dtype.kind == "i":
        classes = tuple(names)
        values = np.arange(len(names))
    else:
        values = np.unique(train)
        classes = tuple(str(v) for v in values.tolist())
        if train.dtype.kind != "i":
            classes = ordered(classes, where["train"])
            values = np.array(classes, dtype=object)
        elif len(values) and values[0] < 0:
            what = f"label {values[0]} is negative, which means none"
            raise InputTrouble(f"{printable(where['train'])}[{int(np.argmin(train))}]: {what}; give it a label or remove it")
    ids = {value: i for i, value in enumerate(values.tolist())}
    return classes, {part: _ids(labels, ids, classes, part, where[part]) for part, labels in raw.items()}


def _ids(labels: np.ndarray, ids: dict, classes: Sequence[str], part: str, where: str) -> np.ndarray:
    distinct, inverse = np.unique(labels, return_inverse=True)
    table = np.array([ids.get(v, -1) for v in distinct.tolist()], dtype=np.int64)
    found = table[inverse.reshape(-1)] if len(labels) else np.empty(0, np.int64)
    if len(found) and found.min() < 0:
        row = int(np.argmin(found))
        label = labels[row]
        if isinstance(label, str):
            what = f"class '{printable(label)}' is not in train{printable(nearest(label, classes))}"
        else:
            what = f"label {label} outside the {len(classes)} classes of train ({printable(', '.join(classes), 60)})"
        raise InputTrouble(f"{printable(where)}[{row}]: {what}; fix the label or remove the row")
    return found


def matched(found: Found, part: str, classes: Sequence[str]) -> Part:
    """One part of other data, its labels as numbers of `classes`; raises InputTrouble for a foreign class."""
    chosen = found.parts[part]
    have = {name: i for i, name in enumerate(classes)}
    if not found.named and not have.keys() >= set(found.classes) and all(int(c) < len(classes) for c in found.classes):
        table = [int(c) for c in found.classes]
    else:
        table = [have.get(c, -1) for c in found.classes]
    used = np.unique(chosen.labels).tolist()
    foreign = [found.classes[i] for i in used if table[i] < 0]
    if foreign:
        what = f"class '{printable(foreign[0])}' is not in train{printable(nearest(foreign[0], classes))}"
        raise InputTrouble(f"{printable(chosen.where)}: {what}; add it to train or remove it")
    labels = np.array(table, dtype=np.int64)[chosen.labels]
    return Part(chosen.where, chosen.names, labels, chosen.chunks, chosen.shape)


def listed(folder: Path) -> tuple[str, ...] | None:
    """Class names from labels.txt in a folder, a line each; None where there is none."""
    path = folder / "labels.txt"
    if not path.is_file():
        return None
    try:
        lines = load(path.resolve()).decode("utf-8-sig").splitlines()
    except (Bad, UnicodeDecodeError) as error:
        raise InputTrouble(f"{printable(path)}: {printable(error)}; give one class name a line, UTF-8") from None
    names = [line.strip() for line in lines if line.strip()]
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise InputTrouble(f"{printable(path)}: class '{printable(twice)}' appears twice; names must be unique")
    return tuple(names) or None


def declared(metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...] | None:
    """Class names from the ClassLabel feature that Hugging Face's `datasets` leaves in a Parquet schema; else None."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    good = isinstance(names, list) and names and all(isinstance(n, str) for n in names) and len(set(names)) == len(names)
    return tuple(names) if good else None
