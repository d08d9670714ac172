"""New pictures with boxes: the boxes are where the pixels are, whatever was drawn, and the draws are a function of their key."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gradlearn.data import mosaic as module
from gradlearn.data.canvas import GREY, Canvases
from gradlearn.data.mosaic import Labelled, Varied, filled_up, mosaic

RED, N, HEIGHT, WIDTH = 255, 6, 64, 96
PLAIN = Varied(mirror=False, upend=False, share=0.0, zoom=(1.0, 1.0), colour=0.0)


def drawn(seed: int = 0) -> Labelled:
    """Black pictures of different sizes, with one to three red boxes each that do not touch."""
    rng = np.random.default_rng(seed)
    pixels = torch.full((N, 3, HEIGHT, WIDTH), GREY, dtype=torch.uint8)
    extents = np.array([(64, 96), (64, 48), (40, 96), (64, 96), (64, 70), (50, 96)])
    boxes, labels, first = [], [], [0]
    for i, (h, w) in enumerate(extents):
        pixels[i, :, :h, :w] = 0
        for k in range(i % 3 + 1):
            left, top = 4 + 14 * k, int(rng.integers(2, h - 24))
            right, bottom = left + int(rng.integers(8, 12)), top + int(rng.integers(10, 22))
            pixels[i, 0, top:bottom, left:right] = RED
            boxes.append((left, top, right, bottom))
            labels.append(k)
        first.append(len(boxes))
    canvases = Canvases(pixels, extents, np.ones(N), np.zeros((N, 2)), extents)
    return Labelled(canvases, np.array(boxes, np.float32), np.array(labels), np.array(first))


def red(picture: Tensor) -> Tensor:
    """(h, w) bool."""
    return picture[0].int() - picture[1].int() > RED // 2


def covered(rows: Tensor, more: float) -> Tensor:
    """(h, w) bool: pixels whose centre is in a box that is made larger by so many pixels on each side."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    inside = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    for _, x1, y1, x2, y2 in rows[rows[:, 0] >= 0]:
        inside |= (x > x1 - more) & (x < x2 + more) & (y > y1 - more) & (y < y2 + more)
    return inside


@pytest.mark.parametrize("draw", range(8))
@pytest.mark.parametrize("how", [replace(PLAIN, share=s, mirror=m, upend=u, zoom=z) for s, m, u, z in [
    (0.0, True, False, (1.0, 1.0)), (0.0, False, True, (0.5, 0.9)), (0.0, True, True, (1.2, 2.0)), (1.0, True, True, (0.5, 2.0)),
]])  # fmt: skip
def test_boxes_are_where_the_pixels_are(monkeypatch: pytest.MonkeyPatch, draw: int, how: Varied):
    monkeypatch.setattr(module, "LEFT", 0.0)
    monkeypatch.setattr(module, "LEAST", 1e-3)
    pixels, y = mosaic(drawn(), torch.arange(N), torch.arange(N), draw, how)
    assert pixels.shape == (N, 3, HEIGHT, WIDTH)
    assert pixels.dtype == torch.uint8
    for picture, rows in zip(pixels, y, strict=True):
        assert bool((covered(rows, 1.0) >= red(picture)).all()), "red outside of all boxes"
        assert bool((red(picture) >= covered(rows, -1.5)).all()), "a box where nothing is red"


def test_nothing_drawn_leaves_picture_and_boxes_as_they_are():
    data = drawn()
    pixels, y = mosaic(data, torch.arange(N), torch.arange(N), 3, PLAIN)
    for i in range(N):
        h, w = data.canvases.extents[i]
        top, left = (int(k[0]) for k in (pixels[i, 0] != GREY).nonzero(as_tuple=True)) if (h, w) != (HEIGHT, WIDTH) else (0, 0)
        assert torch.equal(pixels[i, :, top : top + h, left : left + w], data.canvases.pixels[i, :, :h, :w])
        rows = y[i][y[i, :, 0] >= 0]
        assert np.allclose(rows[:, 1:] - torch.tensor([left, top, left, top]), data.boxes[data.first[i] : data.first[i + 1]])
        assert rows[:, 0].tolist() == data.labels[data.first[i] : data.first[i + 1]].tolist()


def test_the_same_key_draws_the_same_and_another_does_not():
    data, how = drawn(), Varied()
    rows = torch.tensor([4, 1, 5])
    one, two, other = (mosaic(data, rows, torch.arange(N), draw, how) for draw in (7, 7, 8))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[0], other[0])


def test_a_picture_is_drawn_by_its_place_whatever_else_is_in_the_batch():
    data, how = drawn(), Varied(share=1.0)
    together, y = mosaic(data, torch.tensor([4, 1, 5]), torch.arange(N), 7, how)
    alone, z = mosaic(data, torch.tensor([4]), torch.arange(N), 7, how)
    assert torch.equal(alone[0], together[0])
    kept = y[0][y[0, :, 0] >= 0]
    assert torch.equal(kept, z[0, : len(kept)])


def test_only_pictures_of_the_pool_are_put_beside():
    data = drawn()
    boxes = data.labels.copy()
    boxes[data.rows(np.array([0, 3]))[0]] = 9
    _, y = mosaic(data._replace(labels=boxes), torch.tensor([1, 2] * 8), torch.tensor([0, 3]), 1, replace(PLAIN, share=1.0))
    assert bool((y[..., 0] == 9).any())
    _, y = mosaic(data._replace(labels=boxes), torch.tensor([1, 2] * 8), torch.tensor([1, 2]), 1, replace(PLAIN, share=1.0))
    assert not bool((y[..., 0] == 9).any())


def test_colours_change_and_boxes_do_not():
    data = drawn()
    pixels, y = mosaic(data, torch.arange(N), torch.arange(N), 5, replace(PLAIN, colour=1.0))
    _, z = mosaic(data, torch.arange(N), torch.arange(N), 5, PLAIN)
    assert torch.equal(y, z)
    means = pixels.double().mean((1, 2, 3))
    assert means.std() > 5


def test_boxes_of_which_little_is_left_are_no_longer_asked_for():
    data = drawn()
    for draw in range(20):
        _, y = mosaic(data, torch.arange(N), torch.arange(N), draw, replace(PLAIN, share=1.0, zoom=(1.0, 1.0)))
        sizes = (y[..., 3:] - y[..., 1:3])[y[..., 0] >= 0]
        assert bool((sizes >= module.LEAST).all())
        areas = sizes.prod(1)
        smallest = float(np.prod(data.boxes[:, 2:] - data.boxes[:, :2], axis=1).min())
        assert bool((areas >= module.LEFT * smallest - 1e-3).all())


def test_pictures_without_boxes_are_filled_up():
    y = filled_up(np.ones((2, 4)), np.array([3, 4]), np.array([1, 1]), 3)
    assert y.shape == (3, 2, 5)
    assert y[:, :, 0].tolist() == [[-1, -1], [3, 4], [-1, -1]]
    assert filled_up(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, int), 2).shape == (2, 1, 5)
