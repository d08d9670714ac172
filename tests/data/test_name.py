"""Names: counted as people count, and made only when asked for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gradlearn.data.name import Chain, Rows, natural


def test_order_is_that_of_people():
    names = ["10", "9", "b2", "B10", "a", "img12.png", "img2.png", "img02.png"]
    assert sorted(names, key=natural) == ["9", "10", "a", "b2", "B10", "img02.png", "img2.png", "img12.png"]


@given(st.lists(st.text(max_size=8), unique=True))
def test_order_is_total_and_does_not_depend_on_where_one_starts(names):
    backwards = names[::-1]
    assert sorted(names, key=natural) == sorted(backwards, key=natural)


def test_five_thousand_digits_are_no_trouble():
    assert sorted(["9" * 5000, "1" + "0" * 5000], key=natural)[0][0] == "9"


def test_rows_and_chains_are_sequences():
    names = Chain([Rows("a.parquet", 2), ["x", "y", "z"]])
    assert list(names) == ["a.parquet[0]", "a.parquet[1]", "x", "y", "z"]
    assert names[-1] == "z"
    assert names[1:4] == ["a.parquet[1]", "x", "y"]
    kept = Chain([Rows("a", 2), ["x", "y"]], np.array([1, 3]))
    assert (list(kept), len(kept)) == (["a[1]", "y"], 2)
