"""The words follow the numbers, noise is not told as a fault, and what is not as it should be is left out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradlearn.report import reliability, shares
from gradlearn.report.folder import read

Make = Callable[..., Path]


def part(n: int = 360, confidence: float = 0.8, accuracy: float = 0.95, z: float = 7.0) -> dict[str, Any]:
    bins = [
        {"low": 0.5, "high": 0.6, "count": 60, "confidence": 0.55, "accuracy": 0.75},
        {"low": 0.8, "high": 0.9, "count": 300, "confidence": 0.85, "accuracy": 0.99},
    ]
    return {"n": n, "confidence": confidence, "accuracy": accuracy, "ece": 0.15, "brier": 0.2, "z": z, "bins": bins}


def made(make: Make, **value: Any) -> Any:
    place = make("healthy")
    (place / "pictures" / "calibration.json").write_text(json.dumps(value))
    return read(place)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({}, "it is under-confident, better than it says."),
        ({"confidence": 0.97, "accuracy": 0.9, "z": -5.0}, "it is over-confident, surer than it should be."),
        ({"confidence": 0.93, "accuracy": 0.95, "z": 1.2}, "the gap is within the noise of 360."),
        ({"confidence": 0.951, "accuracy": 0.949, "z": -2.5}, "its probabilities are honest."),
    ],
)
def test_the_verdict_follows_from_the_gap_and_its_noise(make: Make, numbers: dict[str, float], words: str) -> None:
    text = reliability.told(made(make, test=part(**numbers), valid=part()))
    assert f"of the time: {words}" in text
    assert "Its expected calibration error is 15.0 points" in text


def test_label_smoothing_is_named_where_it_explains_it(make: Make) -> None:
    run = made(make, test=part())
    assert "Label smoothing" not in reliability.told(run)
    run.settings["choice"]["cross_entropy.label_smoothing"] = {"value": 0.1, "by": "plan", "why": ""}
    assert "Label smoothing of 0.1 asks it never to be more than 91.0% sure, which is the likely cause" in reliability.told(run)
    hardly = made(lambda *a: make("healthy", "hardly"), test=part(confidence=0.5, accuracy=0.8))
    hardly.settings["choice"]["cross_entropy.label_smoothing"] = {"value": 0.1, "by": "plan", "why": ""}
    assert "Label smoothing" not in reliability.told(hardly)  # it is unsure for other reasons
    over = made(lambda *a: make("healthy", "over"), test=part(confidence=0.99, z=-6.0))
    over.settings["choice"]["cross_entropy.label_smoothing"] = {"value": 0.1, "by": "plan", "why": ""}
    assert "Label smoothing" not in reliability.told(over)


def test_the_temperature_is_told_with_what_it_would_do(make: Make) -> None:
    text = reliability.told(made(make, test=part(), valid=part(), temperature=0.62, tempered={"split": "test", "ece": 0.012}))
    assert text.endswith("15.0 points; at a temperature of 0.62, fitted on the validation pictures, it would be 1.2 points.")


def test_a_dot_stands_at_its_confidence_and_accuracy_and_each_bin_says_its_count(make: Make) -> None:
    html = reliability.draw(made(make, test=part(), valid=part(90)))
    assert html.count("<svg") == 2
    dots = re.findall(r'<circle class="fill0" cx="([\d.]+)" cy="([\d.]+)"', html)
    assert (float(dots[0][0]), float(dots[0][1])) == pytest.approx((shares.x(0.55), shares.y(0.75)), abs=0.06)
    assert "80% to 90% sure: 300 pictures, 85.0% sure on average, 99.0% right" in html
    assert 'aria-label="Reliability diagram of the test pictures: 80.0% sure on average, 95.0% right"' in html
    assert html.index("Test") < html.index("Validation")


@pytest.mark.parametrize(
    "value", [{}, {"test": 3}, {"test": {"n": 5}}, {"test": part() | {"ece": 7}}, {"test": part() | {"z": None}}]
)
def test_what_is_no_calibration_is_left_out(make: Make, value: dict[str, Any]) -> None:
    run = made(make, **value)
    assert (reliability.draw(run), reliability.told(run)) == ("", "")


def test_odd_bins_are_left_out(make: Make) -> None:
    odd = [{}, 3, {"low": 0.1, "high": 0.0, "count": 1, "confidence": 0.1, "accuracy": 0}, {"low": 0, "high": 9, "count": 1}]
    assert "circle" not in reliability.draw(made(make, test=part() | {"bins": odd}))
