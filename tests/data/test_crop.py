"""Random crops: inside the picture, of the shares and shapes that were asked for, scaled as Pillow scales."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gradlearn.data.crop import boxes, random_crop, scaled
from photographs import apart, back, made, shown

MANY = np.arange(20_000)


def test_boxes_lie_inside_and_have_the_shares_and_shapes_asked_for():
    top, left, h, w = boxes(3, MANY, 0.65, (300, 400)).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + h <= 300).all()
    assert (left + w <= 400).all()
    share, ratio = h * w / 120_000, w / h
    assert 0.34 < share.min() < 0.36
    inside = (h < 300) & (w < 400)  # not cut by the border
    assert abs(ratio[inside]).max() < 4 / 3 + 0.02
    assert abs(ratio[inside]).min() > 3 / 4 - 0.02


def test_shares_are_uniform_and_places_too():
    _, _, h, w = boxes(4, MANY, 0.5, (1000, 1000)).T
    share = h * w / 1e6
    small = share[share < 0.7]  # no border cuts those
    assert abs((small < 0.6).mean() - 0.5) < 0.03
    top, left, h, w = boxes(4, MANY, 0.9, (64, 64)).T
    for start, size in ((top, h), (left, w)):
        room = 64 - size
        assert abs((start[room >= 16] / room[room >= 16]).mean() - 0.5) < 0.01


@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_is_the_box_scaled(channels):
    pixels = made(5, 40, 50, channels)
    out = random_crop(pixels, 9, np.arange(5), 0.6, (24, 32))
    assert out.shape == (5, 24, 32, channels)
    for i, (top, left, h, w) in enumerate(boxes(9, np.arange(5), 0.6, (40, 50)).tolist()):
        part = shown(pixels[i]).crop((left, top, left + w, top + h)).resize((32, 24), Image.Resampling.BILINEAR)
        assert apart(out[i], back(part)) <= 1


def test_nothing_cut_away_is_nothing_done():
    pixels = made(3, 20, 20)
    assert random_crop(pixels, 1, np.arange(3), 0.0) is pixels
    assert torch.equal(random_crop(pixels, 1, np.arange(3), 1e-9), pixels)


@pytest.mark.parametrize("size", [(16, 24), (33, 48), (64, 96), (100, 31)])
def test_scaling_is_that_of_pillow(size):
    pixels = made(4, 64, 96)
    for one, other in zip(scaled(pixels, size), pixels, strict=True):
        assert apart(one, back(shown(other).resize(size[::-1], Image.Resampling.BILINEAR))) <= 1


def test_numbers_are_scaled_as_bytes_are():
    pixels = made(4, 40, 40)
    assert apart(scaled(pixels.float(), (24, 24)).round().to(torch.uint8), scaled(pixels, (24, 24))) <= 1
