"""Score a trained model on other data with labels: the test part of the data if it has one, else all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gradlearn.loaded import load


def evaluate(run: Path, path: Path | None) -> dict[str, Any]:
    """Accuracy with its 95 % interval and each class; average precision of a detector. Raises InputTrouble for foreign classes."""
    from gradlearn.data.images import read_known
    from gradlearn.data.stored import take
    from gradlearn.report.noise import wilson

    model = load(run)
    if model.card["task"] == "detect":
        from gradlearn.found import evaluate as on_boxes

        return on_boxes(model, run, path)
    height, width, channels = model.card["shape"]
    pictures = read_known(path, classes=model.classes, size=(height, width), channels=channels)
    n = len(pictures)
    rows = pictures.split["test"]
    truth = torch.from_numpy(pictures.labels[rows])
    guess = torch.cat([model.predict(take(pictures.pixels, rows[a : a + 500])).argmax(1) for a in range(0, n, 500)])
    right = guess == truth
    accuracy = right.double().mean().item()
    classes = [
        {"class": name, "examples": int((truth == k).sum()), "right": int((right & (truth == k)).sum())}
        for k, name in enumerate(model.classes)
        if (truth == k).any()
    ]
    low, high = wilson(accuracy, n)
    score = {"name": "accuracy", "higher": True, "value": accuracy}
    return {"run": str(run), "data": str(path), "examples": n, "score": score, "interval": [low, high], "classes": classes}
