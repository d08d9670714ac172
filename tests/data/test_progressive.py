"""Progressive resizing: from the first side to the full one, never back, and full at the end."""

from __future__ import annotations

import pytest

from gradlearn.data.progressive import side_at


@pytest.mark.parametrize(("full", "first", "until"), [(224, 0.6, 0.8), (128, 0.5, 1.0), (100, 0.3, 0.5), (32, 0.6, 0.8)])
def test_sides_grow_from_the_first_to_the_full_one_in_steps(full, first, until):
    sides = [side_at(k / 1000, full, first, until) for k in range(1001)]
    assert sides == sorted(sides)
    assert abs(sides[0] - first * full) <= 4
    assert all(side % 8 == 0 or side == full for side in sides)
    assert all(side == full for k, side in enumerate(sides) if k / 1000 >= until)


def test_halfway_is_the_middle():
    assert side_at(0.4, 200, 0.6, 0.8) == 160


def test_a_first_share_of_one_is_no_schedule():
    assert {side_at(k / 10, 96, 1.0) for k in range(11)} == {96}
