"""What becomes of a picture file before a detector sees it, and of its answers, as steps that a program in any language can follow.

    decode -> turn -> flatten -> resize in proportion -> canvas -> channels -> layout         as `canvas.py` does them

For model cards and exported models, as `steps.py` for classifiers of pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradlearn.data import steps as plain
from gradlearn.data.canvas import GREY

READER = '''import numpy as np
from PIL import Image, ImageOps


def canvas(file):
    """A picture file as (1, 3, {h}, {w}) uint8, and the way back: (scale, x, y)."""
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    wide, high = image.size
    scale = min({h} / high, {w} / wide)
    a, b = max(round(high * scale), 1), max(round(wide * scale), 1)
    scale = min(high / a, wide / b)
    q, p = min(round(a * scale), high), min(round(b * scale), wide)
    x, y = (wide - p) // 2, (high - q) // 2
    if (a, b) != (high, wide):
        image = image.resize((b, a), Image.Resampling.BICUBIC, box=(x, y, x + p, y + q))
    x = np.full(({h}, {w}, 3), {grey}, np.uint8)
    x[:a, :b] = np.asarray(image)
    return x.transpose(2, 0, 1)[None], (scale, (wide - b * scale) / 2, (high - a * scale) / 2)
'''

PICKER = '''

def picked(boxes, scores, back, threshold={threshold:g}, overlap={overlap:g}):
    """Of (places, 4) and (places, classes): (label, score, box in pixels of the file) of what is there, best first."""
    place, label = np.nonzero(scores >= threshold)
    order, found = np.argsort(-scores[place, label], kind="stable"), []
    for place, label in zip(place[order], label[order]):
        box = boxes[place]
        for other, _, kept in found:
            x1, y1, x2, y2 = *np.maximum(box[:2], kept[:2]), *np.minimum(box[2:], kept[2:])
            both = max(x2 - x1, 0) * max(y2 - y1, 0)
            areas = [(v[2] - v[0]) * (v[3] - v[1]) for v in (box, kept)]
            if other == label and both > overlap * (sum(areas) - both):
                break
        else:
            found.append((label, float(scores[place, label]), box))
    scale, x, y = back
    return [(label, score, box * scale + np.array([x, y, x, y])) for label, score, box in found]
'''


def steps(shape: Sequence[int]) -> list[dict[str, Any]]:
    """Of canvases of shape (h, w, c): each with its name, what is done, and its numbers."""
    h, w, _ = shape
    usual = {row["step"]: row for row in plain.steps(shape)}
    fit = f"scaled with its sides in proportion until it fits into {h} x {w} (height x width), in whole pixels"
    return [
        *(usual[name] for name in ("decode", "turn", "flatten")),
        {"step": "resize", "what": fit, "height": h, "width": w, "filter": "bicubic", "antialias": True},
        {"step": "canvas", "what": f"put into the upper left corner, {GREY} where nothing is", "background": GREY},
        *(usual[name] for name in ("channels", "layout")),
    ]


def reader(shape: Sequence[int]) -> str:
    """Python for the usual ones of these steps, with Pillow and numpy: a function `canvas(file)`."""
    h, w, _ = shape
    return READER.format(h=h, w=w, grey=GREY)


def picker(threshold: float, overlap: float) -> str:
    """Python for what comes after the network, with numpy: a function `picked(boxes, scores, back)`."""
    return PICKER.format(threshold=threshold, overlap=overlap)
