"""Small sets of pictures with boxes, in each form, from the same numbers."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gradlearn.errors import InputTrouble

W, H = 40, 30
CLASSES = ("cat", "dog")
Box = tuple[str, float, float, float, float]
BOXES: Mapping[str, Sequence[Box]] = {
    "a": [("cat", 1, 2, 11, 12), ("dog", 5, 6, 40, 30)],
    "b": [("dog", 0, 0, 20, 10)],
    "c": [("cat", 3, 4, 9, 25), ("cat", 10, 4, 19, 25)],
    "d": [("dog", 7, 7, 8, 29)],
}
PARTS = {"train": ["a", "b"], "val": ["c"], "test": ["d"]}


def picture(path: Path, w: int = W, h: int = H, seed: int | None = None, turn: int = 1) -> None:
    """A JPEG of noise, another for every name."""
    chance = np.random.default_rng(sum(path.stem.encode()) if seed is None else seed)
    image = Image.fromarray(chance.integers(0, 256, (h // 4 + 1, w // 4 + 1, 3), dtype=np.uint8)).resize((w, h))
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = turn
    file = io.BytesIO()
    image.save(file, "JPEG", **({"exif": exif} if turn != 1 else {}))
    path.write_bytes(file.getvalue())


def sheet(boxes: Sequence[Box], w: int = W, h: int = H, extra: str = "") -> str:
    objects = "".join(
        f"<object>\n<name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>{extra}</object>\n"
        for name, a, b, c, d in boxes
    )
    return f"<annotation>\n<size><width>{w}</width><height>{h}</height><depth>3</depth></size>\n{objects}</annotation>\n"


def voc(root: Path, boxes: Mapping[str, Sequence[Box]] = BOXES, parts: Mapping[str, Sequence[str]] | None = PARTS) -> Path:
    (root / "Annotations").mkdir(parents=True)
    for name, some in boxes.items():
        picture(root / "JPEGImages" / f"{name}.jpg")
        (root / "Annotations" / f"{name}.xml").write_text(sheet(some))
    for part, names in (parts or {}).items():
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
    return root


def document(boxes: Mapping[str, Sequence[Box]] = BOXES, **more: object) -> dict:
    images = [{"id": 10 + i, "file_name": f"{name}.jpg", "width": W, "height": H} for i, name in enumerate(boxes)]
    annotations = [
        {
            "id": 0,
            "image_id": 10 + i,
            "category_id": 7 * (1 + CLASSES.index(name)),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": 0,
        }
        for i, some in enumerate(boxes.values())
        for name, x1, y1, x2, y2 in some
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number + 1
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 7, "name": "cat"}, {"id": 14, "name": "dog"}],
    } | more


def coco(root: Path, parts: Mapping[str, Sequence[str]] = PARTS) -> Path:
    (root / "annotations").mkdir(parents=True)
    for part, names in parts.items():
        for name in names:
            picture(root / "images" / part / f"{name}.jpg")
        said = document({name: BOXES[name] for name in names})
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(said))
    return root


def one_coco(root: Path, **more: object) -> Path:
    """One JSON file beside images/."""
    for name in BOXES:
        picture(root / "images" / f"{name}.jpg")
    (root / "coco.json").write_text(json.dumps(document(**more), indent=1))
    return root / "coco.json"


def yolo(root: Path, parts: Mapping[str, Sequence[str]] = PARTS, config: str | None = None) -> Path:
    for part, names in parts.items():
        (root / "labels" / part).mkdir(parents=True)
        for name in names:
            picture(root / "images" / part / f"{name}.jpg")
            rows = [
                f"{CLASSES.index(label)} {(a + c) / 2 / W!r} {(b + d) / 2 / H!r} {(c - a) / W!r} {(d - b) / H!r}\n"
                for label, a, b, c, d in BOXES[name]
            ]
            (root / "labels" / part / f"{name}.txt").write_text("".join(rows))
    places = "".join(f"{part}: images/{part}\n" for part in parts)
    (root / "data.yaml").write_text(f"{places}names: [cat, dog]\n" if config is None else config)
    return root


def refused(call, *arguments, **options) -> str:
    with pytest.raises(InputTrouble) as caught:
        call(*arguments, **options)
    return str(caught.value)


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    return SimpleNamespace(
        picture=picture,
        sheet=sheet,
        voc=voc,
        coco=coco,
        one_coco=one_coco,
        yolo=yolo,
        document=document,
        refused=refused,
        boxes=BOXES,
        parts=PARTS,
    )
