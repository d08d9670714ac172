"""Cutout: one square of the mean colour, anywhere, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradlearn import chance
from gradlearn.data.erase import cutout
from photographs import made


@pytest.mark.parametrize(("side", "channels"), [(1, 3), (5, 1), (6, 3), (40, 3)])
def test_what_lies_in_the_square_is_the_mean_and_the_rest_as_it_was(side, channels):
    pixels, place = made(30, 12, 17, channels), np.arange(30)
    out = cutout(pixels, 4, place, side)
    for i in range(30):
        y, x = (int(chance.integers(n, 4, f"cutout.{what}", place)[i]) - side // 2 for what, n in (("down", 12), ("across", 17)))
        expected = pixels[i].clone()
        expected[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = (
            pixels[i].float().mean((0, 1)).round().to(torch.uint8)
        )
        assert torch.equal(out[i], expected)


def test_every_pixel_is_covered_as_often_as_any_other_but_at_the_border():
    flat = torch.zeros(4000, 9, 9, 1)
    flat[:, 0, 0] = 81.0  # the mean is 1
    covered = (cutout(flat, 2, np.arange(4000), 3) == 1.0).float().mean(0)[..., 0]
    assert (covered[1:-1, 1:-1] - 9 / 81).abs().max() < 0.025  # five standard deviations
    assert (covered[1:-1, 0] - 6 / 81).abs().max() < 0.025
    assert cutout(flat, 2, np.arange(4000), 0) is flat
