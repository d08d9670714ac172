"""Odd sizes are named, worst first; sets of one size, and of ordinary spread, have none."""

from __future__ import annotations

import numpy as np

from gradlearn.data.sizes import far


def test_far_sizes_and_shapes_are_named_worst_first() -> None:
    sizes = np.array([[100, 120, 3]] * 20 + [[20, 24, 3], [600, 600, 1], [50, 200, 3], [8, 8, 3]])
    names = [f"{i}.png" for i in range(24)]
    size, shape = far(sizes, names)
    assert size["what"] == "3 of 24 pictures have a size far from that of the others"
    assert size["examples"] == ["23.png (8x8)", "21.png (600x600)", "20.png (24x20)"]
    assert size["at"] == [[23], [21], [20]]
    assert (size["level"], size["count"]) == ("info", 3)
    assert shape["examples"] == ["22.png (200x50)"]


def test_one_size_and_an_ordinary_spread_are_not_told() -> None:
    draw = np.random.default_rng(0)
    spread = np.stack([draw.integers(80, 160, 200), draw.integers(80, 160, 200), np.full(200, 3)], axis=1)
    for sizes in (spread, np.array([[8, 8, 1]] * 50), spread[:0], spread[:2]):
        assert far(sizes, [""] * len(sizes)) == []
