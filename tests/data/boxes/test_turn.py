"""Boxes drawn on the stored picture: after turning they are where the decoder puts what they were drawn around."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gradlearn.data.boxes.pictures import shown
from gradlearn.data.boxes.turn import turned
from gradlearn.data.decode import decode


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_box_follows_its_picture(turn, kind):
    h, w, box = 48, 80, (16, 8, 48, 24)
    pixels = np.zeros((h, w), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    exif = Image.Exif()
    exif[0x0112] = turn
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, exif=exif)
    data = file.getvalue()
    found = decode(data, None, None)[:, :, 0] > 127
    (rows,), (columns,) = np.nonzero(found.any(axis=1)), np.nonzero(found.any(axis=0))
    expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert shown(data, 1 << 20) == (found.shape, turn)
    assert turned(np.array([box], float), np.array([turn]), np.array([w]), np.array([h])).tolist() == [expected]
