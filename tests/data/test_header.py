"""Headers: what the quick parser says is what Pillow says, and what is too large is refused before it is decoded."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from gradlearn.data.header import look
from gradlearn.data.reject import Bad


def header(data: bytes, max_pixels: int = 64_000_000):
    return look(io.BytesIO(data), max_pixels)


WRITTEN = {
    "PNG": ("1", "L", "P", "RGB", "RGBA", "LA"),
    "JPEG": ("L", "RGB", "CMYK"),
    "GIF": ("1", "L", "P", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in WRITTEN.items() for mode in modes])
def test_size_and_channels_of_every_kind(draw, kind, mode):
    found = header(draw.encoded(draw.image(draw.noise()).convert(mode), kind))
    assert (found.format, found.width, found.height) == (kind, 10, 12)
    assert found.channels == (1 if mode in ("1", "L", "LA") else 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_size_is_that_of_the_turned_picture(draw, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    found = header(draw.encoded(draw.noise(), kind, exif=exif))
    assert (found.width, found.height) == (12, 10)


def test_lossless_and_extended_webp(draw):
    for options in ({"lossless": True}, {"exif": b"Exif\0\0" + b"II*\0\x08\0\0\0\0\0"}):
        found = header(draw.encoded(draw.noise(h=33, w=70), "WEBP", **options))
        assert (found.width, found.height) == (70, 33)


def test_webp_bomb_is_refused_before_its_canvas_is_made():
    side = (16383 - 1).to_bytes(3, "little")
    data = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + side + side
    with pytest.raises(Bad, match=r"16383x16383 = 268\.4 MP exceeds 64 MP"):
        header(data)


def test_limit_can_be_raised_and_lowered(draw):
    data = draw.encoded(draw.noise())
    assert header(data, 120).width == 10
    with pytest.raises(Bad, match="exceeds") as caught:
        header(data, 119)
    assert caught.value.remedy == "resize it or raise --max-pixels"


def test_header_beyond_the_first_read_is_found(draw):
    data = draw.encoded(draw.noise(), "JPEG", comment=b"x" * 60_000)
    assert header(data).width == 10


def test_a_palette_is_judged_without_decoding(draw):
    data = draw.encoded(draw.image(draw.noise()).quantize(16))
    cut = data[: data.index(b"IDAT") + 8]
    assert header(cut).channels == 3
