"""Shifts and mirror images: each picture by itself, from its own draw, and borders as a mirror shows them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradlearn import chance
from gradlearn.data.shift import alternating, flips, mirrored, shift_mirror
from photographs import made


@pytest.mark.parametrize("channels", [1, 3])
def test_each_pixel_comes_from_the_place_that_numpy_pads_and_cuts(channels):
    pixels, draw, place = made(7, 9, 12, channels), 5, np.arange(7)
    moved = shift_mirror(pixels, draw, place, 3, flips(draw, place))
    for i, picture in enumerate(pixels.numpy()):
        assert (moved[i].numpy() == shifted(picture, draw, i)).all()


def test_without_a_shift_half_are_mirrored_and_the_others_as_they_are():
    pixels, place = made(400, 4, 5), np.arange(400)
    out = shift_mirror(pixels, 3, place, 0, flips(3, place))
    flip = torch.from_numpy(flips(3, place))
    assert torch.equal(out, mirrored(pixels, flips(3, place)))
    assert shift_mirror(pixels, 3, place, 0, None) is pixels
    assert torch.equal(out[flip], pixels[flip].flip(2))
    assert torch.equal(out[~flip], pixels[~flip])
    assert abs(int(flip.sum()) - 200) < 50  # five standard deviations


def test_where_each_comes_once_an_epoch_it_is_mirrored_in_every_second_one():
    rows = np.arange(1000)
    one, two, three = (alternating(7, rows, np.full(1000, epoch)) for epoch in (4, 5, 6))
    assert (one == ~two).all()
    assert (one == three).all()
    assert abs(int(one.sum()) - 500) < 80  # five standard deviations
    assert (alternating(7, rows[::-1], np.full(1000, 4)) == one[::-1]).all(), "it is the picture's, not the place's"
    assert (alternating(8, rows, np.full(1000, 4)) != one).any()


def shifted(picture: np.ndarray, draw: int, place: int) -> np.ndarray:
    """The formula of the module, pixel by pixel."""
    height, width = picture.shape[:2]
    dy, dx = (int(chance.integers(7, draw, purpose, np.array([place]))[0]) - 3 for purpose in ("dy", "dx"))
    flip, out = bool(flips(draw, np.array([place]))[0]), np.empty_like(picture)
    for y in range(height):
        for x in range(width):
            out[y, x] = picture[reflect(y + dy, height), reflect((width - 1 - x if flip else x) + dx, width)]
    return out


def reflect(k: int, size: int) -> int:
    """-1 is 1, size is size - 2."""
    return -k if k < 0 else 2 * size - 2 - k if k >= size else k
