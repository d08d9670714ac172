"""The picture files of a data set: how large each is shown, how it is turned, whether it is whole, and its SHA-256.

Each file is read once and no pixel is decoded: headers by `data/header.py`, ends by `data/decode.py`, so that a picture that is
cut off is known before training. A few files at a time are in memory.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from gradlearn.data.decode import complete
from gradlearn.data.fill import in_order
from gradlearn.data.header import bounded, described, opened, orientation, parse, sniff
from gradlearn.data.place import load
from gradlearn.data.reject import Bad

RUN = 64  # files a thread looks at before it hands them over


class Looked(NamedTuple):
    """What n picture files are."""

    sizes: np.ndarray  # (n, 2) int32 h, w as shown
    turns: np.ndarray  # (n,) uint8 EXIF orientation, 1 to 8
    digests: np.ndarray  # (n, 32) uint8 SHA-256 of the file
    bad: dict[int, Bad]


def look(paths: Sequence[str], max_pixels: int) -> Looked:
    """Look at every file."""
    n = len(paths)
    sizes, turns, digests = np.zeros((n, 2), np.int32), np.ones(n, np.uint8), np.zeros((n, 32), np.uint8)
    bad: dict[int, Bad] = {}
    runs = (paths[start : start + RUN] for start in range(0, n, RUN))
    at = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; of what matters it raises
        for found in in_order(partial(_run, max_pixels=max_pixels), runs):
            for one in found:
                if isinstance(one, Bad):
                    bad[at] = one
                else:
                    sizes[at], turns[at], digests[at] = one[0], one[1], np.frombuffer(one[2], np.uint8)
                at += 1
    return Looked(sizes, turns, digests, bad)


def _run(paths: Sequence[str], max_pixels: int) -> list[tuple[tuple[int, int], int, bytes] | Bad]:
    found: list[tuple[tuple[int, int], int, bytes] | Bad] = []
    for path in paths:
        try:
            data = load(path)
            found.append((*shown(data, max_pixels), hashlib.sha256(data).digest()))
        except Bad as bad:
            found.append(bad)
    return found


def shown(data: bytes, max_pixels: int) -> tuple[tuple[int, int], int]:
    """(h, w) as shown and the EXIF orientation of one picture file; raises Bad where it is cut off or too large."""
    kind = sniff(data)
    header, turn = parse(data[: 1 << 15], kind), 1
    if header is None or data[12:16] == b"VP8X":
        with opened(io.BytesIO(data), kind, max_pixels) as image:
            turn = orientation(image)
            header = described(image, kind)
    bounded(header.width, header.height, max_pixels)
    complete(data, kind, header if turn == 1 and header.plain else None)
    return (header.height, header.width), turn
