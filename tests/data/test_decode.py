"""One picture: every mode as it should look, and no file that ends too early is taken for whole."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gradlearn.data.decode import cover, decode
from gradlearn.data.reject import Bad


def pillow(data: bytes, mode: str) -> np.ndarray:
    pixels = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert(mode))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_and_colour_are_what_pillow_shows(draw, kind, mode):
    data = draw.encoded(draw.image(draw.noise()).convert(mode), kind)
    grey = mode == "L" and kind != "WEBP"
    assert (decode(data, None, None) == pillow(data, "L" if grey else "RGB")).all()
    assert decode(data, None, None).shape[2] == (1 if grey else 3)


@given(h=st.integers(1, 20), w=st.integers(1, 20), seed=st.integers(0, 99), c=st.sampled_from([1, 3]), fast=st.booleans())
@settings(max_examples=60, deadline=None)
def test_codec_alone_gives_what_pillow_gives(draw, h, w, seed, c, fast):
    picture = draw.noise(seed, h, w, c)
    options = {"progressive": True} if fast else {"optimize": True}
    for data in (draw.encoded(picture), draw.encoded(picture, "JPEG", **options)):
        assert (decode(data, None, None) == pillow(data, "L" if c == 1 else "RGB")).all()


def test_sixteen_bit_grey_is_scaled_not_cut():
    wide = np.array([[0, 127, 128, 257, 65535, 65407, 65406, 30000]], np.uint16)
    for kind in ("PNG", "TIFF"):
        file = io.BytesIO()
        Image.fromarray(wide).save(file, kind)
        assert decode(file.getvalue(), None, None)[0, :, 0].tolist() == np.round(wide[0] / 257).astype(int).tolist()


def test_transparent_pictures_lie_on_white(draw):
    for mode, pixel, shown in (
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (0, 100, 200, 51), (204, 224, 244)),
        ("LA", (100, 0), (255,)),
        ("LA", (100, 255), (100,)),
    ):
        data = draw.encoded(Image.new(mode, (3, 2), pixel))
        assert decode(data, None, None)[1, 2].tolist() == list(shown)


def test_transparent_colour_of_palette_and_rgb_is_white(draw):
    palette = draw.image(draw.noise()).quantize(4)
    first = int(np.asarray(palette)[0, 0])
    data = draw.encoded(palette, transparency=first)
    hidden = np.asarray(palette) == first
    assert (decode(data, None, 3)[hidden] == 255).all()
    flat = Image.new("RGB", (4, 4), (9, 8, 7))
    assert (decode(draw.encoded(flat, transparency=(9, 8, 7)), None, None) == 255).all()


def test_palette_cmyk_and_one_bit(draw):
    picture = draw.image(draw.noise())
    for made, kind in ((picture.quantize(16), "PNG"), (picture.convert("CMYK"), "JPEG"), (picture.convert("CMYK"), "TIFF")):
        data = draw.encoded(made, kind)
        assert (decode(data, None, None) == pillow(data, "RGB")).all()
    bits = decode(draw.encoded(picture.convert("1")), None, None)
    assert bits.shape == (12, 10, 1)
    assert set(np.unique(bits)) == {0, 255}


def test_palette_of_greys_is_grey(draw):
    grey = draw.image(draw.noise(c=1)).quantize(8)
    assert decode(draw.encoded(grey), None, None).shape == (12, 10, 1)


def test_first_frame_of_an_animation(draw):
    one, two = Image.new("RGB", (6, 5), (200, 0, 0)), Image.new("RGB", (6, 5), (0, 0, 200))
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})):
        data = draw.encoded(one, kind, save_all=True, append_images=[two], **options)
        assert (decode(data, None, None) == (200, 0, 0)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_turned_as_exif_says(draw, kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    data = draw.encoded(draw.noise(), kind, exif=exif)
    assert (decode(data, None, 3) == pillow(data, "RGB")).all()
    assert decode(data, (6, 4), 3).shape == (6, 4, 3)


@pytest.mark.filterwarnings("ignore")  # Pillow's, which `fill` keeps quiet
def test_damaged_exif_turns_nothing(draw):
    data = draw.encoded(draw.noise(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert decode(data, None, None).shape == (12, 10, 3)


def test_sides_keep_their_proportion_and_the_middle_is_kept():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    file = io.BytesIO()
    Image.fromarray(wide).save(file, "PNG")
    assert (decode(file.getvalue(), (10, 10), None)[:, 1:-1] == 255).all()


def test_scaling_down_smooths():
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 255
    file = io.BytesIO()
    Image.fromarray(stripes[:, :, 0]).save(file, "PNG")
    small = decode(file.getvalue(), (8, 8), None).astype(int)
    assert abs(small - 127.5).max() < 20


def test_large_jpeg_is_decoded_at_a_fraction_and_looks_the_same(draw):
    smooth = np.outer(np.linspace(0, 255, 400), np.linspace(0.2, 1, 300)).astype(np.uint8)
    data = draw.encoded(np.repeat(smooth[:, :, None], 3, axis=2), "JPEG", quality=95)
    exact = decode(draw.encoded(Image.open(io.BytesIO(data)), "PNG"), (32, 32), 3).astype(int)
    assert abs(decode(data, (32, 32), 3).astype(int) - exact).max() <= 4


def test_32_bit_pixels_are_refused(draw):
    for mode in ("I", "F"):
        with pytest.raises(Bad, match=rf"32-bit pixels \(mode {mode}\) have no known range"):
            decode(draw.encoded(Image.new(mode, (3, 3)), "TIFF"), None, None)


CASES = {
    "png": ("PNG", "RGB", {}),
    "png-palette": ("PNG", "P", {}),
    "png-alpha": ("PNG", "RGBA", {}),
    "jpeg": ("JPEG", "RGB", {}),
    "jpeg-grey": ("JPEG", "L", {}),
    "jpeg-progressive": ("JPEG", "RGB", {"progressive": True}),
    "jpeg-cmyk": ("JPEG", "CMYK", {}),
    "webp": ("WEBP", "RGB", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_cut_at_any_byte_is_never_loaded(draw, case):
    kind, mode, options = CASES[case]
    data = draw.encoded(draw.image(draw.noise(h=24, w=20)).convert(mode), kind, **options)
    assert decode(data, None, None).shape[:2] == (24, 20)
    for n in range(1, len(data)):
        with pytest.raises(Bad, match=r"image is truncated \(\d+ of \d+ bytes (decodable|there)\)"):
            decode(data[:n], None, None)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_cut_at_any_byte_is_never_loaded_with_other_pixels(draw, kind):
    data = draw.encoded(draw.image(draw.noise(h=24, w=20)).quantize(16), kind)
    whole, loaded = decode(data, None, None), 0
    for n in range(1, len(data)):
        try:
            pixels = decode(data[:n], None, None)
        except Bad:
            continue
        loaded += 1
        assert (pixels == whole).all()
    assert loaded <= 2  # padding after the last pixel


def test_trailing_bytes_do_no_harm(draw):
    for kind in ("PNG", "JPEG"):
        data = draw.encoded(draw.noise(), kind)
        assert (decode(data + b"\0" * 7, None, None) == decode(data, None, None)).all()


def test_any_flipped_byte_of_a_png_is_noticed(draw):
    data = bytearray(draw.encoded(draw.noise()))
    for at in range(8, len(data)):
        data[at] ^= 0x10
        with pytest.raises(Bad):
            decode(bytes(data), None, None)
        data[at] ^= 0x10


def test_what_the_lines_say(draw):
    png = draw.encoded(draw.noise())
    for data, line in (
        (b"", "file is empty (0 bytes)"),
        (b"%PDF-1.7\n%\xe2", "not an image (starts with '%PDF-1.7')"),
        (b"SIMPLE  =  T", "not an image (starts with 'SIMPLE  ')"),
        (b"\0\x01\x1b[31m", "not an image (starts with '\\x00\\x01\\x1b[31m')"),
        (png[:-6], f"image is truncated ({len(png) - 12} of {len(png) - 6} bytes decodable)"),
        (png[:-1] + b"!", "image is damaged (checksum of 'IEND' is wrong)"),
    ):
        with pytest.raises(Bad) as caught:
            decode(data, None, None)
        assert caught.value.what == line


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bomb(w: int, h: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def test_bombs_are_refused_from_the_header():
    for w, h, line in (
        (40000, 40000, "40000x40000 = 1600 MP exceeds 64 MP"),
        (8001, 8000, "8001x8000 = 64.01 MP exceeds 64 MP"),
        (65536, 1, "65536x1 exceeds 65535 pixels a side"),
    ):
        with pytest.raises(Bad) as caught:
            decode(bomb(w, h), None, None)
        assert caught.value.what == line


def test_pixels_that_are_missing_are_not_made_up():
    with pytest.raises(Bad, match="image is truncated"):
        decode(bomb(500, 500), None, None)


@given(st.binary(max_size=200), st.sampled_from(["", "\u0089PNG", "GIF89a", "BM", "II*\0", "RIFF\0\0\0\0WEBP", "ÿØÿ"]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_picture_or_bad(tail, magic):
    try:
        pixels = decode(magic.encode("latin-1") + tail, None, None)
    except Bad:
        return
    assert pixels.dtype == np.uint8


@given(h=st.integers(1, 60), w=st.integers(1, 60), height=st.integers(1, 40), width=st.integers(1, 40), c=st.sampled_from([1, 3]))
@settings(max_examples=60, deadline=None)
def test_a_picture_is_scaled_to_cover_and_cut_as_pillow_does(draw, h, w, height, width, c):
    picture = draw.noise(h + 100 * w, h, w, c) // 2 + 64  # bicubic overshoots: here nothing is cut off on the way, only rounded
    scale = min(h / height, w / width)
    kept = min(round(height * scale), h), min(round(width * scale), w)
    if min(kept) == 0:
        return
    top, left = (h - kept[0]) // 2, (w - kept[1]) // 2
    part = draw.image(picture).crop((left, top, left + kept[1], top + kept[0]))
    expected = np.asarray(part.resize((width, height), Image.Resampling.BICUBIC)).reshape(height, width, -1)
    assert np.abs(cover(picture.reshape(h, w, -1), (height, width)).astype(int) - expected).max() <= 2


def test_a_large_jpeg_is_decoded_at_a_fraction_and_looks_the_same(draw):
    y, x = np.mgrid[:512, :640]
    smooth = (127 + 100 * np.sin(x / 23)[..., None] * np.cos(y / 31)[..., None] * np.array([1.0, 0.5, -1.0])).astype(np.uint8)
    data = draw.encoded(smooth, "JPEG", quality=95)
    whole = cover(decode(data, None, None), (128, 160))
    assert np.abs(decode(data, (128, 160), None).astype(int) - whole).max() <= 6
