"""One picture, from the bytes of its file to uint8 pixels: complete or refused, never a picture with holes.

Pillow does not notice every file that ends too early (a PNG without IEND, a JPEG without its end marker), so the
container is walked first. What is shown is what is decoded: the first frame, turned as EXIF says, 16-bit grey as v /
257, transparent pictures laid on white (the page on which they are usually seen). 32-bit pixels have no agreed range
and are refused.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zlib
from typing import Any

import numpy as np

from gradlearn.data.header import (
    MAX_PIXELS,
    Header,
    bounded,
    damaged,
    early,
    grey_palette,
    opened,
    orientation,
    parse,
    sniff,
    truncated,
)
from gradlearn.data.reject import Bad

NOTHING_BESIDE = frozenset(b"IHDR IDAT IEND PLTE pHYs gAMA sRGB cHRM tIME bKGD sBIT iCCP".split())
LEFT = re.compile(r"\((\d+) bytes not processed\)")
TURNS = {  # EXIF orientation -> what undoes it
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def decode(data: bytes, size: tuple[int, int] | None, channels: int | None, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Pixels (h, w, c) uint8 of one picture file.

    `size` (h, w): scaled, sides in proportion, until it covers h x w, and the middle cut out; None leaves it as it is.
    `channels` 1 or 3; None leaves grey grey. Raises Bad.
    """
    kind = sniff(data)
    header = parse(data, kind)
    if header is not None:
        bounded(header.width, header.height, max_pixels)
    try:
        pixels = complete(data, kind, header)
        image = _direct(pixels, header, size) if header is not None and pixels is not None else None
        image = _slow(data, kind, size, max_pixels) if image is None else image
        return pixels_of(image, size, channels)
    except (Bad, MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        left = LEFT.search(str(error))
        if left:
            raise truncated(len(data) - int(left[1]), len(data)) from None
        raise truncated(0, len(data)) if early(error) else damaged(error) from None


def complete(data: bytes, kind: str, header: Header | None) -> bytes | None:
    """The bytes that the codec alone can decode, None where it takes Pillow; raises Bad if the end is missing."""
    if kind == "PNG":
        return _chunks(data, header)
    if kind == "JPEG":
        if not data.endswith(b"\xff\xd9") and data.rfind(b"\xff\xd9") <= data.rfind(b"\xff\xda"):
            raise truncated(_jpeg_good(data), len(data))
        return data if header is not None and header.plain else None
    if kind == "WEBP" and int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise Bad(f"image is truncated ({len(data)} of {int.from_bytes(data[4:8], 'little') + 8} bytes there)")
    return None


def _chunks(data: bytes, header: Header | None) -> bytes | None:
    """Walk a PNG: each critical chunk's checksum, and IEND. The joined IDAT where nothing else shapes the pixels."""
    at, parts, plain = 8, [], header is not None
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if not name[0] & 32 and zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise Bad(f"image is damaged (checksum of {ascii(name)[1:]} is wrong)")
        if name == b"IDAT":
            parts.append(data[at + 8 : end - 4])
        elif name == b"IEND":
            return b"".join(parts) if plain else None
        plain = plain and name in NOTHING_BESIDE
        at = end
    raise truncated(at, len(data))


def _jpeg_good(data: bytes) -> int:
    """How many bytes of a JPEG without an end Pillow can make something of."""
    try:
        opened(io.BytesIO(data), "JPEG", 1 << 62).load()
    except Exception as error:
        left = LEFT.search(str(error))
        return len(data) - int(left[1]) if left else 0
    return len(data)


def _direct(pixels: bytes, header: Header, size: tuple[int, int] | None) -> Any:
    """Decoded by the codec alone, without Pillow's Python around it: twice as fast for small ones; else None."""
    from PIL import Image

    if size is not None and header.format == "JPEG" and header.height >= 2 * size[0] and header.width >= 2 * size[1]:
        return None  # a JPEG can be decoded at half its size, or less, for half the time
    mode = "L" if header.channels == 1 else "RGB"
    codec = ("jpeg", mode, "") if header.format == "JPEG" else ("zip", mode)
    try:
        return Image.frombytes(mode, (header.width, header.height), pixels, *codec)
    except (ValueError, OSError):
        return None


def _slow(data: bytes, kind: str, size: tuple[int, int] | None, max_pixels: int) -> Any:
    """Decoded by Pillow with all that may be in the file; turned as EXIF says."""
    from PIL import Image

    image = opened(io.BytesIO(data), kind, max_pixels)
    if size is not None and kind == "JPEG":
        h, w = size if orientation(image) < 5 else size[::-1]
        scale = max(w / image.width, h / image.height)
        image.draft(None, (max(1, math.ceil(scale * image.width)), max(1, math.ceil(scale * image.height))))
    image.load()
    turn = TURNS.get(orientation(image))  # after `load`: Pillow has turned a TIFF and taken its tag away
    return image if turn is None else image.transpose(Image.Transpose[turn])


def pixels_of(image: Any, size: tuple[int, int] | None, channels: int | None) -> np.ndarray:
    """Pixels (h, w, c) uint8 of a Pillow image of any mode; raises Bad for 32-bit pixels."""
    image = flat(image)
    wanted = {None: image.mode, 1: "L", 3: "RGB"}[channels]
    if image.mode != wanted:
        image = image.convert(wanted)
    pixels = np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, -1)
    return pixels if size in (None, pixels.shape[:2]) else cover(pixels, size)


def flat(image: Any) -> Any:
    """A Pillow image of any mode as L or RGB, on white; raises Bad for 32-bit pixels."""
    from PIL import Image

    mode = image.mode
    if mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if mode in ("I", "F"):
        raise Bad(f"32-bit pixels (mode {mode}) have no known range", "convert it to 8 or 16 bits")
    if mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    if mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        grey = mode in ("1", "L", "LA", "La")
        over = image.convert("LA" if grey else "RGBA")
        white = Image.new("L" if grey else "RGB", over.size, "white")
        white.paste(over.convert(white.mode), mask=over.getchannel("A"))
        return white
    grey = mode == "1" or (mode == "P" and grey_palette(image))
    return image.convert("L" if grey else "RGB")


def cover(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels (H, W, c) scaled with their sides in proportion until they cover (h, w), the middle cut out: (h, w, c).

    Bicubic, smoothed against aliasing; by PyTorch, whose kernel for bytes is five times as fast as Pillow's.
    """
    import torch
    import torch.nn.functional as F

    height, width = pixels.shape[:2]
    scale = min(height / size[0], width / size[1])
    h, w = min(round(size[0] * scale), height), min(round(size[1] * scale), width)
    top, left = (height - h) // 2, (width - w) // 2
    whole = np.require(pixels, requirements="W")  # torch warns of arrays that cannot be written to
    planes = torch.from_numpy(whole)[None, top : top + h, left : left + w].permute(0, 3, 1, 2)
    planes = planes.contiguous(memory_format=torch.channels_last)
    return F.interpolate(planes, size, mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()
