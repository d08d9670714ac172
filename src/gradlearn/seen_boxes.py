"""What a trained detector does, as files for the report: how good it is by class, who is taken for whom, where it errs.

pictures/detection.json, confusion.json, lint.json, and drawn.json with a PNG for each picture: boxes found, missed, too many.
All of it is a pure function of the weights and the data, so that a resumed run writes the same bytes. The score from which a box
counts is chosen on validation pictures (F1 at IoU .5 is highest there): the test pictures have no say in it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlearn.data.decode import decode
from gradlearn.data.place import load
from gradlearn.data.reject import Bad
from gradlearn.detection_errors import chosen, matched
from gradlearn.insight import png

if TYPE_CHECKING:
    from gradlearn.loop import Descent
    from gradlearn.record.record import Record
    from gradlearn.symbols import Data
    from gradlearn.tasks.detect import Detect, Judged

CHOSEN_ON = 500  # validation pictures, at most, that the threshold is chosen on
WORST, RIGHT = 12, 4  # pictures shown: those with most errors, and those with most boxes and no error
SIDE, COLOURS = 400, 128  # of a picture in the report
BOXES = 200  # of a picture, drawn


def write_boxes(task: Detect, d: Descent, record: Record) -> float:
    """Write all of it, of the test pictures (the validation pictures where there are none); in evaluation mode.

    Returns the score from which a box counts.
    """
    held = {split: data for split, data in (("valid", d.valid), ("test", d.test)) if data is not None and len(data)}
    assert held, "a run of pictures with boxes has validation data"
    split = "test" if "test" in held else "valid"
    threshold = None
    if split == "test" and "valid" in held:
        threshold = task.judge(d.theta.model, some(held["valid"], CHOSEN_ON)).score.threshold
    last = task.judged if split == "test" and task.judged is not None and task.judged.data is held[split] else None
    judged = task.judge(d.theta.model, held[split], threshold) if last is None else task.counted(last, threshold)
    names, result = list(task.boxed.classes), judged.score
    record.write_json("pictures/detection.json", described(task, judged, split))
    confusion = {"classes": [*names, "background"], "matrix": result.confusion.tolist(), "split": split, "background": True}
    record.write_json("pictures/confusion.json", confusion)
    record.write_json("pictures/drawn.json", drawn(task, judged, record.folder / "pictures"))
    record.write_json("pictures/lint.json", task.notes)
    return result.threshold


def some(data: Data, most: int) -> Data:
    """All of the data, or so many of them, evenly."""
    import torch

    from gradlearn.adapt import Subset

    return data if len(data) <= most else Subset(data, torch.linspace(0, len(data) - 1, most).long())


def described(task: Detect, judged: Judged, split: str) -> dict[str, Any]:
    """Averages, curves and errors, as JSON."""
    result, boxed = judged.score, task.boxed
    rows = boxed.rows(boxed.split["train"])
    train = np.bincount(boxed.labels[rows][~boxed.hard[rows]], minlength=len(boxed.classes))
    classes = [
        {
            "class": name,
            "train": int(train[k]),
            "boxes": int(result.boxes[k]),
            "AP": number(result.ap[k]),
            "AP50": number(result.ap50[k]),
            "precision": [number(p) for p in result.precision[k]],
        }
        for k, name in enumerate(boxed.classes)
    ]
    found = {"split": split, "pictures": len(judged.pictures), "threshold": round(result.threshold, 4)}
    found |= {"mAP": number(result.map), "mAP50": number(result.map50), "mAP75": number(result.map75)}
    return found | {"errors": result.errors, "recalls": [round(float(r), 2) for r in result.recalls], "classes": classes}


def number(value: float) -> float | None:
    """For JSON: None for what is no number."""
    return round(float(value), 4) if math.isfinite(value) else None


def drawn(task: Detect, judged: Judged, folder: Path) -> list[dict[str, Any]]:
    """The pictures with most errors, then some without one, each with its boxes by what became of them."""
    rows = [of_picture(task, judged, i) for i in range(len(judged.pictures))]
    wrong = [sum(box["is"] in ("missed", "extra") for box in row["boxes"]) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: -wrong[i])
    shown = [i for i in order if wrong[i]][:WORST]
    shown += sorted((i for i in order if not wrong[i] and rows[i]["boxes"]), key=lambda i: -len(rows[i]["boxes"]))[:RIGHT]
    told = []
    for k, i in enumerate(shown):
        try:
            pixels = decode(load(task.boxed.path(int(judged.pictures[i]))), None, 3)
        except (Bad, OSError):  # it was there when the run began
            continue
        told.append(rows[i] | {"file": png.write(folder / f"boxes-{k:02d}.png", pixels, SIDE, COLOURS), "errors": wrong[i]})
    return told


def of_picture(task: Detect, judged: Judged, i: int) -> dict[str, Any]:
    """Picture i: its name and size, and every box: right, extra, missed or hard."""
    boxed, found, picture = task.boxed, judged.found, int(judged.pictures[i])
    threshold = judged.score.threshold
    one, rows = matched(boxed, found, i, picture, threshold), chosen(found, i, threshold)
    boxes: list[dict[str, Any]] = []
    for k, row in enumerate(rows.tolist()):
        what = "hard" if one.spared[k] else "right" if one.right[k] >= 0 else "extra"
        score = round(float(found.scores[row]), 3)
        boxes.append(
            {"is": what, "class": boxed.classes[int(found.labels[row])], "score": score, "box": pixels_of(found.boxes[row])}
        )
    true, labels, hard = boxed.of(picture)
    true, labels = true[~hard], labels[~hard]
    for g in sorted(set(range(len(true))) - set(one.right.tolist())):
        boxes.append({"is": "missed", "class": boxed.classes[int(labels[g])], "box": pixels_of(true[g])})
    h, w = (int(v) for v in boxed.sizes[picture])
    return {"source": boxed.files[picture], "width": w, "height": h, "boxes": boxes[:BOXES]}


def pixels_of(box: np.ndarray) -> list[float]:
    """x1, y1, x2, y2 for JSON."""
    return [round(float(v), 1) for v in box]
