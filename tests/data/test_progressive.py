from __future__ import annotations

import pytest

from gradlearn.data.progressive import small


@pytest.mark.parametrize(
    ("size", "expected"),
    [((32, 32), (24, 24)), ((28, 28), (20, 20)), ((224, 160), (168, 120)), ((100, 64), (76, 48)), ((4, 5), (4, 4))],
)
def test_small_pictures_have_three_quarters_of_the_side(size: tuple[int, int], expected: tuple[int, int]):
    assert small(size) == expected
