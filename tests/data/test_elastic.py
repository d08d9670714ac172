"""Warp: bilinear by its definition, nothing at strength 0, never further than promised, the same for the same draw."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from gradlearn.data import elastic as module
from gradlearn.data.elastic import BEND, CELLS, CONTRAST, LIGHT, MOVE, ROTATE, STRETCH, ZOOM, places, warp


def pictures(n: int, height: int, width: int, channels: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, height, width, channels), dtype=np.uint8))


def mirrored(at: int, size: int) -> int:
    """-1 -> 1, size -> size - 2, and on from there."""
    at = abs(at) % (2 * size - 2)
    return at if at < size else 2 * size - 2 - at


def brute(pixels: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The definition, a pixel at a time."""
    n, height, width, _ = pixels.shape
    out = np.zeros(pixels.shape)
    for i in range(n):
        for y in range(height):
            for x in range(width):
                v, u = where[i, y, x] + ((height - 1) / 2, (width - 1) / 2)
                top, left = math.floor(v), math.floor(u)
                for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                    weight = (1 - abs(v - row)) * (1 - abs(u - column))
                    out[i, y, x] += weight * pixels[i, mirrored(row, height), mirrored(column, width)]
    return out


@pytest.mark.parametrize(("n", "height", "width", "channels"), [(3, 8, 8, 1), (2, 7, 12, 3), (2, 6, 5, 1)])
def test_every_pixel_is_bilinear_between_four_others_with_mirrored_borders(n, height, width, channels, monkeypatch):
    for name in ("CONTRAST", "LIGHT"):
        monkeypatch.setattr(module, name, 0.0)
    pixels = pictures(n, height, width, channels)
    expected = brute(pixels.numpy().astype(float), places(np.arange(n), height, width, 5, 1.5).numpy().astype(float))
    found = warp(pixels, 5, 1.5)
    assert (found.dtype, found.shape) == (torch.uint8, pixels.shape)
    assert np.abs(found.numpy() - expected).max() <= 0.5 + 1e-2  # rounded to bytes, in float32


def test_of_strength_zero_it_is_the_picture_itself():
    pixels = pictures(4, 9, 8, 3)
    assert torch.equal(warp(pixels, 3, 0.0), pixels)
    straight = places(np.arange(4), 9, 8, 3, 0.0)
    y, x = np.meshgrid(np.arange(9) - 4.0, np.arange(8) - 3.5, indexing="ij")
    assert np.allclose(straight.numpy(), np.stack([y, x], -1))


def test_a_picture_of_one_colour_stays_of_one_colour_and_is_made_lighter_or_darker_within_the_bound():
    pixels = torch.full((2000, 6, 6, 3), 100, dtype=torch.uint8)
    found = warp(pixels, 1).double()
    assert torch.equal(found.amin((1, 2, 3)), found.amax((1, 2, 3)))
    light = (found[:, 0, 0, 0] - 100) / 255
    assert 0.97 * LIGHT < light.abs().max() <= LIGHT + 0.5 / 255
    assert abs(light.mean()) < 0.05 * LIGHT
    assert abs(light.std() - LIGHT / 3**0.5) < 0.03 * LIGHT


def test_contrast_is_about_the_mean_and_within_its_bound(monkeypatch):
    monkeypatch.setattr(module, "LIGHT", 0.0)
    pictures_ = 100 + 50 * torch.rand(3000, 1, 5, 4, generator=torch.Generator().manual_seed(0)) ** 2
    found = module.lit(pictures_.clone(), 3, 1.0, np.arange(3000))
    mean = pictures_.mean((1, 2, 3), keepdim=True)
    factor = ((found - mean) / (pictures_ - mean)).flatten(1).median(1).values
    torch.testing.assert_close(found, mean + factor.view(-1, 1, 1, 1) * (pictures_ - mean), rtol=1e-3, atol=1e-2)
    assert 0.98 * CONTRAST < factor.log().abs().max() <= CONTRAST + 1e-3
    assert abs(factor.log().mean()) < 0.05 * CONTRAST


def test_bytes_stay_within_their_range():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).repeat(32).view(1, 8, 8, 1).expand(200, 8, 8, 1)
    brightest = module.lit(pixels.permute(0, 3, 1, 2).float(), 0, 5.0, np.arange(200))
    assert (brightest.min(), brightest.max()) == (0.0, 255.0)


def test_without_bending_it_is_linear_and_its_angle_zoom_and_stretch_are_within_their_bounds(monkeypatch):
    for name in ("BEND", "MOVE"):
        monkeypatch.setattr(module, name, 0.0)
    where = places(np.arange(4000), 9, 9, 0, 1.0).double().numpy()
    assert np.allclose(where, -where[:, ::-1, ::-1], atol=1e-5)
    turn = np.stack([where[:, 5, 4], where[:, 4, 5]], 2)  # images of the unit vectors, as columns
    assert np.allclose(where[:, 8, 0], 4 * (turn[:, :, 0] - turn[:, :, 1]), atol=1e-5)
    zoom = 0.5 * np.log(np.linalg.det(turn))
    angle = np.arctan2(turn[:, 1, 0], turn[:, 0, 0])
    stretch = np.log(np.linalg.norm(turn[:, :, 0], axis=1) / np.linalg.norm(turn[:, :, 1], axis=1))
    for found, most in ((zoom, ZOOM), (angle, ROTATE), (stretch, STRETCH)):
        assert np.abs(found).max() <= most + 1e-5
        assert np.abs(found).max() > 0.99 * most
        assert abs(found.mean()) < 0.03 * most
        assert abs(found.std() - most / 3**0.5) < 0.03 * most


def test_moves_are_even_in_both_directions_and_within_their_bound(monkeypatch):
    for name in ("ROTATE", "ZOOM", "STRETCH", "BEND"):
        monkeypatch.setattr(module, name, 0.0)
    moved = (places(np.arange(4000), 8, 12, 0, 1.0) - places(np.arange(1), 8, 12, 0, 0.0)).double().numpy()
    assert np.ptp(moved, axis=(1, 2)).max() < 1e-5
    by = moved[:, 0, 0] / 8
    assert 0.99 * MOVE < np.abs(by).max() <= MOVE + 1e-6
    assert np.abs(by.mean(0)).max() < 0.03 * MOVE
    assert np.abs(np.cov(by.T) - np.eye(2) * MOVE**2 / 3).max() < 0.02 * MOVE**2


def test_bending_moves_no_pixel_further_than_it_says_and_neighbours_alike(monkeypatch):
    for name in ("ROTATE", "ZOOM", "STRETCH", "MOVE"):
        monkeypatch.setattr(module, name, 0.0)
    moved = (places(np.arange(3000), 16, 16, 0, 1.0) - places(np.arange(1), 16, 16, 0, 0.0)).numpy() / 16
    assert np.abs(moved).max() <= BEND
    assert 0.2 * BEND < moved.std() < 0.35 * BEND
    assert np.abs(np.diff(moved, axis=1)).max() < BEND / 4


@pytest.mark.parametrize("size", [6, 8, 28])
def test_the_splines_are_the_cubic_ones(size):
    knots = np.arange(-3, CELLS + 4, dtype=float)
    at = (np.arange(size) + 0.5) / size * CELLS
    expected = BSpline(knots, np.eye(CELLS + 3), 3)(at)
    assert np.allclose(module._splines(size), expected)


def test_a_draw_is_a_function_of_draw_and_place_alone():
    pixels = pictures(1, 8, 8, 1).expand(20, 8, 8, 1)
    one, few = warp(pixels, 9), warp(pixels[:7], 9)
    assert torch.equal(one[:7], few)
    assert torch.equal(one, warp(pixels, 9))
    assert not torch.equal(one, warp(pixels, 10))
    assert len({picture.numpy().tobytes() for picture in one}) == 20


def test_no_pictures_stay_none():
    assert warp(pictures(0, 8, 8, 1), 1).shape == (0, 8, 8, 1)
