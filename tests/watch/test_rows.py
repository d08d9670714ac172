"""Rows: what is damaged, far out, leaked or contradicts itself is found and named; twins by chance are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gradlearn.watch.rows import Rows, hashed, together
from looks import Looked, blobs, draws, spoken


@pytest.fixture
def good() -> tuple[Tensor, Tensor]:
    return blobs(600)


def test_good_examples_have_nothing_to_be_said_of(good: tuple[Tensor, Tensor]):
    assert spoken(Rows(), Looked(*good, valid=blobs(200, seed=1))) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_examples_that_are_not_finite_are_named(good: tuple[Tensor, Tensor], value: float):
    x, y = good
    x[[17, 400], 3] = value
    finding = spoken(Rows(), Looked(x, y))
    assert finding is not None
    assert finding.evidence == {"kind": "bad example", "examples": [17, 400], "looked": 600}
    assert "example 17, 400" in finding.what


def test_a_target_that_is_not_finite_counts_too(good: tuple[Tensor, Tensor]):
    target = torch.randn(600, 1, generator=draws())
    target[5] = float("nan")
    finding = spoken(Rows(), Looked(good[0], target, loss="mse"))
    assert finding is not None
    assert finding.evidence["examples"] == [5]


def test_examples_far_out_are_named_the_farthest_first(good: tuple[Tensor, Tensor]):
    x, y = good
    x[[9, 30]] *= torch.tensor([[1e3], [1e5]])
    finding = spoken(Rows(), Looked(x, y))
    assert finding is not None
    assert finding.evidence["kind"] == "outlier"
    assert finding.evidence["examples"] == [30, 9]
    x[[9, 30]] *= torch.tensor([[1e-2], [1e-4]])
    assert spoken(Rows(), Looked(x, y)) is None


def test_a_leak_is_measured_from_one_percent_on(good: tuple[Tensor, Tensor]):
    vx, vy = blobs(300, seed=1)
    vx[:15] = good[0][100:115]
    finding = spoken(Rows(), Looked(*good, valid=(vx, vy)))
    assert finding is not None
    assert finding.evidence["kind"] == "same example in train and valid"
    assert finding.evidence["examples"] == [100, 101, 102, 103, 104]
    assert "5.0%" in finding.what
    vx[3:15] += 1e-3
    assert spoken(Rows(), Looked(*good, valid=(vx, vy))) is None


def test_twins_by_chance_in_data_of_few_bits_are_no_leak():
    bits = torch.randint(0, 2, (1000, 12), generator=draws()).float()
    again = torch.randint(0, 2, (300, 12), generator=draws(1)).float()
    y = torch.randint(0, 2, (1000,), generator=draws(2))
    held = torch.from_numpy(np.isin(hashed(again), hashed(bits)))
    assert held.float().mean() > 0.1, "there are twins"
    assert spoken(Rows(), Looked(bits, y, valid=(again, y[:300]))) is None


def test_one_input_under_several_labels_is_said_where_inputs_are_rich(good: tuple[Tensor, Tensor]):
    x, y = good
    x[300:340], y[300:340] = x[:40], (y[:40] + 1) % 3
    finding = spoken(Rows(), Looked(x, y))
    assert finding is not None
    assert finding.evidence["kind"] == "same example with several labels"
    assert finding.evidence["examples"] == [0, 1, 2, 3, 4]
    y[300:340] = y[:40]
    assert spoken(Rows(), Looked(x, y)) is None


def test_hashes_are_equal_for_equal_rows_alone():
    x = torch.randint(0, 2, (500, 60), generator=draws()).float()
    x[400:] = x[:100]
    one, two = together(x[:400], x[400:])
    assert np.array_equal(np.isin(two, one), np.ones(100, bool))
    assert len(np.unique(hashed(x))) == len(torch.unique(x, dim=0))
    assert len(np.unique(one)) == 400
    words = torch.randint(0, 5, (50, 3), generator=draws(1))
    assert len(np.unique(hashed((words, words.float())))) == len(torch.unique(words, dim=0))
    odd = torch.randint(0, 255, (50, 5), generator=draws(1)).to(torch.uint8)
    assert len(np.unique(hashed(odd))) == 50


def test_data_that_cost_to_read_are_left_alone(good: tuple[Tensor, Tensor]):
    class Slow:
        def __len__(self) -> int:
            return 600

        def __call__(self, index: Tensor, draw: int) -> None:
            raise AssertionError("read")

    objective = Looked(*good)
    objective.data = Slow()  # type: ignore[assignment]
    assert spoken(Rows(), objective) is None
