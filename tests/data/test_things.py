"""Things that a flip turns into others, and things that it does not."""

from __future__ import annotations

import numpy as np
import torch

from gradlearn.data.canvas import Canvases
from gradlearn.data.mosaic import Labelled
from gradlearn.data.things import flip_ratios

N, SIDE, EACH = 40, 64, 4


def pictures(kind: int) -> Labelled:
    """Boxes of two classes on noise; a flip up and down of one class is the other (kind 1), or neither flip matters (kind 0)."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(90, 110, (N, 3, SIDE, SIDE))
    boxes, labels = [], []
    for i in range(N):
        for k in range(EACH):
            x, y, label = 2 + 32 * (k % 2), 2 + 32 * (k // 2), int(rng.integers(2))
            part = pixels[i, :, y : y + 24, x : x + 24]
            if kind:
                part[:, 12 * label : 12 * label + 12] += 60
            else:
                part[label] += 60
            boxes.append((x, y, x + 24, y + 24))
            labels.append(label)
    canvases = Canvases(
        torch.from_numpy(pixels).to(torch.uint8), np.full((N, 2), SIDE), np.ones(N), np.zeros((N, 2)), np.full((N, 2), SIDE)
    )
    return Labelled(canvases, np.array(boxes, np.float32), np.array(labels), np.arange(N + 1) * EACH)


def test_flips_of_what_is_symmetric_are_the_same_things():
    across, down = flip_ratios(pictures(0), np.arange(N), 2)
    assert across is not None
    assert down is not None
    assert min(across, down) > 0.9


def test_a_flip_that_makes_one_class_of_the_other_is_not():
    across, down = flip_ratios(pictures(1), np.arange(N), 2)
    assert across is not None
    assert down is not None
    assert across > 0.9
    assert down < 0.5


def test_without_boxes_nothing_is_said():
    data = pictures(0)._replace(boxes=np.zeros((0, 4), np.float32), labels=np.zeros(0, int), first=np.zeros(N + 1, int))
    assert flip_ratios(data, np.arange(N), 2) == (None, None)
