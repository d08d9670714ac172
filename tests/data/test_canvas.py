"""Pictures on canvases: where a box goes, and back again; what is decoded is what is on the canvas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gradlearn.data.canvas import GREY, SIDE, canvas_shape, lay
from gradlearn.data.stored import Stored
from gradlearn.errors import InputTrouble

SIZES = [(60, 90), (31, 90), (90, 40), (200, 300), (64, 96)]
BOX = (0.25, 0.3, 0.7, 0.8)  # of width and height


def files(folder: Path) -> list[str]:
    """Black pictures of different sizes with a white box."""
    paths = []
    for i, (h, w) in enumerate(SIZES):
        pixels = np.zeros((h, w, 3), np.uint8)
        x1, y1, x2, y2 = box_of(i).astype(int)
        pixels[y1:y2, x1:x2] = 255
        paths.append(str(folder / f"{i}.png"))
        Image.fromarray(pixels).save(paths[-1])
    return paths


def box_of(i: int) -> np.ndarray:
    h, w = SIZES[i]
    return np.round(np.array(BOX) * (w, h, w, h))


def test_boxes_go_where_the_pixels_go(tmp_path: Path):
    canvases = lay(files(tmp_path), (64, 96))
    assert canvases.pixels.shape == (5, 3, 64, 96)
    for i, (h, w) in enumerate(SIZES):
        eh, ew = canvases.extents[i]
        assert eh / h == pytest.approx(ew / w, abs=0.02)
        assert eh == 64 or ew == 96
        x1, y1, x2, y2 = canvases.onto(box_of(i)[None], np.array([i]))[0]
        white = canvases.take(np.array([i]))[0, 0, :eh, :ew] > 127
        rows, columns = white.nonzero(as_tuple=True)
        for edge, pixel in ((y1, rows.min()), (y2, rows.max() + 1), (x1, columns.min()), (x2, columns.max() + 1)):
            assert abs(float(edge) - int(pixel)) <= 1.0
        beyond = canvases.take(np.array([i]))[0]
        beyond[:, :eh, :ew] = GREY
        assert bool((beyond == GREY).all())


def test_back_undoes_onto(tmp_path: Path):
    canvases = lay(files(tmp_path), (48, 64))
    picture = np.array([0, 3, 3, 2])
    boxes = np.stack([box_of(i) for i in picture]).astype(np.float32)
    assert np.allclose(canvases.back(canvases.onto(boxes, picture), picture), boxes, atol=1e-3)


def test_a_picture_of_the_size_of_the_canvas_is_left_as_it_is(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    canvases = lay([str(tmp_path / "a.png")], (64, 96))
    assert torch.equal(canvases.take(np.array([0]))[0], torch.from_numpy(pixels).permute(2, 0, 1))
    assert canvases.scales.tolist() == [1.0]


def test_a_canvas_is_as_large_as_most_pictures_are():
    assert canvas_shape(np.array([[480, 640]] * 10), 320) == (240, 320)
    assert canvas_shape(np.array([[480, 640], [640, 480]] * 10), 320) == (320, 320)
    assert canvas_shape(np.array([[10, 1000]]), 320) == (SIDE, 320)
    assert canvas_shape(np.array([[500, 500]]), 330) == (336, 336)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(InputTrouble, match=r"a\.png: "):
        lay([str(tmp_path / "a.png")], (64, 96))
    with pytest.raises(InputTrouble, match="no pictures"):
        canvas_shape(np.zeros((0, 2)), 320)


def test_pictures_beyond_memory_lie_in_a_file_and_are_the_same(tmp_path: Path):
    paths = files(tmp_path)
    inside, outside = lay(paths, (64, 96)), lay(paths, (64, 96), memory=1000, cache=tmp_path / "cache")
    assert isinstance(inside.pixels, torch.Tensor)
    assert isinstance(outside.pixels, Stored)
    assert outside.pixels.nbytes == (tmp_path / "cache").stat().st_size == inside.pixels.nbytes
    rows = np.array([3, 0, 3])
    assert torch.equal(inside.take(rows), outside.take(rows))
    for a, b in ((inside.extents, outside.extents), (inside.scales, outside.scales), (inside.sizes, np.array(SIZES))):
        assert np.array_equal(a, b)


def test_a_file_that_cannot_be_read_leaves_no_cache_behind(tmp_path: Path):
    paths = files(tmp_path)
    Path(paths[2]).write_bytes(b"no picture")
    with pytest.raises(InputTrouble, match=r"2\.png"):
        lay(paths, (64, 96), memory=1000, cache=tmp_path / "cache")
    assert not list(tmp_path.glob("cache*"))
