"""Pictures with boxes, written as VOC, COCO or YOLO: files into an empty folder, the names of pictures chosen by the caller.

Numbers have as many digits as it takes to get the same float32 corners back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TextIO
from xml.sax.saxutils import escape

import numpy as np

from gradlearn.data.boxes.boxed import Boxed
from gradlearn.data.boxes.check import corners

FOLDERS = {"train": "train", "valid": "val", "test": "test"}
DIGITS = (1, 2, 3, 4, 6, 9)  # behind the point

Names = Mapping[str, list[str]]  # part -> a file name for each of its pictures


def write_voc(boxed: Boxed, names: Names, out: Path) -> None:
    """Annotations/, ImageSets/Main/ and labels.txt; the pictures are JPEGImages/<name>."""
    (out / "Annotations").mkdir()
    (out / "ImageSets" / "Main").mkdir(parents=True)
    _lines(out / "labels.txt", boxed.classes)
    stems = {part: [name.rpartition(".")[0] for name in some] for part, some in names.items()}
    for part, some in stems.items():
        _lines(out / "ImageSets" / "Main" / f"{FOLDERS[part]}.txt", some)
        for i, name, stem in zip(boxed.split[part].tolist(), names[part], some, strict=True):
            (out / "Annotations" / f"{stem}.xml").write_text(sheet(boxed, i, name), "utf-8")
    if "valid" in stems:
        _lines(out / "ImageSets" / "Main" / "trainval.txt", stems["train"] + stems["valid"])


def sheet(boxed: Boxed, i: int, name: str) -> str:
    """The XML of one picture."""
    h, w = boxed.sizes[i].tolist()
    lines = ["<annotation>", "  <folder>JPEGImages</folder>", f"  <filename>{escape(name)}</filename>"]
    lines += ["  <size>", f"    <width>{w}</width>", f"    <height>{h}</height>", "    <depth>3</depth>", "  </size>"]
    for box, label, hard in zip(*boxed.of(i), strict=True):
        lines += ["  <object>", f"    <name>{escape(boxed.classes[label])}</name>", f"    <difficult>{int(hard)}</difficult>"]
        corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        lines += ["    <bndbox>", *(f"      <{side}>{shortest(v)}</{side}>" for side, v in corners), "    </bndbox>", "  </object>"]
    return "\n".join([*lines, "</annotation>", ""])


def shortest(value: np.float32) -> str:
    """The fewest digits that give the same float32."""
    return str(value).removesuffix(".0")


def write_coco(boxed: Boxed, names: Names, out: Path) -> None:
    """annotations/instances_<part>.json; the pictures are images/<part>/<name>."""
    (out / "annotations").mkdir()
    values = sides(boxed.boxes)
    number = 1
    categories = [{"id": int(i), "name": name} for i, name in zip(boxed.category_ids, boxed.classes, strict=True)]
    for part, some in names.items():
        rows = boxed.split[part]
        with (out / "annotations" / f"instances_{FOLDERS[part]}.json").open("w", encoding="utf-8") as file:
            file.write('{"images": [')
            _items(file, _images(boxed, rows, some))
            file.write('], "annotations": [')
            number = _items(file, _annotations(boxed, values, rows, number), number)
            file.write('], "categories": [')
            _items(file, categories)
            file.write("]}\n")


def _images(boxed: Boxed, rows: np.ndarray, names: list[str]) -> Iterable[dict]:
    for i, name in zip(rows.tolist(), names, strict=True):
        h, w = boxed.sizes[i].tolist()
        yield {"id": int(boxed.image_ids[i]), "file_name": name, "height": h, "width": w}


def _annotations(boxed: Boxed, values: np.ndarray, rows: np.ndarray, number: int) -> Iterable[dict]:
    for i in rows.tolist():
        for k in range(int(boxed.first[i]), int(boxed.first[i + 1])):
            x, y, w, h = (int(v) if v == int(v) else v for v in values[k].tolist())
            owner, category = int(boxed.image_ids[i]), int(boxed.category_ids[boxed.labels[k]])
            one = {"id": number, "image_id": owner, "category_id": category, "bbox": [x, y, w, h]}
            yield one | {"area": round(w * h, 4), "iscrowd": int(boxed.hard[k]), "segmentation": []}
            number += 1


def _items(file: TextIO, items: Iterable[dict], number: int = 0) -> int:
    """Items of a JSON list, one a line; returns `number` and how many."""
    for k, item in enumerate(items):
        file.write(("" if not k else ",") + "\n" + json.dumps(item, ensure_ascii=False))
        number += 1
    return number


def sides(boxes: np.ndarray) -> np.ndarray:
    """(M, 4) float64 x y w h of few digits: float32(x + w) is the x2 of (M, 4) float32 corners, float32(y + h) the y2."""
    low = np.array([float(str(v)) for v in boxes[:, :2].ravel()]).reshape(-1, 2)
    high = np.array([float(str(v)) for v in boxes[:, 2:].ravel()]).reshape(-1, 2)
    found = boxes[:, 2:].astype(np.float64) - low
    done = np.zeros(found.shape, bool)
    for digits in DIGITS:
        tried = np.round(high - low, digits)
        good = ~done & ((low + tried).astype(np.float32) == boxes[:, 2:]) & (tried > 0)
        found[good] = tried[good]
        done |= good
    return np.concatenate([low, found], axis=1)


def write_yolo(boxed: Boxed, names: Names, out: Path) -> None:
    """data.yaml and labels/<part>/; the pictures are images/<part>/<name>. Hard boxes are left out: YOLO has no word for them."""
    config = [*(f"{FOLDERS[part]}: images/{FOLDERS[part]}" for part in names), f"nc: {len(boxed.classes)}", "names:"]
    config += [f"  {i}: {json.dumps(name, ensure_ascii=False)}" for i, name in enumerate(boxed.classes)]
    _lines(out / "data.yaml", config)
    for part, some in names.items():
        folder = out / "labels" / FOLDERS[part]
        folder.mkdir(parents=True)
        for i, name in zip(boxed.split[part].tolist(), some, strict=True):
            _lines(folder / f"{name.rpartition('.')[0]}.txt", lines(boxed, i))


def lines(boxed: Boxed, i: int) -> list[str]:
    """The lines of one picture."""
    boxes, labels, hard = boxed.of(i)
    h, w = boxed.sizes[i].tolist()
    rows = shares(boxes[~hard], w, h).tolist()
    return [f"{label} {' '.join(map(_plain, row))}" for label, row in zip(labels[~hard].tolist(), rows, strict=True)]


def shares(boxes: np.ndarray, w: int, h: int) -> np.ndarray:
    """(k, 4) float64 cx cy w h of 0..1, of as few digits as give the same float32 corners."""
    x1, y1, x2, y2 = boxes.astype(np.float64).T
    exact = np.stack([(x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h], axis=1)
    found, sizes = exact.copy(), np.full((2, len(boxes)), ((w,), (h,)), np.float64)
    for digits in (10, 6):
        tried = np.round(exact, digits)
        good = (corners("yolo", tried, *sizes).astype(np.float32) == boxes).all(axis=1)
        found[good] = tried[good]
    return found


def _plain(value: float) -> str:
    """Without an exponent where that is short."""
    text = repr(value)
    return f"{value:.10f}".rstrip("0") if "e" in text and value >= 1e-6 else text


def _lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
