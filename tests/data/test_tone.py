"""Tables of tone: Pillow makes the same bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import ImageEnhance, ImageOps

from gradlearn.data import tone
from photographs import apart, back, made, shown

both = pytest.mark.parametrize("channels", [1, 3])


def pictures(channels: int) -> torch.Tensor:
    """Noisy ones, a flat one, one of two values, and one of a single dark pixel."""
    pixels = made(6, 20, 26, channels)
    pixels[3] = 77
    pixels[4] = 10
    pixels[4, 0, 0] = 3
    pixels[5] = pixels[5] // 4 + 60
    return pixels


@both
@pytest.mark.parametrize("name", ["equalize", "autocontrast"])
def test_what_goes_by_the_histogram_is_pillows_to_the_bit(name, channels):
    pixels = pictures(channels)
    out = tone.look_up(pixels, getattr(tone, name)(pixels))
    for i in range(len(pixels)):
        assert torch.equal(out[i], back(getattr(ImageOps, name)(shown(pixels[i])))), i


@both
def test_posterize_and_solarize_are_pillows_to_the_bit(channels):
    pixels = pictures(channels)
    bits, threshold = torch.tensor([1, 2, 4, 6, 7, 8]), torch.tensor([0, 1, 100, 128, 255, 256])
    one, other = (tone.look_up(pixels, t) for t in (tone.posterize(pixels, bits), tone.solarize(pixels, threshold)))
    for i in range(len(pixels)):
        assert torch.equal(one[i], back(ImageOps.posterize(shown(pixels[i]), int(bits[i]))))
        assert torch.equal(other[i], back(ImageOps.solarize(shown(pixels[i]), int(threshold[i]))))


@both
@pytest.mark.parametrize(("name", "enhance"), [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast)])
def test_brightness_and_contrast_are_pillows_but_rounded(name, enhance, channels):
    pixels = pictures(channels)
    factor = torch.tensor([0.0, 0.3, 0.8, 1.0, 1.4, 1.99])
    out = tone.look_up(pixels, getattr(tone, name)(pixels, factor))
    for i in range(len(pixels)):
        assert apart(out[i], back(enhance(shown(pixels[i])).enhance(float(factor[i])))) <= 1
    assert torch.equal(out[3], pixels[3])


@both
def test_the_identity_and_a_table_for_each_channel(channels):
    pixels = pictures(channels)
    assert torch.equal(tone.look_up(pixels, tone.identity(6, channels)), pixels)
    tables = torch.randint(0, 256, (6, channels, 256), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    out = tone.look_up(pixels, tables)
    for i in range(6):
        for c in range(channels):
            assert torch.equal(out[i, :, :, c], tables[i, c][pixels[i, :, :, c].long()])


@both
@pytest.mark.parametrize("shape", [(20, 26), (7, 5), (1, 1)])
def test_counts_ends_and_means_are_numpys(shape, channels):
    pixels = made(3, *shape, channels)
    low, high = tone.ends(pixels)
    for i in range(3):
        flat = pixels[i].reshape(-1, channels).numpy()
        assert (low[i].numpy() == flat.min(0)).all()
        assert (high[i].numpy() == flat.max(0)).all()
        np.testing.assert_allclose(tone.means(pixels)[i].numpy(), flat.mean(0), rtol=1e-5)
        for c in range(channels):
            assert (tone.histogram(pixels)[i, c].numpy() == np.bincount(flat[:, c], minlength=256)).all()
