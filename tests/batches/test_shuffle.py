"""Shuffle: several steps at once are the single ones behind each other."""

from __future__ import annotations

import pytest
import torch

from gradlearn.batches.shuffle import Shuffle
from gradlearn.symbols import Now


@pytest.mark.parametrize(("n", "size"), [(10, 3), (10, 10), (7, 5), (100, 8), (4, 9)])
@pytest.mark.parametrize("first", [0, 1, 5])
@pytest.mark.parametrize("count", [1, 2, 9, 31])
def test_several_batches_are_the_single_ones_behind_each_other(n: int, size: int, first: int, count: int):
    chooser = Shuffle(n, size=size)
    own = min(size, n)
    times = [Now(first + k, 1000, (first + k) * own, 3) for k in range(count)]
    assert torch.equal(Shuffle(n, size=size).several(times), torch.cat([chooser(now) for now in times]))
