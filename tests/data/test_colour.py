"""Changes of colour: one affine map does what Pillow does one after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import ImageEnhance

from gradlearn.data.colour import hues, random_colour, recolour, saturation
from gradlearn.data.tone import LUMA, greys
from photographs import apart, back, made, shown


def test_saturation_is_pillows():
    pixels, factor = made(5, 20, 26), np.array([0.0, 0.4, 1.0, 1.3, 2.0])
    out = recolour(pixels, saturation(factor))
    for i in range(5):
        assert apart(out[i], back(ImageEnhance.Color(shown(pixels[i])).enhance(factor[i]))) <= 2  # Pillow rounds grey first
    assert torch.equal(out[2], pixels[2])


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_then_contrast_is_pillows_where_nothing_is_cut_off(channels):
    pixels = made(4, 20, 26, channels) // 2 + 40
    bright, steep = np.array([0.8, 1.1, 1.0, 0.9]), np.array([0.7, 1.2, 0.5, 1.0])
    out = recolour(pixels, np.eye(channels) * (bright * steep)[:, None, None], (1 - steep) * bright)
    for i in range(4):
        brighter = ImageEnhance.Brightness(shown(pixels[i])).enhance(bright[i])
        assert apart(out[i], back(ImageEnhance.Contrast(brighter).enhance(steep[i]))) <= 2


@pytest.mark.parametrize("shape", [(16, 16), (7, 9), (5, 6)])
def test_a_map_is_the_product_of_each_pixel(shape):
    pixels, draw = made(3, *shape), np.random.default_rng(0)
    maps = draw.uniform(-0.2, 0.6, (3, 3, 3))
    expected = np.clip(np.einsum("nij,nhwj->nhwi", maps, pixels.numpy()), 0, 255)
    assert apart(recolour(pixels, maps), torch.from_numpy(np.rint(expected).astype(np.uint8))) <= 1
    np.testing.assert_allclose(recolour(pixels.float(), maps).numpy(), expected, atol=1e-3)


def test_a_turn_of_hue_keeps_greys_and_brightness_and_a_whole_one_everything():
    turns = np.array([0.0, 0.1, 0.37, 0.5, 1.0])
    maps = hues(turns)
    np.testing.assert_allclose(maps @ np.ones(3), np.ones((5, 3)), atol=1e-12)
    np.testing.assert_allclose(np.array(LUMA) @ maps, np.broadcast_to(LUMA, (5, 3)), atol=1e-12)
    np.testing.assert_allclose(maps[[0, 4]], np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(hues(np.array([0.3])) @ hues(np.array([0.2])), hues(np.array([0.5])), atol=1e-12)


def test_draws_are_within_the_strength_and_uniform():
    place, flat = np.arange(4000), torch.full((4000, 2, 2, 1), 100.0)  # contrast does nothing to what is flat
    factor = greys(random_colour(flat, 7, place, 0.4)).numpy() / 100
    assert factor.min() > 0.6
    assert factor.max() < 1.4
    assert abs((factor < 1.2).mean() - 0.75) < 0.03
    assert random_colour(flat, 7, place, 0.0) is flat


def test_greys_stay_grey_under_any_colour():
    grey = made(6, 12, 12, 1).expand(-1, -1, -1, 3).contiguous()
    out = random_colour(grey, 3, np.arange(6), 0.4, hue=0.5).int()
    assert (out - out[..., :1]).abs().max() <= 1
