"""Recall, precision, F1 and their means are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_recall_fscore_support

from gradlearn.insight.by_class import by_class, uneven


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("k", [2, 7])
def test_scikit_learn_says_the_same(k: int) -> None:
    draw = np.random.default_rng(k)
    truth = draw.integers(0, k, 300) ** 2 // k
    guess = np.where(draw.random(300) < 0.6, truth, draw.integers(0, k, 300))
    each = by_class(torch.from_numpy(guess), torch.from_numpy(truth), k)
    precision, recall, f1, support = precision_recall_fscore_support(truth, guess, labels=range(k), zero_division=np.nan)
    assert support is not None
    np.testing.assert_allclose(each.recall, recall)
    np.testing.assert_allclose(each.precision, precision)
    np.testing.assert_allclose(each.examples, support)
    np.testing.assert_allclose(each.f1[support > 0], np.asarray(f1)[support > 0])
    assert each.balanced == pytest.approx(balanced_accuracy_score(truth, guess))
    assert each.macro == pytest.approx(f1_score(truth, guess, average="macro"))


def test_always_the_largest_class_is_no_better_than_guessing() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10)
    assert by_class(torch.zeros(100, dtype=torch.int64), labels, 2).balanced == 0.5


def test_uneven_is_one_and_a_half_to_one() -> None:
    assert uneven(np.array([0] * 16 + [1] * 10), 2)
    assert not uneven(np.array([0] * 15 + [1] * 10), 2)
    assert uneven(np.array([0, 0]), 2)  # a class without examples
