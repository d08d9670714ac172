"""Sharpness: Pillow's."""

from __future__ import annotations

import pytest
import torch
from PIL import ImageEnhance

from gradlearn.data.sharpness import sharpen
from photographs import apart, back, made, shown


@pytest.mark.parametrize("channels", [1, 3])
def test_sharpness_is_pillows_but_rounded_once(channels):
    pixels, factor = made(5, 14, 19, channels), torch.tensor([0.0, 0.3, 1.0, 1.5, 2.0])
    out = sharpen(pixels, factor)
    for i in range(5):
        assert apart(out[i], back(ImageEnhance.Sharpness(shown(pixels[i])).enhance(float(factor[i])))) <= 1
    assert torch.equal(out[2], pixels[2])


def test_pictures_without_a_middle_stay_as_they_are():
    pixels = made(2, 2, 9)
    assert torch.equal(sharpen(pixels, torch.zeros(2)), pixels)
