"""TrivialAugment: every change as often as any other, and a group does to each what it does alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from gradlearn.data.trivial import CHANGES, changed, trivial
from photographs import apart, back, made, shown


def once(name: str, level: float, sign: float, channels: int = 3, n: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures, and the same under one change."""
    pixels = made(n, 24, 24, channels)
    return pixels, changed(pixels, np.array([name] * n), np.full(n, level), np.full(n, level * sign))


@pytest.mark.parametrize(
    ("name", "level", "sign", "expected", "off"),
    [
        ("identity", 1.0, 1.0, lambda p: p, 0),
        ("brightness", 0.5, -1.0, lambda p: ImageEnhance.Brightness(p).enhance(1 - 0.99 * 0.5), 1),
        ("contrast", 0.5, 1.0, lambda p: ImageEnhance.Contrast(p).enhance(1 + 0.99 * 0.5), 1),
        ("saturation", 1.0, 1.0, lambda p: ImageEnhance.Color(p).enhance(1.99), 2),
        ("sharpness", 1.0, -1.0, lambda p: ImageEnhance.Sharpness(p).enhance(0.01), 1),
        ("posterize", 1.0, 1.0, lambda p: ImageOps.posterize(p, 2), 0),
        ("posterize", 0.5, 1.0, lambda p: ImageOps.posterize(p, 5), 0),
        ("solarize", 0.0, 1.0, lambda p: ImageOps.solarize(p, 255), 0),
        ("solarize", 1.0, 1.0, lambda p: ImageOps.solarize(p, 0), 0),
        ("autocontrast", 0.3, 1.0, ImageOps.autocontrast, 0),
        ("equalize", 0.3, 1.0, ImageOps.equalize, 0),
    ],
)
def test_a_change_is_what_pillow_makes_of_it(name, level, sign, expected, off):
    for one, other in zip(*once(name, level, sign), strict=True):
        assert apart(other, back(expected(shown(one)))) <= off


def test_moves_are_whole_pixels_and_turns_are_turns():
    pixels, out = once("move x", 0.25, 1.0)
    assert torch.equal(out[:, :, 6:], pixels[:, :, :-6])  # a quarter of a side of 24, which is less than 32
    pixels, out = once("move y", 0.25, -1.0)
    assert torch.equal(out[:, :-6], pixels[:, 6:])
    pixels, out = once("turn", 90 / 135, 1.0)
    assert torch.equal(out, pixels.rot90(1, (1, 2)))
    pixels, out = once("shear x", 1.0, 1.0)
    assert torch.equal(out[:, 12, :12], pixels[:, 12, :12])  # half a pixel off the middle: nothing


@pytest.mark.parametrize("channels", [1, 3])
def test_in_a_mixed_batch_each_is_changed_as_alone(channels):
    n = 4 * len(CHANGES)
    pixels, draw = made(n, 18, 22, channels), np.random.default_rng(0)
    which, level = np.array(CHANGES * 4), draw.uniform(0, 1, n)
    signed = level * draw.choice([-1, 1], n)
    whole = changed(pixels, which, level, signed)
    for i in range(n):
        one = slice(i, i + 1)
        assert apart(whole[one], changed(pixels[one], which[one], level[one], signed[one])) == 0, which[i]
        if which[i] in ("identity", *(("saturation",) if channels == 1 else ())):
            assert torch.equal(whole[i], pixels[i])


def test_every_change_comes_equally_often_and_strength_zero_changes_only_by_histogram():
    from gradlearn import chance

    counts = np.bincount(chance.integers(len(CHANGES), 3, "trivial", np.arange(14_000)), minlength=14)
    assert abs(counts - 1000).max() < 160  # five standard deviations
    pixels = made(300, 8, 8)
    which = np.array(CHANGES)[chance.integers(len(CHANGES), 5, "trivial", np.arange(300))]
    out = trivial(pixels, 5, np.arange(300), 0.0)
    same = torch.from_numpy(~np.isin(which, ["autocontrast", "equalize", "solarize"]))
    assert apart(out[same], pixels[same]) == 0
    assert not torch.equal(trivial(pixels, 5, np.arange(300)), out)


def test_grey_pictures_and_colour_ones_keep_their_kind():
    for channels in (1, 3):
        out = trivial(made(50, 9, 9, channels), 1, np.arange(50))
        assert (out.shape, out.dtype) == ((50, 9, 9, channels), torch.uint8)
    assert Image.fromarray(out[0].numpy()).mode == "RGB"
