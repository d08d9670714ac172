"""Average precision against the definition walked through one detection and one threshold at a time, and against cases by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlearn.average_precision import STEPS, Found, average_precision


def found(*rows: tuple[float, ...]) -> Found:
    """Rows of (picture, label, score, x1, y1, x2, y2, hard)."""
    table = np.array(rows, np.float64).reshape(-1, 8)
    return Found(table[:, 3:7], table[:, 1].astype(int), table[:, 0].astype(int), table[:, 2], table[:, 7].astype(bool))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    both = sides[0] * sides[1]
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def slowly(ours: Found, truth: Found, k: int, t: float) -> float:
    """AP of one class at one threshold, as the definition reads."""
    assert truth.hard is not None
    mine = sorted((i for i in range(len(ours.labels)) if ours.labels[i] == k), key=lambda i: -ours.scores[i])
    theirs = [j for j in range(len(truth.labels)) if truth.labels[j] == k]
    wanted = sum(not truth.hard[j] for j in theirs)
    taken: set[int] = set()
    outcome = []
    for i in mine:
        near = [(overlap(ours.boxes[i], truth.boxes[j]), -j) for j in theirs if truth.picture[j] == ours.picture[i]]
        free = [(o, j) for o, j in near if not truth.hard[-j] and -j not in taken]
        if free and max(free)[0] >= t:
            taken.add(-max(free)[1])
            outcome.append(True)
        elif not any(truth.hard[-j] and o >= t for o, j in near):
            outcome.append(False)
    points = [(sum(outcome[:m]) / wanted, sum(outcome[:m]) / m) for m in range(1, len(outcome) + 1)]
    best = [max((p for r, p in points if r >= q / 100 - 1e-12), default=0.0) for q in range(101)]
    return sum(best) / 101


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(0, 14), st.integers(1, 8), st.booleans())
def test_it_is_the_definition(seed: int, n: int, m: int, hard: bool):
    rng = np.random.default_rng(seed)

    def rows(count: int, of_truth: bool) -> list[tuple[float, ...]]:
        low, size = rng.integers(0, 5, (count, 2)), rng.integers(2, 7, (count, 2))
        marked = (rng.random(count) < 0.3) & hard & of_truth
        named = zip(rng.integers(0, 2, count), rng.integers(0, 2, count), rng.random(count), low, size, marked, strict=True)
        return [(p, k, s, *a, *(a + b), h) for p, k, s, a, b, h in named]

    ours, truth = found(*rows(n, False)), found(*rows(m, True))
    ap = average_precision(ours, truth, 2).ap
    for k in range(2):
        assert truth.hard is not None
        if not ((truth.labels == k) & ~truth.hard).any():
            assert np.isnan(ap[k]).all()
            continue
        for at, t in enumerate(STEPS):
            assert ap[k, at] == pytest.approx(slowly(ours, truth, k, t), abs=1e-9)


def test_all_found_and_nothing_else_is_one():
    truth = found((0, 0, 0, 0, 0, 4, 4, 0), (0, 1, 0, 0, 0, 4, 4, 0), (1, 0, 0, 2, 2, 9, 9, 0))
    result = average_precision(truth, truth, 2)
    assert result.mean == result.mean50 == pytest.approx(1.0)


def test_a_second_detection_of_one_box_is_wrong_and_the_better_one_has_it():
    truth = found((0, 0, 0, 0, 0, 10, 10, 0))
    twice = found((0, 0, 0.9, 0, 0, 10, 6, 0), (0, 0, 0.8, 0, 0, 10, 10, 0))
    ap = average_precision(twice, truth, 1).ap[0]
    assert ap[0] == pytest.approx(1.0)  # at 0.5 the first has it, the second comes too late to matter
    assert ap[4] == pytest.approx(0.5)  # at 0.7 the first is wrong, and before the second


def test_classes_with_nothing_to_find_do_not_count_and_no_box_at_all_is_zero():
    truth = found((0, 0, 0, 0, 0, 4, 4, 0), (0, 2, 0, 0, 0, 4, 4, 1))
    result = average_precision(truth, truth, 3)
    assert result.mean50 == pytest.approx(1.0)
    assert np.isnan(result.ap[1:]).all()
    assert average_precision(truth, found(), 3).mean == 0.0
    assert average_precision(found(), truth, 3).mean == 0.0


def test_what_finds_a_hard_box_is_neither_right_nor_wrong():
    truth = found((0, 0, 0, 0, 0, 4, 4, 0), (0, 0, 0, 20, 20, 24, 24, 1))
    ours = found((0, 0, 0.9, 20, 20, 24, 24, 0), (0, 0, 0.8, 20, 20, 24, 24, 0), (0, 0, 0.7, 0, 0, 4, 4, 0))
    assert average_precision(ours, truth, 1).mean == pytest.approx(1.0)
