"""Maps and filters: each beside its picture, right and wrong apart, and the reason where there are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradlearn.report import sight
from gradlearn.report.folder import read

Make = Callable[..., Path]


def made(make: Make, **files: Any) -> Any:
    place = make("healthy")
    for name, value in files.items():
        (place / "pictures" / f"{name}.json").write_text(json.dumps(value))
    return read(place)


def test_right_and_wrong_answers_stand_apart_each_beside_its_map(make: Make) -> None:
    rows = [
        {"file": "mistake-00.png", "map": "mistake-01.png", "truth": "8", "guess": "8", "p": 0.9},
        {"file": "mistake-02.png", "map": "gone.png", "truth": "<i>", "guess": "8", "p": 0.7},
    ]
    html = sight.looks(made(make, looks=rows))
    assert html.index("Right answers") < html.index("Wrong answers")
    assert html.count("<img") == 3
    assert html.count("no picture") == 1
    assert 'alt="the same in grey; what glows are the pixels that the answer 8 rests on"' in html
    assert "&lt;i&gt;" in html
    assert "<i>" not in html


def test_filters_are_shown_before_and_after_with_how_far_they_moved(make: Make) -> None:
    value = {"layer": "features.0", "shape": [32, 1, 3, 3], "shown": 32, "frozen": False, "changed": 0.34}
    run = made(make, filters=value | {"before": "mistake-00.png", "after": "mistake-01.png"})
    assert sight.filters(run).count("<img") == 2
    assert "3×3 pixels with: all 32, strongest first; dark where it is negative" in sight.told(run)
    assert "Training moved them by 34% of their length." in sight.told(run)


def test_frozen_filters_are_shown_once_and_said_to_be(make: Make) -> None:
    value = {"layer": "w", "shape": [80, 3, 5, 5], "shown": 64, "frozen": True, "changed": 0.0, "before": "a.png"}
    run = made(make, filters=value | {"after": "mistake-01.png"})
    assert sight.filters(run).count("<img") == 1
    assert "they are not trained" in sight.filters(run)
    assert "the strongest 64 of 80" in sight.told(run)
    assert "moved" not in sight.told(run)


def test_the_reason_is_said_where_there_are_none(make: Make) -> None:
    run = made(make, filters={"reason": "the model has no convolution"})
    assert "There is nothing to show: the model has no convolution." in sight.filters(run)
    assert sight.told(run) == ""


@pytest.mark.parametrize("value", [{}, [], {"after": 3, "shape": "x"}, {"after": "a.png", "shape": [1, None, 2, 3]}])
def test_odd_files_do_no_harm(make: Make, value: Any) -> None:
    run = made(make, filters=value, looks=[3, {}, {"truth": 3}])
    assert isinstance(sight.filters(run), str)
    assert isinstance(sight.told(run), str)
    assert "no picture" in sight.looks(run)
