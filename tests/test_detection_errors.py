"""Errors of found boxes, by kind and by class: each kind alone, and what must add up whatever was found."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlearn.detection_errors import KINDS, Found, confuse, explain, iou, matched

TRUE = [(10, 10, 30, 30), (50, 50, 90, 90)]


class Truth(SimpleNamespace):
    def of(self, i: int):
        return self.boxes, self.labels, self.hard


def truth(boxes=TRUE, labels=(0, 1), hard=None) -> Truth:
    hard = np.zeros(len(boxes), bool) if hard is None else np.array(hard, bool)
    return Truth(boxes=np.array(boxes, np.float32).reshape(-1, 4), labels=np.array(labels, np.int32), hard=hard)


def found(*rows) -> Found:
    boxes = np.array([r[0] for r in rows], np.float32).reshape(-1, 4)
    scores = np.array([r[2] for r in rows], np.float32)
    return Found(boxes, np.array([r[1] for r in rows], np.int64), scores, np.array([0, len(rows)]))


def errors(true: Truth, some: Found, threshold: float = 0.0) -> tuple[dict[str, int], np.ndarray]:
    counts, confusion = dict.fromkeys(KINDS, 0), np.zeros((3, 3), np.int64)
    one = matched(true, some, 0, 0, threshold)
    explain(counts, one)
    confuse(confusion, one)
    return {kind: n for kind, n in counts.items() if n}, confusion


A, B = ((10, 10, 30, 30), 0, 0.9), ((50, 50, 90, 90), 1, 0.8)


@pytest.mark.parametrize(
    ("rows", "expected", "confused"),
    [
        ([A, B], {}, [[1, 0, 0], [0, 1, 0], [0, 0, 0]]),
        ([A], {"missed": 1}, [[1, 0, 0], [0, 0, 1], [0, 0, 0]]),
        ([A, B, ((11, 11, 30, 30), 0, 0.5)], {"duplicate": 1}, [[1, 0, 0], [0, 1, 0], [1, 0, 0]]),
        ([A, ((50, 50, 90, 90), 0, 0.5)], {"wrong class": 1}, [[1, 0, 0], [1, 0, 0], [0, 0, 0]]),
        ([A, ((70, 50, 110, 90), 1, 0.5)], {"badly placed": 1}, [[1, 0, 0], [0, 0, 1], [0, 1, 0]]),
        ([A, ((70, 50, 110, 90), 0, 0.5)], {"both": 1, "missed": 1}, [[1, 0, 0], [0, 0, 1], [1, 0, 0]]),
        ([A, B, ((200, 200, 210, 210), 0, 0.5)], {"background": 1}, [[1, 0, 0], [0, 1, 0], [1, 0, 0]]),
        ([], {"missed": 2}, [[0, 0, 1], [0, 0, 1], [0, 0, 0]]),
        ([A, B, ((200, 200, 210, 210), 0, 0.1)], {}, [[1, 0, 0], [0, 1, 0], [0, 0, 0]]),
    ],
)
def test_each_kind_alone(rows, expected, confused):
    kinds, confusion = errors(truth(), found(*rows), 0.2)
    assert kinds == expected
    assert confusion.tolist() == confused


def test_the_surest_is_right_and_the_nearest_is_it():
    near, far = ((10, 10, 30, 30), 0, 0.5), ((12, 10, 32, 30), 0, 0.9)
    one = matched(truth(), found(near, far), 0, 0)
    assert one.right.tolist() == [0, -1]  # the surest first
    assert one.owners.tolist() == [-1, 0]


def test_what_lies_in_a_hard_box_of_its_class_is_passed_over():
    true = truth([*TRUE, (100, 0, 200, 100)], (0, 1, 0), [False, False, True])
    inside, foreign = ((120, 20, 140, 40), 0, 0.9), ((120, 20, 140, 40), 1, 0.9)
    assert errors(true, found(A, B, inside, inside))[0] == {}
    assert errors(true, found(A, B, foreign))[0] == {"background": 1}
    assert errors(true, found(A, B, ((170, 0, 300, 100), 0, 0.9)))[0] == {"background": 1}
    assert errors(true, found(A, B))[1].sum() == 2


def areas(a, b) -> float:
    """Intersection over union by counting squares."""
    grid = np.zeros((2, 12, 12), bool)
    for layer, (x1, y1, x2, y2) in zip(grid, (a, b), strict=True):
        layer[y1:y2, x1:x2] = True
    return (grid[0] & grid[1]).sum() / (grid[0] | grid[1]).sum()


whole = st.tuples(*(st.integers(0, 5) for _ in range(2)), *(st.integers(6, 12) for _ in range(2)))


@given(st.lists(whole, min_size=1, max_size=4), st.lists(whole, min_size=1, max_size=4))
def test_iou_is_that_of_counted_squares(a, b):
    expected = [[areas(p, q) for q in b] for p in a]
    np.testing.assert_allclose(iou(np.array(a, float), np.array(b, float)), expected, atol=1e-12)


rows = st.lists(st.tuples(whole, st.integers(0, 1), st.floats(0, 1, width=32)), max_size=6)


@given(st.lists(st.tuples(whole, st.integers(0, 1), st.booleans()), max_size=5), rows, st.floats(0, 1))
def test_everything_is_counted_once(boxes, some, threshold):
    true = truth([b for b, _, _ in boxes], [c for _, c, _ in boxes], [h for _, _, h in boxes])
    kinds, confusion = errors(true, found(*some), threshold)
    one = matched(true, found(*some), 0, 0, threshold)
    right, spared = int((one.right >= 0).sum()), int(one.spared.sum())
    assert sum(kinds.values()) - kinds.get("missed", 0) == len(one.right) - right - spared
    assert confusion[:2].sum() == (~true.hard).sum()
    used = one.right[one.right >= 0].tolist()
    assert len(set(used)) == len(used)
