"""Pictures for the report: small ones pixel by pixel, large ones shrunk in proportion."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradlearn.errors import ResourceTrouble
from gradlearn.insight import png


@pytest.mark.parametrize("c", [1, 3, 4])
def test_small_pictures_come_back_pixel_by_pixel(tmp_path: Path, c: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 5, c), dtype=np.uint8)
    assert png.write(tmp_path / "x.png", pixels) == "x.png"
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")).reshape(9, 5, c), pixels)
    assert png.encoded(pixels) == png.encoded(pixels)


def test_large_pictures_are_shrunk_in_proportion() -> None:
    image = Image.open(io.BytesIO(png.encoded(np.zeros((480, 640, 3), np.uint8))))
    assert image.size == (128, 96)
    assert Image.open(io.BytesIO(png.encoded(np.zeros((4, 4000, 1), np.uint8)))).size == (128, 1)


def test_a_disk_that_refuses_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ResourceTrouble):
        png.write(tmp_path / "missing" / "x.png", np.zeros((2, 2, 1), np.uint8))
