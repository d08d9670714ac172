"""The lines that say how good a detector is: the bars of a curve, the table of who is taken for whom."""

from __future__ import annotations

import pytest

from gradlearn.evaluation_boxes import MOST, curve, lines


def test_a_curve_is_a_bar_for_each_twentieth_of_recall_and_ends_where_recall_does():
    assert curve([1.0] * 101) == "█" * 21
    assert curve([1.0] * 51 + [0.3] * 25 + [0.0] * 25) == "█" * 11 + "▃" * 5
    assert curve([0.0] * 101) == ""


@pytest.mark.parametrize("classes", [2, MOST + 3])
def test_every_number_is_told_and_a_large_table_is_left_out(classes: int):
    names = [f"c{k}" for k in range(classes)]
    found = {
        "examples": 1234,
        "score": {"value": 0.5, "mAP50": 0.75},
        "classes": [{"class": n, "boxes": 7, "AP50": 0.25, "AP": 0.125, "precision": [1.0] * 101} for n in names],
        "threshold": 0.43,
        "confusion": {
            "classes": [*names, "background"],
            "matrix": [[i * 10 + j for j in range(classes + 1)] for i in range(classes + 1)],
        },
        "errors": {"missed": 3, "both": 1},
    }
    text = list(lines(found))
    assert text[0] == "mAP50 75.00%   mAP 50.00%   on 1,234 pictures"
    assert text[2].split() == ["c0", "7", "25.0%", "12.5%", "█" * 21]
    assert text[-1] == "  errors: 3 missed, 1 both"
    assert any("from a score of 0.43 on" in line for line in text)
    rows = [line.split() for line in text if line.strip().startswith("background")]
    assert rows == ([["background", "20", "21", "22"]] if classes == 2 else [])
