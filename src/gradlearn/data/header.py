"""The header of one picture: format, size and channels, judged before a pixel is decoded.

JPEG and PNG headers are parsed here where nothing unusual is in them (5 us instead of Pillow's 50); all others are
Pillow's. A picture is refused from its header: a side beyond 65,535, or more pixels than `max_pixels`, is never
decoded.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from gradlearn.data.reject import SKIP, Bad
from gradlearn.errors import InputTrouble, printable

MAX_PIXELS = 64_000_000
MAX_SIDE = 65_535
HEAD = 1 << 15  # bytes in which a plain header is over
ORIENTATION = 0x0112  # the EXIF tag
GREY = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I", "F")
MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"RIFF", "WEBP"),
)


class Header(NamedTuple):
    """What the first bytes of a picture say."""

    format: str  # one of MAGIC
    width: int  # as it is shown: a rotation in EXIF is applied
    height: int
    channels: int  # 1 grey, 3 colour
    plain: bool  # 8 bits, grey or RGB, nothing beside the pixels: the codec alone can decode it


def look(file: BinaryIO, max_pixels: int = MAX_PIXELS) -> Header:
    """The header of a picture, from a file or BytesIO at its start; raises Bad."""
    head = file.read(HEAD)
    kind = sniff(head)
    found = parse(head, kind)
    if found is not None:
        bounded(found.width, found.height, max_pixels)
        if head[12:16] != b"VP8X":  # a WebP that says no more than its size
            return found
    with opened(file, kind, max_pixels) as image:
        return described(image, kind)


def sniff(head: bytes) -> str:
    """The format that the first bytes announce; raises Bad where they announce none."""
    for magic, kind in MAGIC:
        if head.startswith(magic) and (kind != "WEBP" or head[8:12] == b"WEBP"):
            return kind
    if not head:
        raise Bad("file is empty (0 bytes)", "remove it")
    if len(head) < 12 and (head.startswith(b"RIFF") or any(magic.startswith(head) for magic, _ in MAGIC)):
        raise truncated(0, len(head))
    raise Bad(f"not an image (starts with {repr(head[:8])[1:]})", "remove it")


def parse(head: bytes, kind: str) -> Header | None:
    """The header where it is plain; None asks Pillow."""
    reader = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}.get(kind)
    try:
        return reader(head) if reader else None
    except (IndexError, struct.error):
        return None


def _jpeg(head: bytes) -> Header | None:
    at = 2
    while True:
        mark, code, length = struct.unpack_from(">BBH", head, at)
        if mark != 0xFF or code in (0xE1, 0xFF, 0xD9, 0xDA) or length < 2:  # E1 is EXIF or XMP: maybe a rotation
            return None
        if 0xC0 <= code <= 0xC2:
            bits, height, width, channels = struct.unpack_from(">BHHB", head, at + 4)
            plain = bits == 8 and channels in (1, 3) and width > 0 and height > 0
            return Header("JPEG", width, height, channels, True) if plain else None
        if 0xC3 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            return None
        at += 2 + length


def _png(head: bytes) -> Header | None:
    length, name, width, height, bits, colour, _, _, interlaced = struct.unpack_from(">I4sIIBBBBB", head, 8)
    plain = (length, name, bits, interlaced) == (13, b"IHDR", 8, 0) and colour in (0, 2) and width > 0 and height > 0
    if not plain or b"eXIf" in head:
        return None
    return Header("PNG", width, height, 3 if colour else 1, True)


def _webp(head: bytes) -> Header | None:
    chunk, bits = head[12:16], int.from_bytes(head[20:30], "little")
    if chunk == b"VP8X":
        return Header("WEBP", 1 + (bits >> 32 & 0xFFFFFF), 1 + (bits >> 56 & 0xFFFFFF), 3, False)
    if chunk == b"VP8L" and len(head) >= 25:
        return Header("WEBP", 1 + (bits >> 8 & 0x3FFF), 1 + (bits >> 22 & 0x3FFF), 3, False)
    if chunk == b"VP8 " and len(head) >= 30:
        return Header("WEBP", bits >> 48 & 0x3FFF, bits >> 64 & 0x3FFF, 3, False)
    return None


def opened(file: BinaryIO, kind: str, max_pixels: int) -> Any:
    """The picture as Pillow opens it, header read and its size allowed, pixels not yet decoded; raises Bad."""
    from PIL import Image

    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        image = plugins()[kind](file)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Image.DecompressionBombError as error:
        raise Bad(f"{str(error).split(' could be')[0].lower()}", "resize it") from None
    except Exception as error:
        raise truncated(0, size) if early(error) else damaged(error) from None
    width, height = image.size
    bounded(width, height, max_pixels)
    return image


def described(image: Any, kind: str) -> Header:
    """The header of a picture that Pillow has opened."""
    width, height = image.size
    if kind != "TIFF" and orientation(image) >= 5:  # Pillow has turned the size of a TIFF already
        width, height = height, width
    grey = image.mode in GREY or (image.mode == "P" and grey_palette(image))
    return Header(kind, width, height, 1 if grey else 3, False)


def orientation(image: Any) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it is damaged."""
    info = image.info
    if not any(key in info for key in ("exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp")) and image.format != "TIFF":
        return 1
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def grey_palette(image: Any) -> bool:
    """Whether all colours of a picture with a palette are grey; decodes nothing."""
    if image.palette is None:
        return False
    mode, colours = image.palette.getdata()
    n = len(mode)  # RGB, RGBA, BGRX: three colours first
    return colours[0::n] == colours[1::n] == colours[2::n]


def bounded(width: int, height: int, max_pixels: int) -> None:
    """Raise Bad where a picture is too large to be decoded."""
    if max(width, height) > MAX_SIDE:
        raise Bad(f"{width}x{height} exceeds {MAX_SIDE} pixels a side", "resize it")
    if width * height > max_pixels:
        mega = f"{width}x{height} = {_mega(width * height)} MP exceeds {_mega(max_pixels)} MP"
        raise Bad(mega, "resize it or raise --max-pixels")


def _mega(pixels: int) -> str:
    return f"{pixels / 1e6:.0f}" if pixels >= 1e9 else f"{pixels / 1e6:.4g}"


def truncated(good: int, total: int) -> Bad:
    """A picture that ends too early."""
    return Bad(f"image is truncated ({good} of {total} bytes decodable)", SKIP)


def early(error: BaseException) -> bool:
    """Whether Pillow failed because the file was over; it wraps what its parsers raise."""
    cause = error.__cause__ or error
    return isinstance(cause, (struct.error, EOFError, IndexError)) or "truncated" in str(error).lower()


def damaged(error: object) -> Bad:
    """A picture whose bytes make no sense to its decoder."""
    return Bad(f"image is damaged ({printable(error, 80)})", SKIP)


@functools.cache
def plugins() -> dict[str, Callable[[BinaryIO], Any]]:
    """Pillow's readers by format: these six and no other; raises InputTrouble where Pillow is not installed."""
    try:
        from PIL import (
            BmpImagePlugin,
            GifImagePlugin,
            JpegImagePlugin,
            PngImagePlugin,
            TiffImagePlugin,
            WebPImagePlugin,
        )
    except ImportError:
        raise InputTrouble("pictures: reading them needs Pillow; pip install 'gradlearn[images]'") from None
    return {
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
        "WEBP": WebPImagePlugin.WebPImageFile,
    }
