"""The lines of Python in a model card read a picture as we do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradlearn.data.images import read_files
from gradlearn.data.steps import reader, steps


def made(path: Path, size: tuple[int, int], mode: str, turned: bool = False) -> Path:
    """A picture with something in it, turned by its EXIF tag if asked."""
    draw = np.random.default_rng(0)
    soft = draw.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(soft).resize(size, Image.Resampling.BICUBIC).convert(mode)
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("shape", [(8, 8, 1), (16, 16, 3), (12, 20, 3)])
@pytest.mark.parametrize(("size", "mode"), [((16, 16), "RGB"), ((30, 17), "RGB"), ((9, 21), "L")])
@pytest.mark.parametrize("turned", [False, True])
def test_a_card_reads_a_picture_as_we_do(shape: tuple[int, int, int], size: Any, mode: str, turned: bool, tmp_path: Path):
    names: dict[str, Any] = {}
    exec(compile(reader(shape), "card", "exec"), names)
    path = made(tmp_path / "a.png", size, mode, turned)
    ours = read_files([path], shape[:2], shape[2])[0].transpose(0, 3, 1, 2)
    theirs = names["pixels"](path)
    assert (theirs.dtype, theirs.shape) == (np.uint8, (1, shape[2], *shape[:2]))
    gap = np.abs(theirs.astype(int) - ours)
    assert gap.max() <= 12, "bytes are rounded between two passes, and enlarging overshoots"
    assert gap.mean() <= 2.0, "the same places of the picture are read"


def test_the_steps_carry_their_numbers():
    rows = {row["step"]: row for row in steps((24, 32, 3))}
    assert list(rows) == ["decode", "turn", "flatten", "resize", "channels", "layout"]
    assert (rows["resize"]["height"], rows["resize"]["width"], rows["channels"]["order"]) == (24, 32, "RGB")
    assert "(n, 3, 24, 32)" in rows["layout"]["what"]
    assert {row["step"]: row for row in steps((8, 8, 1))}["channels"]["order"] == "L"
