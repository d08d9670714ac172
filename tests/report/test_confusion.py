from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlearn.report import confusion

SQUARE = st.integers(1, 6).flatmap(lambda k: st.lists(st.lists(st.integers(0, 9), min_size=k, max_size=k), min_size=k, max_size=k))


def tally(matrix: list[list[int]], names: list[str] | None = None) -> confusion.Tally:
    made = confusion.tally({"classes": names or [f"c{i}" for i in range(len(matrix))], "matrix": matrix})
    assert made is not None
    return made


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(SQUARE)
def test_recall_and_precision_against_counting_examples_one_by_one(matrix: list[list[int]]) -> None:
    counts = tally(matrix)
    pairs = [(i, j) for i, row in enumerate(matrix) for j, n in enumerate(row) for _ in range(n)]
    assert counts.total == len(pairs)
    assert counts.right == sum(i == j for i, j in pairs)
    for c in range(len(matrix)):
        of, said = [j for i, j in pairs if i == c], [i for i, j in pairs if j == c]
        assert counts.recall(c) == (of.count(c) / len(of) if of else None)
        assert counts.precision(c) == (said.count(c) / len(said) if said else None)
    assert sum(n for n, *_ in counts.pairs()) == counts.total - counts.right
    assert confusion.draw(counts)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"classes": ["a"], "matrix": [[1, 2]]},
        {"classes": ["a", "b"], "matrix": [[1, 2]]},
        {"classes": [], "matrix": []},
        {"classes": ["a"], "matrix": [[-1]]},
        {"classes": ["a"], "matrix": [["x"]]},
        {"classes": "a", "matrix": [[1]]},
    ],
)
def test_what_is_no_matrix_is_none(value: dict[str, Any]) -> None:
    assert confusion.tally(value) is None


def test_a_row_of_the_heat_map_is_a_truth_and_a_column_a_guess() -> None:
    html = confusion.heat(tally([[5, 3], [0, 7]], ["cat", "dog"]))
    assert "truth cat, guess dog: 3 of 8" in html
    cells = re.findall(r'<rect class="(?:right|wrong)" x="([\d.]+)" y="([\d.]+)".*?>(\d+)</text>', html)
    where = {n: (float(x), float(y)) for x, y, n in cells}
    assert where["3"][1] == where["5"][1]  # beside its own row's diagonal
    assert where["3"][0] == where["7"][0]


def test_with_many_classes_only_pairs_are_shown() -> None:
    k = confusion.MOST + 1
    matrix = [[9 if i == j else 0 for j in range(k)] for i in range(k)]
    matrix[4][7] = 6
    html = confusion.draw(tally(matrix))
    assert 'class="matrix"' not in html
    assert '<td class="name">c4</td><td>c7</td><td class="n">6</td>' in html
    assert "Not one mistake" in confusion.draw(tally([[9 if i == j else 0 for j in range(k)] for i in range(k)]))


def test_the_worst_class_comes_first_and_unseen_classes_last() -> None:
    html = confusion.by_class(tally([[8, 2, 0], [5, 5, 0], [0, 0, 0]], ["good", "bad", "unseen"]))
    assert html.index("bad") < html.index("good") < html.index("unseen")


def test_the_baseline_is_the_commonest_class() -> None:
    assert confusion.baseline(tally([[1, 2], [3, 4]])) == ("c1", 0.7)


def test_names_are_escaped() -> None:
    html = confusion.draw(tally([[1, 2], [3, 4]], ["<b>&\"'", "x\x1b[0m"]))
    assert "<b>" not in html
    assert "\x1b" not in html


def test_the_means_over_classes_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score, f1_score

    matrix = [[50, 3, 0], [4, 5, 1], [0, 2, 2]]
    pairs = [(i, j) for i, row in enumerate(matrix) for j, n in enumerate(row) for _ in range(n)]
    truth, guess = zip(*pairs, strict=True)
    counts = tally(matrix)
    assert counts.balanced == pytest.approx(balanced_accuracy_score(truth, guess))
    assert counts.macro == pytest.approx(f1_score(truth, guess, average="macro"))


def test_the_table_by_class_has_the_examples_of_other_parts_and_can_be_sorted() -> None:
    value = {"classes": ["a", "b"], "matrix": [[3, 1], [0, 4]], "split": "test", "counts": {"train": [900, 20], "valid": [9, 2]}}
    counts = confusion.tally(value)
    assert counts is not None
    html = confusion.by_class(counts)
    assert '<table class="sort"><thead><tr><th class="">Class</th><th class="n">Train</th><th class="n">Validation</th>' in html
    assert re.search(r'>a</td><td class="n">900</td><td class="n">9</td><td class="n">4</td><td class="n">75.0%', html)
    for odd in ({"train": [1]}, {"train": "x"}, 3, {"train": [1, -1]}):
        found = confusion.tally(value | {"counts": odd})
        assert found is not None
        assert "Train" not in confusion.by_class(found)


def test_a_thousand_classes_are_a_table_of_the_worst_with_the_rest_folded() -> None:
    import time

    k = 1000
    matrix = [[(5 if i == j else 0) + (2 if j == (i + 1) % k and i % 7 == 0 else 0) for j in range(k)] for i in range(k)]
    start = time.process_time()
    html = confusion.draw(tally(matrix))
    assert time.process_time() - start < 3.0
    assert "All 1,000 classes" in html
    assert html.count("<tr>") == 2 + confusion.PAIRS + 1 + confusion.ROWS + k
    assert len(html) < 1_000_000
