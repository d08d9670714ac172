"""Score a trained model on other data with labels: the test part of the data if it has one, else all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradlearn.errors import InputTrouble, nearest, printable
from gradlearn.loaded import load


def evaluate(run: Path, path: Path) -> dict[str, Any]:
    """Accuracy with its interval, and each class's share. Raises InputTrouble for classes the model does not know."""
    from gradlearn.data.images import read_all
    from gradlearn.data.stored import take
    from gradlearn.report.noise import wilson

    model = load(run)
    height, width, channels = model.card["shape"]
    pictures = read_all(path, size=(height, width), channels=channels)
    unknown = [c for c in pictures.classes if c not in model.classes]
    if unknown:
        raise InputTrouble(f"{path}: class {printable(unknown[0])!r} is not known to the model{nearest(unknown[0], model.classes)}")
    rows = pictures.split["test"]
    numbers = np.array([model.classes.index(c) for c in pictures.classes])
    truth = torch.from_numpy(numbers[pictures.labels[rows]])
    guess = torch.cat([model.predict(take(pictures.pixels, rows[a : a + 500])).argmax(1) for a in range(0, len(rows), 500)])
    right = guess == truth
    accuracy = right.double().mean().item()
    classes = [
        {"class": name, "examples": int((truth == k).sum()), "right": int((right & (truth == k)).sum())}
        for k, name in enumerate(model.classes)
        if (truth == k).any()
    ]
    low, high = wilson(accuracy, len(rows))
    score = {"name": "accuracy", "higher": True, "value": accuracy}
    return {
        "run": str(run),
        "data": str(path),
        "examples": len(rows),
        "score": score,
        "interval": [low, high],
        "classes": classes,
    }
