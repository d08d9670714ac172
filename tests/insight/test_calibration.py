"""Calibration against definitions worked out one by one; the temperature that made the data is the one that is found."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import brier_score_loss

from gradlearn.insight.calibration import calibration, temperature, tempered


def drawn(n: int, k: int, t: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (n, k) whose labels follow them at temperature t."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2.0 * torch.randn(n, k, generator=generator, dtype=torch.float64)
    labels = torch.multinomial((logits / t).softmax(1), 1, generator=generator)[:, 0]
    return logits.log_softmax(1), labels


def test_bins_and_errors_are_those_of_counting_one_by_one() -> None:
    logp, labels = drawn(500, 4, 1.5)
    found = calibration(logp, labels)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(logp.exp().tolist(), labels.tolist(), strict=True):
        top = max(row)
        bins.setdefault(min(int(top * 10), 9), []).append((top, row.index(top) == label))
    assert [b["count"] for b in found["bins"]] == [len(bins[k]) for k in sorted(bins)]
    gaps = [abs(sum(p for p, _ in rows) - sum(right for _, right in rows)) for rows in bins.values()]
    assert found["ece"] == pytest.approx(sum(gaps) / 500)
    assert found["accuracy"] == pytest.approx(sum(right for rows in bins.values() for _, right in rows) / 500)
    assert found["confidence"] == pytest.approx(sum(p for rows in bins.values() for p, _ in rows) / 500)


def test_brier_score_of_two_classes_is_twice_that_of_scikit_learn() -> None:
    logp, labels = drawn(300, 2, 0.7)
    assert calibration(logp, labels)["brier"] == pytest.approx(2 * brier_score_loss(labels, logp[:, 1].exp()))


def test_z_is_small_where_labels_follow_the_probabilities_and_has_the_sign_of_the_gap() -> None:
    assert abs(calibration(*drawn(4000, 5, 1.0))["z"]) < 3
    assert calibration(*drawn(4000, 5, 2.0))["z"] < -10  # too sure
    assert calibration(*drawn(4000, 5, 0.5))["z"] > 10


@pytest.mark.parametrize("t", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found_and_is_the_least_loss(t: float) -> None:
    logp, labels = drawn(20_000, 6, t)
    found = temperature(logp, labels)
    assert found == pytest.approx(t, rel=0.05)

    def loss(at: float) -> float:
        return -tempered(logp, at).gather(1, labels[:, None]).mean().item()

    assert loss(found) < min(loss(1.01 * found), loss(found / 1.01))
    assert calibration(tempered(logp, found), labels)["ece"] < 0.02


def test_no_temperature_is_best_where_all_is_right_or_all_is_wrong() -> None:
    logp = torch.tensor([[0.9, 0.1]]).log().repeat(20, 1)
    assert temperature(logp, torch.zeros(20, dtype=torch.int64)) is None
    assert temperature(logp, torch.ones(20, dtype=torch.int64)) is None


def test_certain_answers_have_numbers_too() -> None:
    logp = torch.tensor([[0.0, -math.inf], [0.0, -math.inf]])
    found = calibration(logp, torch.tensor([0, 1]))
    assert (found["ece"], found["brier"], found["z"]) == (0.5, 1.0, 0.0)
    assert all(math.isfinite(v) for v in found["bins"][0].values())
    assert found["bins"][0]["low"] == 0.9
