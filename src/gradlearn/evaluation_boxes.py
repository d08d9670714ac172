"""How good a trained detector is on other data with boxes, and that in lines for a terminal.

mAP50 91.07%   mAP 61.06%   on 72 pictures
  class        boxes    AP50     mAP   precision at recall 0 to 1
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlearn.detected import FLOOR, TOLD
from gradlearn.detection_errors import Found
from gradlearn.errors import InputTrouble, printable
from gradlearn.found import find_boxes

if TYPE_CHECKING:
    from gradlearn.data.boxes.boxed import Boxed
    from gradlearn.detection_score import Score
    from gradlearn.loaded import Loaded

MOST = 12  # classes of which a terminal shows who is taken for whom


def scored(model: Loaded, boxed: Boxed, rows: np.ndarray, threshold: float | None = None) -> Score:
    """Averages and errors on these pictures, classes numbered as the model's; `threshold` as for `detection_score.score`."""
    from gradlearn.detection_score import score

    pictures = list(find_boxes(model, [boxed.path(i) for i in rows.tolist()], FLOOR))
    boxes, labels, scores = (
        np.concatenate([np.zeros(shape), *(getattr(p, what) for p in pictures)])
        for what, shape in (("boxes", (0, 4)), ("labels", 0), ("scores", 0))
    )
    first = np.concatenate([[0], np.cumsum([len(p.boxes) for p in pictures])]).astype(np.int64)
    return score(boxed, rows, Found(boxes, labels.astype(np.int64), scores, first), threshold)


def evaluate(model: Loaded, run: Path, path: Path | None) -> dict[str, Any]:
    """The score of a trained detector on other data with boxes: the test part if it has one, else all of it."""
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
    result = scored(model, boxed, rows, float(model.card.get("threshold", TOLD)))
    classes = [
        {"class": name, "boxes": int(result.boxes[k]), "AP50": float(result.ap50[k]), "AP": float(result.ap[k])}
        | {"precision": [round(float(p), 4) for p in result.precision[k]]}
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
        "recalls": [round(float(r), 2) for r in result.recalls],
        "threshold": result.threshold,
        "confusion": {"classes": [*model.classes, "background"], "matrix": result.confusion.tolist()},
        "errors": result.errors,
    }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What `evaluate` returned, for a terminal: averages, each class with its curve, confusion, errors by kind."""
    score, rows = found["score"], found["classes"]
    yield f"mAP50 {score['mAP50']:.2%}   mAP {score['value']:.2%}   on {found['examples']:,} pictures"
    wide = max([len(printable(row["class"], 30)) for row in rows], default=5)
    yield f"  {'class':{wide}}   boxes    AP50     mAP   precision at recall 0 to 1"
    for row in rows:
        name = printable(row["class"], 30)
        yield f"  {name:{wide}} {row['boxes']:7,} {row['AP50']:7.1%} {row['AP']:7.1%}   {curve(row['precision'])}"
    yield f"from a score of {found['threshold']:.2f} on, that of the model:"
    names, matrix = found["confusion"]["classes"], found["confusion"]["matrix"]
    if len(names) <= MOST:
        tags = [printable(name, 10) for name in names]
        cells = [max(len(tag), 6) for tag in tags]
        wide = max(len(tag) for tag in tags)
        yield "  " + " ".join([f"{'truth, found as':{max(wide, 15)}}", *(f"{t:>{c}}" for t, c in zip(tags, cells, strict=True))])
        for tag, row in zip(tags, matrix, strict=True):
            yield "  " + " ".join([f"{tag:{max(wide, 15)}}", *(f"{n:>{c},}" for n, c in zip(row, cells, strict=True))])
    yield "  errors: " + ", ".join(f"{n:,} {kind}" for kind, n in found["errors"].items())


def curve(precision: Sequence[float], steps: int = 21) -> str:
    """Precision over recall as a row of bars, an empty place where that recall is not reached."""
    at = [precision[round(k * (len(precision) - 1) / (steps - 1))] for k in range(steps)]
    return "".join(" " if p <= 0 else "▁▂▃▄▅▆▇█"[min(int(p * 8), 7)] for p in at).rstrip()
