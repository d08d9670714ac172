"""Small pictures and small data sets, drawn from a seed."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


def noise(seed: int = 0, h: int = 12, w: int = 10, c: int = 3) -> np.ndarray:
    """(h, w, c) uint8, a smooth half above a noisy one."""
    pixels = np.random.default_rng(seed).integers(0, 256, (h, w, c), dtype=np.uint8)
    pixels[: h // 2] = np.linspace(0, 255, w, dtype=np.uint8)[None, :, None]
    return pixels


def image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def encoded(picture: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    (image(picture) if isinstance(picture, np.ndarray) else picture).save(file, kind, **options)
    return file.getvalue()


def folder(root: Path, n: int = 6, classes: tuple[str, ...] = ("cat", "dog"), parts: tuple[str, ...] = ("",), **size: int) -> Path:
    """<root>/<part>/<class>/<i>.png, every picture another."""
    seed = 0
    for part in parts:
        for name in classes:
            place = root / part / name
            place.mkdir(parents=True, exist_ok=True)
            for i in range(n):
                seed += 1
                (place / f"{i}.png").write_bytes(encoded(noise(seed, **size)))
    return root


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def idx_folder(root: Path, n: int = 12, colours: bool = False, zipped: bool = False, parts=("train", "t10k")) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for k, part in enumerate(parts):
        pixels = np.stack([noise(100 * k + i, 5, 7, 3) for i in range(n)])
        pixels = pixels if colours else pixels[..., 0]
        labels = np.arange(n) % 3
        for name, data in ((f"images-idx{pixels.ndim}", idx(pixels)), ("labels-idx1", idx(labels))):
            path = root / f"{part}-{name}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(data) if zipped else data)
    return root


def table(
    path: Path,
    pictures: list[bytes | None],
    labels: list,
    *,
    kind: pa.DataType | None = None,
    struct: bool = True,
    metadata: dict[bytes, bytes] | None = None,
    rows: int = 4,
    names: tuple[str, str] = ("image", "label"),
) -> Path:
    cells = [None if p is None else {"bytes": p, "path": f"{i}.png"} for i, p in enumerate(pictures)]
    shape = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    column = pa.array(cells, shape) if struct else pa.array(pictures, pa.binary())
    made = pa.table({names[0]: column, names[1]: pa.array(labels, kind)})
    pq.write_table(made.replace_schema_metadata(metadata), path, row_group_size=rows)
    return path


@pytest.fixture(scope="session")
def draw() -> SimpleNamespace:
    return SimpleNamespace(noise=noise, image=image, encoded=encoded, folder=folder, idx=idx, idx_folder=idx_folder, table=table)
