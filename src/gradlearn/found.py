"""A trained detector on other pictures: what it finds there, in pixels of the files; drawn into them; scored.

    for picture in find_boxes(load(run), ["a.jpg"]):  picture.boxes, picture.scores, picture.labels

Pictures are laid on the canvas that the detector was trained on, as in training. `floor` is the score from which a box is told: 0.3
for somebody who looks, next to nothing for a score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from gradlearn.data.canvas import lay
from gradlearn.detected import FLOOR, detect
from gradlearn.errors import InputTrouble
from gradlearn.loop import evaluating

if TYPE_CHECKING:
    from gradlearn.data.boxes.boxed import Boxed
    from gradlearn.detection_score import Score
    from gradlearn.loaded import Loaded
    from gradlearn.models.detector import Detector

PART = 16  # pictures at once
TOLD = 0.3  # score of a box that somebody is told of


@dataclass(frozen=True, slots=True)
class Picture:
    """What was found in one picture file, best first."""

    file: str
    boxes: np.ndarray  # (k, 4) float32 x1, y1, x2, y2 in pixels of the file as it is shown
    scores: np.ndarray  # (k,) float32 in [0, 1]
    labels: np.ndarray  # (k,) int64 into the classes of the model

    def rows(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """For JSON: class, score and box (x, y, width, height) of each, as COCO writes them."""
        sides = np.concatenate([self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]], 1)
        named = zip(self.labels.tolist(), self.scores.tolist(), sides.tolist(), strict=True)
        return [{"class": classes[k], "score": round(s, 4), "bbox": [round(v, 2) for v in box]} for k, s, box in named]


def find_boxes(model: Loaded, files: Sequence[str], floor: float = TOLD) -> Iterator[Picture]:
    """What the model finds in these picture files. Raises InputTrouble for one that cannot be read, or another kind of model."""
    if model.card.get("task") != "detect":
        raise InputTrouble(f"find_boxes: a model of {model.card.get('task')!r}; it takes a detector, from: gradlearn train detect")
    height, width = (int(k) for k in model.card["shape"][:2])
    for a in range(0, len(files), PART):
        part = files[a : a + PART]
        canvases = lay(part, (height, width))
        with evaluating(model.model):
            seen = detect(cast("Detector", model.model), canvases.pixels, torch.from_numpy(canvases.extents), floor)
        for i, (file, found) in enumerate(zip(part, seen, strict=True)):
            boxes = canvases.back(found.boxes.numpy(), np.full(len(found.boxes), i))
            yield Picture(file, boxes, found.scores.numpy(), found.labels.numpy())


def scored(model: Loaded, boxed: Boxed, rows: np.ndarray) -> Score:
    """Averages and errors on these pictures, whose classes are numbered as the model's."""
    from gradlearn.detection_errors import Found
    from gradlearn.detection_score import score

    pictures = list(find_boxes(model, [boxed.path(i) for i in rows.tolist()], FLOOR))
    boxes, labels, scores = (
        np.concatenate([np.zeros(shape), *(getattr(p, what) for p in pictures)])
        for what, shape in (("boxes", (0, 4)), ("labels", 0), ("scores", 0))
    )
    first = np.concatenate([[0], np.cumsum([len(p.boxes) for p in pictures])]).astype(np.int64)
    return score(boxed, rows, Found(boxes, labels.astype(np.int64), scores, first))


def evaluate(model: Loaded, run: Path, path: Path | None) -> dict[str, Any]:
    """The score of a trained detector on other data with boxes: the test part if it has one, else all of it."""
    from dataclasses import replace

    from gradlearn.data.boxes.read import read_given

    if path is None:
        raise InputTrouble("evaluate: no data; give a folder with boxes: Pascal VOC, COCO or YOLO")
    boxed = read_given(path)
    foreign = [name for name in boxed.classes if name not in model.classes]
    if foreign:
        raise InputTrouble(f"{path}: class {foreign[0]!r} is not known to {run}; it knows {', '.join(model.classes)}")
    number = np.array([model.classes.index(name) for name in boxed.classes], np.int64)
    boxed = replace(boxed, labels=number[boxed.labels] if len(boxed.labels) else boxed.labels, classes=model.classes)
    rows = boxed.split["test"] if len(boxed.split.get("test", ())) else np.arange(len(boxed))
    result = scored(model, boxed, rows)
    classes = [
        {"class": name, "boxes": int(result.boxes[k]), "AP50": float(result.ap50[k]), "AP": float(result.ap[k])}
        for k, name in enumerate(model.classes)
        if result.boxes[k]
    ]
    score = {"name": "mAP", "higher": True, "value": result.map, "mAP50": result.map50, "mAP75": result.map75}
    return {
        "run": str(run),
        "data": str(path),
        "examples": len(rows),
        "score": score,
        "classes": classes,
        "threshold": result.threshold,
        "confusion": result.confusion.tolist(),
        "errors": result.errors,
    }


def draw(picture: Picture, classes: Sequence[str], out: Path) -> None:
    """Write the picture with its boxes as a PNG."""
    from PIL import Image, ImageDraw

    from gradlearn.data.decode import decode
    from gradlearn.data.place import load

    image = Image.fromarray(decode(load(picture.file), None, 3))
    pen, line = ImageDraw.Draw(image), max(round(max(image.size) / 320), 1)
    for box, score, label in zip(picture.boxes.tolist(), picture.scores.tolist(), picture.labels.tolist(), strict=True):
        colour = COLOURS[label % len(COLOURS)]
        pen.rectangle(box, outline=colour, width=line)
        text = f"{classes[label]} {score:.0%}"
        at = (box[0] + line + 1, box[1] + line)
        pen.rectangle(pen.textbbox(at, text), fill=colour)
        pen.text(at, text, fill="white")
    out.parent.mkdir(parents=True, exist_ok=True)
    image.save(out)


COLOURS = ("#c0392b", "#1f618d", "#117a65", "#9a7d0a", "#6c3483", "#a04000", "#2e4053", "#7b241c")
