"""What a report says of a detector: numbers against those it is made from, forgiving where a file is not what it should be."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradlearn.report import confusion, detection, shares
from gradlearn.report.folder import read as read_run

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
Make = Callable[..., Path]
CURVE = [1.0] * 41 + [0.5] * 20 + [0.0] * 40
WHOLE = {
    "split": "test",
    "pictures": 12,
    "threshold": 0.43,
    "errors": {"missed": 3, "wrong class": 1, "badly placed": 5, "both": 0, "duplicate": 0, "background": 2},
    "classes": [
        {"class": "cat", "train": 40, "boxes": 10, "AP": 0.5, "AP50": 0.9, "precision": [1.0] * 101},
        {"class": "<dog>", "train": 30, "boxes": 8, "AP": 0.2, "AP50": 0.4, "precision": CURVE},
        {"class": "none", "train": 2, "boxes": 0, "AP": None, "AP50": None, "precision": [None] * 101},
    ],
}
MATRIX = {
    "classes": ["cat", "<dog>", "none", "background"],
    "matrix": [[7, 1, 0, 2], [0, 5, 0, 3], [0, 0, 0, 0], [1, 4, 0, 0]],
    "split": "test",
    "background": True,
}
BOXES = [
    {"is": "right", "class": "cat", "score": 0.9, "box": [1, 2, 6, 7]},
    {"is": "missed", "class": "<dog>", "box": [0, 0, 3, 3]},
    {"is": "extra", "class": "cat", "score": 0.5, "box": [4, 4, 8, 8]},
]


def known() -> detection.Detection:
    found = detection.read(WHOLE)
    assert found is not None
    return found


def test_classes_stand_worst_first_with_their_numbers():
    rows = re.findall(r'<td class="name">(.*?)</td>(.*?)</tr>', detection.table(known()))
    assert [name for name, _ in rows] == ["&lt;dog&gt;", "cat", "none"]
    assert re.findall(r'<td class="n">([\d.%–—-]+)', rows[0][1]) == ["30", "8", "40.0%", "20.0%"]


def test_a_curve_goes_through_its_points_and_falls_where_recall_ends():
    html = detection.curves(known())
    paths = re.findall(r'<path class="line ink\d" d="M(.*?)"/>', html)
    assert len(paths) == 2
    points = paths[0].split("V")
    ends = [tuple(map(float, point.split())) for point in points[0].split("L")]
    assert len(ends) == 61
    for recall, (x, y) in zip((0.0, 0.6), (ends[0], ends[-1]), strict=True):
        assert (x, y) == pytest.approx((shares.x(recall), shares.y(1.0 if recall == 0 else 0.5)), abs=0.06)
    assert float(points[1]) == pytest.approx(shares.y(0.0), abs=0.06)
    assert "V" not in paths[1]
    assert "recall up to 60%" in html


def test_of_many_classes_the_worst_are_drawn():
    rows = [{"class": f"c{k}", "train": 1, "boxes": 1, "AP": 0.1, "AP50": k / 10, "precision": CURVE} for k in range(9)]
    found = detection.read(WHOLE | {"classes": rows})
    assert found is not None
    html = detection.curves(found)
    assert html.count('class="line ink') == detection.CURVES
    assert "the 5 found worst" in html
    assert "c4" in html
    assert "c5" not in html


def test_errors_stand_most_frequent_first_and_none_is_said():
    kinds = re.findall(r'<td class="name keep">(.*?)</td><td class="n">(\d+)', detection.errors(known()))
    assert kinds[:4] == [("badly placed", "5"), ("missed", "3"), ("background", "2"), ("wrong class", "1")]
    none = detection.read(WHOLE | {"errors": {}})
    assert none is not None
    assert "Not one error" in detection.errors(none)


def test_what_is_found_is_told_in_shares_of_true_and_of_found_boxes():
    text = detection.told(known(), confusion.tally(MATRIX))
    assert "from a score of 0.43 on" in text
    assert "it finds 12 of 18 boxes (66.7%), and 66.7% of what it finds is right" in text
    assert "5 badly placed, 3 missed, 2 background and 1 wrong class" in text
    assert "The weakest class is “<dog>”: AP50 40.0%, 30 boxes in train" in text
    assert detection.told(known(), confusion.tally(MATRIX | {"background": False})) == ""
    assert detection.told(None, confusion.tally(MATRIX)) == ""


def test_background_is_no_class_of_the_table_but_what_is_missed_is_said():
    counts = confusion.tally(MATRIX)
    assert counts is not None
    assert counts.background
    html = confusion.draw(counts)
    names = re.findall(r'<td class="name">(.*?)</td>', html)
    assert names == ["&lt;dog&gt;", "cat", "none"]
    assert 'nothing <span class="lede">(3 missed)</span>' in html
    assert html.count('<rect class="cell"') == 16


def picture_run(make: Make, rows: list[dict[str, Any]]) -> Path:
    folder = make("healthy")
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / "boxes-00.png").write_bytes(PNG)
    (folder / "pictures" / "drawn.json").write_text(json.dumps(rows))
    (folder / "pictures" / "detection.json").write_text(json.dumps(WHOLE))
    return folder


def test_each_box_is_drawn_where_it_is_as_what_it_is(make: Make):
    row = {"file": "boxes-00.png", "source": "a<b.jpg", "width": 8, "height": 8, "errors": 2, "boxes": BOXES}
    run = read_run(picture_run(make, [row, row | {"errors": 0, "boxes": BOXES[:1]}]))
    html = detection.gallery(run)
    assert html.index("Where most is wrong") < html.index("Where everything is right")
    assert '<rect class="was-missed" x="0" y="0" width="3" height="3"><title>&lt;dog&gt;: missed</title>' in html
    assert '<rect class="was-right" x="1" y="2" width="5" height="5"><title>cat: found, score 0.90</title>' in html
    assert '<span class="truth">1 missed</span> (&lt;dog&gt;), <span class="guess">1 too many</span> (cat), 1 right' in html
    assert "a<b" not in html
    assert detection.hardest(run.drawn) == "Most is wrong in `a<b.jpg` (2 errors)."


def test_what_is_not_as_it_should_be_is_left_out(make: Make):
    bad: list[dict[str, Any]] = [
        {"file": "../boxes-00.png", "width": 8, "height": 8, "errors": 1, "boxes": [{"is": "right", "box": [1, 2]}, 3]},
        {"file": "boxes-00.png", "width": None, "height": 8, "errors": 1, "boxes": "x"},
        {"file": "boxes-00.png", "width": 8, "height": 8, "errors": 1, "boxes": [{"is": "evil", "box": [1, 2, 3, 4]}]},
    ]
    html = detection.gallery(read_run(picture_run(make, bad)))
    assert html.count("no picture") == 2
    assert "<rect" not in html
    for broken in ({}, WHOLE | {"errors": 3}, WHOLE | {"classes": {}}, WHOLE | {"threshold": None}):
        assert detection.read(broken) is None
    odd = detection.read(WHOLE | {"classes": [{"class": 3, "precision": [2.0] * 101}, 7], "split": "x"})
    assert odd is not None
    assert odd.split == ""
    assert odd.rows[0].precision == (1.0,) * 101
