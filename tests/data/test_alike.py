"""Near copies: found where brute force finds them, whatever was done to them; what only looks alike is left alone."""

from __future__ import annotations

import io
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from gradlearn.data import alike
from gradlearn.data.stored import sink


def scenes(n: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Smooth pictures, no two alike: (n, h, w, c) uint8."""
    h, w, c = shape
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (n, 7, 7, c), dtype=np.uint8)
    images = [Image.fromarray(p[:, :, 0] if c == 1 else p).resize((w, h), Image.Resampling.BICUBIC) for p in coarse]
    return np.stack([np.asarray(image).reshape(h, w, c) for image in images])


def found(pixels: np.ndarray, group: np.ndarray | None = None) -> list[tuple[int, int]]:
    small = alike.shrunk(pixels, alike.SIDE, grey=True)
    rows = alike.pairs(pixels, small, np.arange(len(pixels)), np.arange(len(pixels)) if group is None else group)
    return [(int(i), int(j)) for i, j in rows]


def saved(picture: np.ndarray, quality: int = 60) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


CHANGES = {
    "saved again": saved,
    "brighter": lambda p: np.clip(p.astype(int) + 15, 0, 255).astype(np.uint8),
    "fainter": lambda p: (128 + 0.8 * (p.astype(float) - 128)).astype(np.uint8),
    "noisy": lambda p: np.clip(p + np.random.default_rng(5).normal(0, 5, p.shape), 0, 255).astype(np.uint8),
    "made smaller and large again": lambda p: np.asarray(Image.fromarray(p).resize((20, 24)).resize((40, 48))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_that_was_changed_a_little_is_found_and_nothing_else(change: str) -> None:
    pixels = scenes(90, (48, 40, 3))
    for i in range(10):
        pixels[40 + i] = CHANGES[change](pixels[i])
    assert found(pixels) == [(i, 40 + i) for i in range(10)]


def test_the_pairs_are_nearly_all_of_comparing_each_with_each() -> None:
    pixels = scenes(400, (16, 16, 1))
    noise = np.random.default_rng(1).normal(0, 1, (100, 16, 16, 1)) * np.linspace(2, 30, 100)[:, None, None, None]
    pixels[300:] = np.clip(pixels[:100] + noise, 0, 255).astype(np.uint8)
    flat = pixels.reshape(400, -1).astype(float)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    coarse = alike.shrunk(pixels, 8, grey=True)
    most = min(alike.MOST, max(alike.LEAST, alike.NEARER * alike.usual(coarse, np.arange(400))))
    coarse -= coarse.mean(axis=1, keepdims=True)
    coarse /= np.linalg.norm(coarse, axis=1, keepdims=True)
    near = (2 - 2 * flat @ flat.T <= most) & (2 - 2 * coarse @ coarse.T <= most)
    expected = {(int(i), int(j)) for i, j in np.argwhere(np.triu(near, 1))}
    assert 20 < len(expected) < 90
    assert set(found(pixels)) <= expected
    assert len(found(pixels)) >= 0.95 * len(expected)  # bands are drawn at random: one at the limit may agree in none


def test_what_is_found_does_not_depend_on_how_many_are_looked_at_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = scenes(90, (48, 40, 3))
    pixels[40:50] = CHANGES["noisy"](pixels[:10])
    monkeypatch.setattr(alike, "BLOCK", 7)
    assert found(pixels) == [(i, 40 + i) for i in range(10)]


def test_little_is_held_beside_the_shrunk_pictures() -> None:
    n = 40_000
    pixels = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)
    small, hashes = alike.shrunk(pixels, 8, grey=True).astype(np.float16), np.arange(n, dtype=np.uint64)
    tracemalloc.start()
    alike.pairs(pixels, small, hashes, np.arange(n) % 2)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 80 * n + 2e7  # bytes; all rows at once as float32, three times, are 768 each


def test_shrinking_is_the_mean_over_areas() -> None:
    pixels = scenes(3, (24, 16, 3))
    blocks = pixels.reshape(3, 8, 3, 8, 2, 3).mean((2, 4))
    np.testing.assert_allclose(alike.shrunk(pixels, 8, grey=False), blocks.reshape(3, -1), atol=1e-3)
    np.testing.assert_allclose(alike.shrunk(pixels, 8, grey=True), blocks.mean(3).reshape(3, -1), atol=1e-3)
    odd = scenes(2, (13, 5, 1))
    assert alike.shrunk(odd, 8, grey=True).shape == (2, 40)
    np.testing.assert_allclose(alike.shrunk(odd, 8, grey=True).mean(1), odd.mean((1, 2, 3)), atol=1e-2)


def test_only_pairs_of_different_groups_and_no_equal_ones_are_given() -> None:
    pixels = scenes(60, (16, 16, 1))
    for i in (1, 2):
        pixels[i] = pixels[0]
        pixels[i, i, i, 0] ^= 2
    group = np.zeros(60, int)
    assert found(pixels, group) == []
    group[2] = 1
    assert found(pixels, group) == [(0, 2), (1, 2)]
    small = alike.shrunk(pixels, 8, grey=True)
    hashes = np.arange(60)
    hashes[2] = hashes[1]
    assert alike.pairs(pixels, small, hashes, group).tolist() == [[0, 2]]


def test_blank_pictures_and_too_few_are_no_pairs() -> None:
    blank = np.full((50, 9, 9, 1), 200, np.uint8)
    blank[25:] = 201
    assert found(blank) == []
    assert found(scenes(1, (9, 9, 1))) == []


def test_pictures_in_a_file_give_the_same_pairs(tmp_path) -> None:
    pixels = scenes(90, (20, 20, 3))
    pixels[50] = saved(pixels[3], 90)
    target = sink(90, (20, 20, 3), 0, tmp_path / "pixels")
    target.put(pixels)
    small, index = alike.shrunk(pixels, 8, grey=True), np.arange(90)
    assert (
        alike.pairs(target.close(), small, index, index).tolist() == alike.pairs(pixels, small, index, index).tolist() == [[3, 50]]
    )


def test_pictures_that_are_all_alike_are_not_called_copies() -> None:
    one = scenes(1, (16, 16, 1))[0].astype(float)
    pixels = np.clip(one + np.random.default_rng(0).normal(0, 12, (200, 16, 16, 1)), 0, 255).astype(np.uint8)
    assert found(pixels) == []


def test_twenty_thousand_colour_pictures_take_a_second_or_two() -> None:
    pixels = np.repeat(scenes(2000, (32, 32, 3)), 10, axis=0)
    pixels[:, ::3, ::5] += np.random.default_rng(0).integers(0, 60, (20_000, 1, 1, 3), dtype=np.uint8)
    start = time.process_time()
    small = np.concatenate([alike.shrunk(pixels[a : a + 300], 8, grey=True) for a in range(0, 20_000, 300)])
    alike.pairs(pixels, small, np.arange(20_000), np.arange(20_000) % 3)
    assert time.process_time() - start < 3.0
