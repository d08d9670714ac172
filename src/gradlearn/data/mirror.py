"""Is the mirror image of a picture a picture of the same class? Asked of the data, not of their name.

    W = ridge regression of the classes on half of the pictures (16 x 16)
    r = (accuracy on the other half, mirrored - p) / (accuracy on the other half - p),   p = share of the largest class

r is near 1 where left and right do not matter (animals, cars: 0.9), near 0 where they do (digits, letters: 0.25); the threshold
that uses it is in `tasks/images.py`. A few hundred pictures are enough.
"""

from __future__ import annotations

import numpy as np

SIDE = 16


def mirror_ratio(x: np.ndarray, labels: np.ndarray, classes: int) -> float | None:
    """r for `shrunk` pictures (n, h, w, c) and labels (n,); None where the classifier is no better than chance."""
    y = labels
    fit, held = np.arange(len(x)) % 2 == 0, np.arange(len(x)) % 2 == 1
    if held.sum() < 20:
        return None
    flat = x.reshape(len(x), -1)
    mean, spread = flat[fit].mean(0), flat[fit].std() + 1e-6
    z = (flat - mean) / spread
    target = np.eye(classes)[y[fit]]
    gram = z[fit].T @ z[fit]
    weights = np.linalg.solve(
        gram + 0.1 * (np.trace(gram) / len(gram) + 1e-9) * np.eye(len(gram)), z[fit].T @ (target - target.mean(0))
    )
    bias = target.mean(0)

    def accuracy(pictures: np.ndarray) -> float:
        scores = (pictures.reshape(len(pictures), -1) - mean) / spread @ weights + bias
        return float((scores.argmax(1) == y[held]).mean())

    plain, mirrored = accuracy(x[held]), accuracy(x[held][:, :, ::-1])
    chance = float(np.bincount(y, minlength=classes).max() / len(y))
    error = (plain * (1 - plain) / held.sum()) ** 0.5
    return None if plain - chance < 3 * error else (mirrored - chance) / (plain - chance)


def shrunk(pixels: np.ndarray) -> np.ndarray:
    """(n, h, w, c) as float32 with at most 16 pixels a side: means of blocks, the odd rim left out."""
    n, height, width, channels = pixels.shape
    down, across = max(height // SIDE, 1), max(width // SIDE, 1)
    rows, columns = height // down, width // across
    top, left = (height - rows * down) // 2, (width - columns * across) // 2
    cut = pixels[:, top : top + rows * down, left : left + columns * across].astype(np.float32)
    return cut.reshape(n, rows, down, columns, across, channels).mean((2, 4))
