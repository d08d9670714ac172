from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w

from gradlearn.errors import InputTrouble
from gradlearn.report.compare import compare, differences
from gradlearn.report.folder import read

Make = Callable[..., Path]


def change(place: Path, **choices: object) -> Path:
    run = read(place).settings
    for name, value in choices.items():
        run["choice"][name] = {"value": value, "by": "user", "why": ""}
    (place / "run.toml").write_bytes(tomli_w.dumps(run).encode())
    return place


def test_a_difference_larger_than_noise_is_called_so(make: Make) -> None:
    rows, lines = compare([make("healthy", "a"), make("healthy", "b", right=341)])
    assert lines[-1] == (
        "a (98.6%) and b (94.7%) differ by 3.9 points of test accuracy, more than the noise of 360 test examples "
        "(z = 2.9, p = 0.0037)."
    )
    assert [row["test"] for row in rows] == [355 / 360, 341 / 360]


def test_a_difference_within_noise_is_called_so(make: Make) -> None:
    _, lines = compare([make("healthy", "a", right=352), make("healthy", "b")])
    assert lines[-1].startswith("b (98.6%) and a (97.8%) differ by 0.8 points of test accuracy, which is within the noise")


def test_equal_scores_and_few_mistakes(make: Make) -> None:
    _, lines = compare([make("healthy", "a"), make("healthy", "b")])
    assert lines[-1] == "a (98.6%) and b (98.6%) have the same test accuracy."
    _, lines = compare([make("healthy", "c", right=360), make("healthy", "d", right=358)])
    assert "with so few mistakes the test is coarse" in lines[-1]


def test_of_many_the_best_two_are_compared_with_care(make: Make) -> None:
    _, lines = compare([make("healthy", "a", right=330), make("healthy", "b"), make("healthy", "c", right=340)])
    assert lines[-1].startswith("The best two of 3, b (98.6%) and c (94.4%), differ by")
    assert "picked from 3 runs" in lines[-1]


def test_only_settings_that_differ_are_shown(make: Make) -> None:
    a, b = change(make("healthy", "a"), lr=0.01), change(make("healthy", "b"), batch=32, extra=True)
    rows, lines = compare([a, b])
    assert [row["choices"] for row in rows] == [
        {"batch": 64, "lr": 0.01, "extra": None},
        {"batch": 32, "lr": 0.004, "extra": True},
    ]
    assert [line.split() for line in lines[4:8]] == [
        ["setting", "a", "b"], ["batch", "64", "32"], ["lr", "0.01", "0.004"], ["extra", "True"],
    ]  # fmt: skip
    assert lines[7].index("True") == lines[4].index("b")
    assert differences([{}, {"choice": 3}]) == []


def test_missing_values_are_blank(make: Make) -> None:
    rows, lines = compare([make("healthy", "a"), make("empty", "b")])
    assert lines[2] == "b"
    assert (rows[1]["test"], rows[1]["valid"], rows[1]["seconds"], rows[1]["test_interval"]) == (None, None, None, None)
    assert lines[-1] == "Fewer than two of these runs have a test score, so there is nothing to compare."
    assert json.dumps(rows)


def test_columns_line_up(make: Make) -> None:
    _, lines = compare([make("healthy", "a"), make("diverged", "a-much-longer-name")])
    ends = [line.index("98.9%") + 5 if "98.9%" in line else line.index("95.6%") + 5 for line in lines[1:3]]
    assert ends[0] == ends[1] == lines[0].index("valid") + 5


def test_other_data_or_other_scores_do_not_compare(make: Make) -> None:
    a, b = make("healthy", "a"), make("healthy", "b", right=341)
    settings = read(b).settings
    settings["data"]["fingerprint"] = "sha256:other"
    (b / "run.toml").write_bytes(tomli_w.dumps(settings).encode())
    assert "different data" in compare([a, b])[1][-1]
    other = (a / "scores.jsonl").read_text().replace('"name":"accuracy"', '"name":"f1"')
    (a / "scores.jsonl").write_text(other)
    assert "different numbers" in compare([a, b])[1][-1]


def test_one_run_alone(make: Make) -> None:
    rows, lines = compare([make("healthy", "a")])
    assert len(rows) == 1
    assert rows[0]["choices"] == {}
    assert lines[-1] == "One run alone compares with nothing."


def test_no_run_is_refused(tmp_path: Path, make: Make) -> None:
    with pytest.raises(InputTrouble):
        compare([make("healthy", "a"), tmp_path / "nowhere"])


def test_hostile_names_stay_printable(make: Make) -> None:
    _, lines = compare([make("hostile", "a"), make("healthy", "b")])
    assert all(line.isprintable() for line in lines)
