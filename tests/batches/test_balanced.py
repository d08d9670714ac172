"""Balanced batches: classes equally often, in the epoch and in each batch; within a class every example once before any twice."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from gradlearn.batches.balanced import Balanced, shared_out
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now

SIZES = (900, 80, 17, 3)  # examples of each class
LABELS = torch.repeat_interleave(torch.tensor([5, 0, 7, 2]), torch.tensor(SIZES))  # class numbers need not be 0, 1, ...
N = len(LABELS)


def order(batches: Balanced, epochs: int, size: int = 20) -> torch.Tensor:
    return torch.cat([batches(Now(t, 1, t * size, 3)) for t in range(epochs * N // size)])


def test_every_class_comes_equally_often_in_every_epoch():
    drawn = order(Balanced(N, labels=LABELS, size=20), 3)
    for epoch in range(3):
        counts = Counter(LABELS[drawn[epoch * N : (epoch + 1) * N]].tolist())
        assert set(counts.values()) == {N // 4}


def test_every_batch_is_nearly_balanced():
    drawn = order(Balanced(N, labels=LABELS, size=20), 3).view(-1, 20)
    for batch in drawn:
        counts = Counter(LABELS[batch].tolist())
        assert len(counts) == 4
        assert max(abs(c - 5) for c in counts.values()) <= 2, (
            "an evenly spread class is off by less than two at each end of a batch"
        )


def test_within_a_class_every_example_comes_once_before_any_comes_again():
    drawn = order(Balanced(N, labels=LABELS, size=20), 5)
    for label, members in zip((5, 0, 7, 2), SIZES, strict=True):
        mine = drawn[LABELS[drawn] == label].tolist()
        for a in range(0, len(mine) - members, members):
            assert len(set(mine[a : a + members])) == members


def test_the_orders_of_the_passes_over_a_class_differ():
    drawn = order(Balanced(N, labels=LABELS, size=20), 5)
    mine = drawn[LABELS[drawn] == 7].tolist()
    passes = {tuple(mine[a : a + 17]) for a in range(0, len(mine) - 17, 17)}
    assert len(passes) == len(range(0, len(mine) - 17, 17))


def test_power_zero_is_as_often_as_in_the_data_and_a_half_between():
    plain = Counter(LABELS[order(Balanced(N, labels=LABELS, size=20, power=0.0), 1)].tolist())
    assert [plain[k] for k in (5, 0, 7, 2)] == list(SIZES)
    root = Counter(LABELS[order(Balanced(N, labels=LABELS, size=20, power=0.5), 1)].tolist())
    weights = np.sqrt(SIZES) / np.sqrt(SIZES).sum()
    assert all(abs(root[k] - N * w) < 1 for k, w in zip((5, 0, 7, 2), weights, strict=True))


@pytest.mark.parametrize("n", [0, 1, 7, 100])
def test_shares_add_up_and_are_off_by_less_than_one(n: int):
    weights = np.array([0.5, 3.0, 1.1, 0.4])
    shares = shared_out(n, weights)
    assert shares.sum() == n
    assert (abs(shares - n * weights / weights.sum()) < 1).all()


@pytest.mark.parametrize(("options", "line"), [({"power": 1.5}, "power"), ({"power": -0.1}, "power"), ({"size": 0}, "size")])
def test_options_out_of_range_are_refused(options: dict[str, float], line: str):
    with pytest.raises(InputTrouble, match=f"--balanced.{line} .*: must be"):
        Balanced(N, labels=LABELS, **options)  # type: ignore[arg-type]


def test_numbers_are_no_classes():
    with pytest.raises(InputTrouble, match="needs one class number for each example"):
        Balanced(4, labels=torch.rand(4))
