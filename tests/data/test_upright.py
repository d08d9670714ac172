"""Flips that cannot be told from the pictures, and flips that can."""

from __future__ import annotations

import numpy as np
import pytest

from gradlearn.data.upright import FEW, alike, told


def pictures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 8, 6, 3))


@pytest.mark.parametrize("axis", [1, 2])
def test_noise_has_no_right_side_up(axis: int):
    assert alike(pictures(300), axis)
    assert told(pictures(300), axis) == pytest.approx(0.5, abs=0.1)


def test_a_sky_above_is_told_upside_down_but_not_mirrored():
    x = pictures(300)
    x[:, :3] += 0.7
    assert told(x, 1) == pytest.approx(1.0, abs=0.05)
    assert not alike(x, 1)
    assert alike(x, 2)


def test_what_is_left_in_half_of_the_pictures_and_right_in_the_others_is_not_told():
    x = pictures(300)
    x[::2, :, :3] += 2.0
    x[1::2, :, 3:] += 2.0
    assert alike(x[np.random.default_rng(1).permutation(300)], 2)


def test_of_few_pictures_nothing_is_said():
    assert alike(pictures(FEW - 1), 1) is None
    assert told(pictures(FEW - 1), 1) is None
