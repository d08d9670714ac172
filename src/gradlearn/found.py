"""A trained detector on other pictures: what it finds there, in pixels of the files; drawn into them; scored.

    for picture in find_boxes(load(run), ["a.jpg"]):  picture.boxes, picture.scores, picture.labels

Pictures are laid on the canvas that the detector was trained on, as in training. `floor` is the score from which a box is told: 0.3
for somebody who looks, where the run did not find a better one on its validation pictures; next to nothing for a score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from gradlearn.data.canvas import lay
from gradlearn.detected import TOLD, detect
from gradlearn.errors import InputTrouble
from gradlearn.loop import evaluating

if TYPE_CHECKING:
    from gradlearn.loaded import Loaded
    from gradlearn.models.detector import Detector

PART = 16  # pictures at once


@dataclass(frozen=True, slots=True)
class Picture:
    """What was found in one picture file, best first."""

    file: str
    boxes: np.ndarray  # (k, 4) float32 x1, y1, x2, y2 in pixels of the file as it is shown
    scores: np.ndarray  # (k,) float32 in [0, 1]
    labels: np.ndarray  # (k,) int64 into the classes of the model
    size: tuple[int, int]  # h, w of the file as it is shown

    def rows(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """For JSON: class, score and box (x, y, width, height) of each, as COCO writes them."""
        sides = np.concatenate([self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]], 1)
        named = zip(self.labels.tolist(), self.scores.tolist(), sides.tolist(), strict=True)
        return [{"class": classes[k], "score": round(s, 4), "bbox": [round(v, 2) for v in box]} for k, s, box in named]


def find_boxes(model: Loaded, files: Sequence[str], floor: float | None = None) -> Iterator[Picture]:
    """What the model finds in these picture files.

    `floor`: the score from which a box is told; None: the one that was best for the validation pictures of the run.
    Raises InputTrouble for a file that cannot be read, a score out of range, or another kind of model.
    """
    if model.card.get("task") != "detect":
        raise InputTrouble(f"find_boxes: a model of {model.card.get('task')!r}; it takes a detector, from: gradlearn train detect")
    height, width = (int(k) for k in model.card["shape"][:2])
    floor = float(model.card.get("threshold", TOLD)) if floor is None else floor
    if not 0.0 <= floor <= 1.0:
        raise InputTrouble(f"--score {floor:g}: must be in [0, 1]")
    for a in range(0, len(files), PART):
        part = files[a : a + PART]
        canvases = lay(part, (height, width))
        with evaluating(model.model):
            seen = detect(
                cast("Detector", model.model), canvases.take(np.arange(len(part))), torch.from_numpy(canvases.extents), floor
            )
        for i, (file, found) in enumerate(zip(part, seen, strict=True)):
            boxes = canvases.back(found.boxes.numpy(), np.full(len(found.boxes), i))
            h, w = (int(v) for v in canvases.sizes[i])
            yield Picture(file, boxes, found.scores.numpy(), found.labels.numpy(), (h, w))


def coco(model: Loaded, pictures: Sequence[Picture], names: Sequence[str]) -> dict[str, Any]:
    """What was found as a COCO document: images, categories, and annotations with scores; ids from 1 on.

    The list under "annotations" alone is what COCO's own tools read as results.
    """
    images, annotations = [], []
    for number, (picture, name) in enumerate(zip(pictures, names, strict=True), 1):
        images.append({"id": number, "file_name": name, "width": picture.size[1], "height": picture.size[0]})
        for row, label in zip(picture.rows(model.classes), picture.labels.tolist(), strict=True):
            x, y, w, h = row["bbox"]
            found = {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "bbox": [x, y, w, h]}
            annotations.append(found | {"area": round(w * h, 2), "iscrowd": 0, "score": row["score"]})
    categories = [{"id": k, "name": name} for k, name in enumerate(model.classes, 1)]
    return {"images": images, "categories": categories, "annotations": annotations}


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
        at = beside(box, pen.textbbox((0, 0), text)[2:], image.width)
        pen.rectangle(pen.textbbox(at, text), fill=colour)
        pen.text(at, text, fill="white")
    out.parent.mkdir(parents=True, exist_ok=True)
    image.save(out)


def beside(box: Sequence[float], text: Sequence[float], width: float) -> tuple[float, float]:
    """Where a text of this width and height goes: above its box, inside where there is no room, never beyond the right edge."""
    return max(min(box[0], width - text[0] - 1), 0.0), box[1] - text[1] - 1 if box[1] > text[1] else box[1] + 1


COLOURS = ("#c0392b", "#1f618d", "#117a65", "#9a7d0a", "#6c3483", "#a04000", "#2e4053", "#7b241c")
