"""Bad pictures: one has its own line, several have the first one's and a count, and a share may be left out."""

from __future__ import annotations

import pytest

from gradlearn.data.reject import Bad, reject, settle
from gradlearn.errors import InputTrouble


def rejects(n: int):
    return [reject(f"d/{i}.jpg", Bad("file is empty (0 bytes)", "remove it")) for i in reversed(range(n))]


def test_one_has_its_own_line():
    with pytest.raises(InputTrouble) as caught:
        settle(rejects(1), 100, 0.0)
    assert str(caught.value) == "d/0.jpg: file is empty (0 bytes); remove it"


def test_several_are_counted_and_the_share_that_helps_is_named():
    with pytest.raises(InputTrouble) as caught:
        settle(rejects(37), 10000, 0.0)
    assert str(caught.value) == (
        "d/0.jpg: file is empty (0 bytes) (+36 more); 37 of 10000 images unreadable (0.37 %), replace them or pass --skip-bad 1%"
    )


def test_more_than_the_share_is_too_many():
    with pytest.raises(InputTrouble, match=r"unreadable \(0.37 %\), more than the 0.1 % that may be skipped, replace"):
        settle(rejects(37), 10000, 0.001)


def test_the_share_itself_is_allowed_and_noted():
    for n, total, share in ((1, 100, 0.01), (29, 100, 0.29), (7, 100, 0.07)):
        (row,) = settle(rejects(n), total, share)
        assert (row["level"], row["count"]) == ("warn", n)
        assert row["examples"][0] == "d/0.jpg: file is empty (0 bytes)"


def test_a_share_is_a_share():
    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputTrouble, match="--skip-bad"):
            settle(rejects(1), 10, wrong)


def test_names_cannot_write_to_the_terminal():
    assert reject("a\x1b[31m\nb.jpg", Bad("x")).where == "a\\x1b[31m\\nb.jpg"
