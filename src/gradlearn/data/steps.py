"""What becomes of a picture file before a network sees it, as steps that a program in any language can follow.

    decode -> turn -> flatten -> resize -> channels -> layout          as `decode.py` does them

For model cards and exported models: the steps in words with their numbers, and the usual ones as a few lines of Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

READER = '''import numpy as np
from PIL import Image, ImageOps


def pixels(file):
    """A picture file as (1, {c}, {h}, {w}) uint8."""
    image = ImageOps.exif_transpose(Image.open(file)).convert("{mode}")
    wide, high = image.size
    scale = min(high / {h}, wide / {w})
    b, a = min(round({h} * scale), high), min(round({w} * scale), wide)
    x, y = (wide - a) // 2, (high - b) // 2
    image = image.resize(({w}, {h}), Image.Resampling.BICUBIC, box=(x, y, x + a, y + b))
    return np.asarray(image).reshape({h}, {w}, {c}).transpose(2, 0, 1)[None]
'''


def steps(shape: Sequence[int]) -> list[dict[str, Any]]:
    """Of pictures of shape (h, w, c): each with its name, what is done, and its numbers."""
    h, w, c = shape
    colour = "three channels in the order red, green, blue" if c == 3 else "one channel, 0.299 red + 0.587 green + 0.114 blue"
    cover = f"its middle in the proportions of {h} x {w} (height x width) cut out, in whole pixels, and scaled to them"
    return [
        {"step": "decode", "what": "of several frames the first"},
        {"step": "turn", "what": "as its EXIF orientation says"},
        {"step": "flatten", "what": "transparent parts laid on white; 16 bits become 8: (v + 128) // 257", "background": 255},
        {"step": "resize", "what": cover, "height": h, "width": w, "filter": "bicubic", "antialias": True, "crop": "centre"},
        {"step": "channels", "what": colour, "order": "RGB" if c == 3 else "L"},
        {
            "step": "layout",
            "what": f"bytes as they are, (n, {c}, {h}, {w}); the network itself takes off mean and scale",
            "range": [0, 255],
        },
    ]


def reader(shape: Sequence[int]) -> str:
    """Python for the usual ones of these steps, with Pillow and numpy: a function `pixels(file)`."""
    h, w, c = shape
    return READER.format(h=h, w=w, c=c, mode="RGB" if c == 3 else "L")
