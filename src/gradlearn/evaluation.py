"""Score a trained model on other data with labels: the test part of the data if it has one, else all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gradlearn.insight.by_class import ByClass, by_class
from gradlearn.loaded import load


def evaluate(run: Path, path: Path | None) -> dict[str, Any]:
    """Accuracy with its 95 % interval, means over classes, each class; average precision of a detector. Raises InputTrouble."""
    from gradlearn.data.images import read_known
    from gradlearn.data.stored import take
    from gradlearn.report.noise import wilson

    model = load(run)
    if model.card["task"] == "detect":
        from gradlearn.evaluation_boxes import evaluate as on_boxes

        return on_boxes(model, run, path)
    height, width, channels = model.card["shape"]
    pictures = read_known(path, classes=model.classes, size=(height, width), channels=channels)
    n = len(pictures)
    rows = pictures.split["test"]
    truth = torch.from_numpy(pictures.labels[rows])
    guess = torch.cat([model.predict(take(pictures.pixels, rows[a : a + 500])).argmax(1) for a in range(0, n, 500)])
    accuracy = (guess == truth).double().mean().item()
    each = by_class(guess, truth.long(), len(model.classes))
    known = torch.nonzero((each.examples > 0) | each.precision.isfinite()).flatten().tolist()
    classes = [
        {"class": model.classes[k], "examples": int(each.examples[k]), "right": int(each.right[k])}
        | {name: value if value == value else None for name, value in _shares(each, k)}
        for k in known
    ]
    low, high = wilson(accuracy, n)
    every = {"accuracy": accuracy, "balanced_accuracy": each.balanced, "macro_f1": each.macro}
    score = {"name": "accuracy", "higher": True, "value": accuracy, "all": every}
    return {"run": str(run), "data": str(path), "examples": n, "score": score, "interval": [low, high], "classes": classes}


def _shares(each: ByClass, k: int) -> list[tuple[str, float]]:
    return [("recall", each.recall[k].item()), ("precision", each.precision[k].item()), ("f1", each.f1[k].item())]
