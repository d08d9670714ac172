"""A picture as a PNG for the report: pixel by pixel where it is small, shrunk where it is large."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from gradlearn.errors import ResourceTrouble

LARGEST = 128  # side beyond which a picture is shrunk


def encoded(pixels: np.ndarray, most: int = LARGEST, colours: int = 0) -> bytes:
    """(h, w, 1, 3 or 4) uint8 as PNG; sides beyond `most` are brought down to it, in proportion; of so many colours, 0: all."""
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if max(image.size) > most:
        scale = most / max(image.size)
        size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
        image = image.resize(size, Image.Resampling.LANCZOS)
    if colours:  # a third of the bytes of a photograph
        image = image.convert("RGB").quantize(colours)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def write(path: Path, pixels: np.ndarray, most: int = LARGEST, colours: int = 0) -> str:
    """Write it in a folder that exists; returns its name. Raises ResourceTrouble where the disk refuses."""
    from gradlearn.record import disk

    try:
        path.write_bytes(encoded(pixels, most, colours))
    except OSError as error:
        raise ResourceTrouble(disk.refusal(path, error)) from error
    return path.name
