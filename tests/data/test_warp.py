"""Warps: the identity changes nothing, whole moves are shifts, quarter turns are exact, and a turn is Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gradlearn.data.warp import move, random_turn, shear, turn, warp, zoom
from photographs import back, made, shown

ZERO = np.zeros(4)


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("shape", [(12, 12), (9, 14), (1, 5)])
def test_maps_that_are_the_identity_change_nothing(smooth, shape):
    pixels = made(4, *shape)
    for maps in (turn(ZERO), zoom(ZERO + 1), shear(ZERO, ZERO), move(ZERO, ZERO)):
        assert torch.equal(warp(pixels, maps, smooth), pixels)
    assert torch.equal(warp(pixels.float(), turn(ZERO), False), pixels.float())


@pytest.mark.parametrize("smooth", [True, False])
def test_a_move_by_whole_pixels_is_numpy_padded_by_a_mirror(smooth):
    pixels = made(4, 10, 13)
    x, y = np.array([3, -2, 0, 5]), np.array([0, 4, -3, 5])
    out = warp(pixels, move(x.astype(float), y.astype(float)), smooth)
    for i, picture in enumerate(pixels.numpy()):
        padded = np.pad(picture, ((5, 5), (5, 5), (0, 0)), mode="reflect")
        assert (out[i].numpy() == padded[5 - y[i] : 15 - y[i], 5 - x[i] : 18 - x[i]]).all()


@pytest.mark.parametrize("smooth", [True, False])
def test_quarter_turns_are_those_of_an_array(smooth):
    pixels = made(4, 11, 11)
    out = warp(pixels, turn(np.array([90.0, 180.0, 270.0, -90.0])), smooth)
    for i, quarters in enumerate((1, 2, 3, 3)):
        assert torch.equal(out[i], pixels[i].rot90(quarters, (0, 1)))


def test_twice_as_large_is_the_middle_half():
    pixels = made(1, 33, 33)
    out = warp(pixels, zoom(np.array([2.0])))
    assert torch.equal(out[0, ::2, ::2], pixels[0, 8:25, 8:25])


def test_a_shear_moves_each_row_by_its_distance_from_the_middle():
    pixels = made(1, 9, 21)
    out = warp(pixels, shear(np.array([1.0]), np.array([0.0])), smooth=False)
    for row in range(9):
        by = row - 4
        here, there = (slice(max(-by, 0), 21 - max(by, 0)), slice(max(by, 0), 21 - max(-by, 0)))
        assert torch.equal(out[0, row, here], pixels[0, row, there])


def test_a_turn_is_that_of_pillow_where_no_border_is_seen():
    pixels = made(1, 41, 41)
    y, x = np.mgrid[-20:21, -20:21]
    inside = torch.from_numpy(x**2 + y**2 < 19**2)
    for angle in (7.0, -31.0, 118.0):
        out = warp(pixels, turn(np.array([angle])))[0]
        expected = back(shown(pixels[0]).rotate(angle, Image.Resampling.BILINEAR))
        assert (out[inside].int() - expected[inside].int()).abs().max() <= 1


def test_angles_are_within_what_was_asked_for_and_of_both_signs():
    pixels, place = made(1, 21, 21).expand(40, -1, -1, -1), np.arange(40)
    assert random_turn(pixels, 1, place, 0.0) is pixels
    out = random_turn(pixels, 1, place, 15.0)
    assert len({bytes(picture.numpy()) for picture in out}) == 40
    for picture in out:  # the nearest of many turns tells the angle
        angles = np.arange(-20.0, 20.5, 0.5)
        known = warp(pixels[:1].expand(len(angles), -1, -1, -1), turn(angles))
        angle = angles[(known.int() - picture.int()).abs().sum((1, 2, 3)).argmin()]
        assert abs(angle) <= 15.5
