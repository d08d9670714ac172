"""Boxes that were drawn on a picture as it is stored, turned as EXIF turns the picture.

    stored (W wide, H high)  ->  shown         orientation 6, the camera upright: (x, y)  ->  (H - y, x)

An annotation says how large its picture is. Where that is the stored size, and EXIF swaps width and height when the picture is
shown, the boxes were drawn on the stored picture and are turned with it. Where sizes cannot tell (a square, a half turn, a mirror
image, YOLO), boxes are taken as drawn on what is shown, as most tools now do.
"""

from __future__ import annotations

import numpy as np


def turned(boxes: np.ndarray, turns: np.ndarray, w: np.ndarray, h: np.ndarray) -> np.ndarray:
    """(m, 4) corners x1 y1 x2 y2 on pictures stored w wide and h high, as they are once shown; `turns`: (m,) EXIF orientation."""
    x1, y1, x2, y2 = boxes.T
    left, right, up, down = w - x2, w - x1, h - y2, h - y1  # measured from the other edge
    cases = {
        1: (x1, y1, x2, y2),
        2: (left, y1, right, y2),
        3: (left, up, right, down),
        4: (x1, up, x2, down),
        5: (y1, x1, y2, x2),
        6: (up, x1, down, x2),
        7: (up, left, down, right),
        8: (y1, left, y2, right),
    }
    shown = np.empty_like(boxes)
    for turn, corners in cases.items():
        here = turns == turn
        if here.any():
            shown[here] = np.stack([c[here] for c in corners], axis=1)
    return shown
