"""The diagram of two shares: its corners are where its numbers say."""

from __future__ import annotations

import re

import pytest

from gradlearn.report import shares


def test_both_axes_go_from_0_to_100_and_grow_right_and_up():
    assert shares.x(0) == shares.LEFT < shares.x(1) < shares.WIDTH
    assert shares.TOP == shares.y(1) < shares.y(0) == shares.TOP + shares.SIDE < shares.height()
    assert shares.y(0.25) - shares.y(0.75) == pytest.approx(shares.SIDE / 2)


@pytest.mark.parametrize("under", [0, 66])
def test_each_number_stands_at_its_place_and_the_names_within_the_drawing(under: int):
    text = "".join(shares.axes("upward", "across", under))
    found = re.findall(r'<text class="tick" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">(\d+)%?</text>', text)
    assert len(found) == 12
    for left, down, anchor, number in found:
        share = int(number) / 100
        if anchor == "end":
            assert float(down) - 4 == pytest.approx(shares.y(share), abs=0.06)
        else:
            assert float(left) == pytest.approx(shares.x(share), abs=0.06)
            assert float(down) > shares.y(0) + under
    assert max(float(v) for v in re.findall(r' y="([\d.]+)"', text)) < shares.height(under)
    assert "upward" in text
    assert "across" in text
