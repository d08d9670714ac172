from __future__ import annotations

import math
from typing import Any

import pytest

from gradlearn.report import facts
from gradlearn.report.noise import error


def table(losses: list[float], lr: list[float] | None = None) -> dict[str, list[Any]]:
    n = len(losses)
    return {"t": list(range(n)), "loss": losses, "lr": lr or [0.1] * n, "applied": [True] * n, "seconds": [0.5] * n}


def rows(values: list[float], losses: list[float] | None = None, name: str = "accuracy", higher: bool = True) -> list[Any]:
    found = losses or [1.0] * len(values)
    return [
        {"t": 100 * (i + 1), "split": "valid", "name": name, "higher": higher, "value": v, "all": {name: v, "loss": w}}
        for i, (v, w) in enumerate(zip(values, found, strict=True))
    ]


def settings(**counts: int) -> dict[str, Any]:
    return {"data": counts, "choice": {"steps": {"value": 500}}}


def test_ends_of_the_loss_are_means_with_their_error() -> None:
    losses = [4.0, 2.0] * 10 + [1.0] * 180
    got = facts.gather({}, table(losses), [])
    assert got.start is not None
    assert (got.start.mean, got.start.n) == (3.0, 10)
    assert got.start.error == pytest.approx(math.sqrt(10 / 9) / math.sqrt(10))
    assert got.end == facts.Level(1.0, 0.0, 10)
    assert got.seconds == 100.0


def test_nothing_is_nothing() -> None:
    got = facts.gather({}, {}, [])
    assert (got.steps, got.last, got.start, got.best, got.test, got.seconds, got.planned) == (
        0,
        -1,
        None,
        None,
        None,
        None,
        None,
    )
    assert not got.still_improving
    assert got.turned is None


def test_the_best_score_is_the_first_of_equals_in_the_right_direction() -> None:
    assert facts.gather({}, {}, rows([0.5, 0.9, 0.9, 0.7])).best == (200, 0.9)
    assert facts.gather({}, {}, rows([3.0, 1.0, 1.0, 2.0], name="loss", higher=False)).best == (200, 1.0)


def test_still_improving_needs_the_last_to_be_best_by_more_than_its_noise() -> None:
    climb = rows([0.5, 0.6, 0.7, 0.8, 0.9])
    assert facts.gather(settings(valid=1000), {}, climb).still_improving
    assert not facts.gather(settings(valid=1000), {}, [*climb, climb[-1] | {"t": 600, "value": 0.85}]).still_improving
    small = rows([0.5, 0.6, 0.9, 0.9, 0.9 + 0.5 * error(0.9, 100)])
    assert not facts.gather(settings(valid=100), {}, small).still_improving
    assert facts.gather(settings(valid=100_000), {}, small).still_improving
    assert facts.gather({}, {}, rows([5.0, 4.0, 3.0, 2.0, 1.0], name="loss", higher=False)).still_improving
    assert not facts.gather(settings(valid=1000), {}, climb[-3:]).still_improving  # three looks are no trend


def test_a_turned_validation_loss_needs_a_falling_training_loss() -> None:
    scores = rows([0.5] * 5, [1.0, 0.5, 0.4, 0.5, 0.6])
    falling, rising = table([3.0, 2.0, 1.0, 0.5] * 10), table([0.5, 1.0, 2.0, 3.0] * 10)
    falling["loss"].sort(reverse=True)
    rising["loss"].sort()
    assert facts.gather({}, falling, scores).turned == (300, 0.4, 0.6)
    assert facts.gather({}, rising, scores).turned is None
    assert facts.gather({}, falling, rows([0.5] * 5, [1.0, 0.5, 0.4, 0.42, 0.43])).turned is None


def test_the_rate_has_a_peak_and_a_stretch_there() -> None:
    got = facts.gather({}, table([1.0] * 6, [0.1, 1.0, 1.0, 0.995, 0.5, 0.0]), [])
    assert (got.lr_last, got.lr_peak, got.lr_top) == (0.0, 1.0, (1, 3))


def test_steps_not_applied_and_not_finite_are_counted() -> None:
    steps = table([1.0, math.nan, math.inf, 2.0])
    steps["applied"][1] = False
    got = facts.gather(settings(), steps, [])
    assert (got.skipped, got.lost, got.steps, got.planned) == (1, 2, 4, 500)


def test_intervals_only_for_shares_of_a_known_number() -> None:
    assert facts.gather(settings(test=360), {}, rows([0.9])).interval("test", 0.9) is not None
    assert facts.gather(settings(), {}, rows([0.9])).interval("test", 0.9) is None
    assert facts.gather(settings(test=360), {}, rows([0.9], name="f1")).interval("test", 0.9) is None


def test_the_training_score_counts_only_if_taken_at_the_end() -> None:
    scores = rows([0.5, 0.6])
    early = {**scores[0], "split": "train", "t": 100, "value": 0.9}
    assert facts.gather({}, {}, [*scores, early]).train is None
    assert facts.gather({}, {}, [*scores, early | {"t": 200}]).train == 0.9
