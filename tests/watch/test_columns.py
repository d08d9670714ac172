"""Columns: constants, copies, scales and offsets are seen in the data; pictures, norms and bits are left in peace."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.watch.columns import Columns
from looks import Looked, spoken


def said(x: Tensor, model: nn.Module | None = None) -> Any:
    return spoken(Columns(), Looked(x, torch.zeros(len(x)), model=model))


@pytest.fixture
def plain() -> Tensor:
    return torch.randn(400, 12, generator=torch.Generator().manual_seed(0))


def test_standardised_columns_have_nothing_to_be_said_of(plain: Tensor):
    assert said(plain) is None


def test_scales_are_measured_and_the_two_columns_named(plain: Tensor):
    finding = said(plain * torch.tensor([1.0] * 10 + [2e3, 1.0]))
    assert finding.evidence["kind"] == "unscaled columns"
    assert finding.evidence["large"] == 10
    assert 1500 < finding.evidence["apart"] < 3000
    assert said(plain * torch.tensor([1.0] * 10 + [300.0, 1.0])) is None


def test_an_offset_of_all_columns_or_a_great_one_of_a_single_one_is_said(plain: Tensor):
    assert said(plain + 80.0).evidence["kind"] == "offset columns"
    assert said(plain + 20.0) is None
    one = plain.clone()
    one[:, 4] += 500.0
    assert said(one).evidence["far"] == 4
    year = plain.clone()
    year[:, 4] += 60.0
    assert said(year) is None


def test_many_constant_columns_are_said_few_are_not(plain: Tensor):
    still = plain.clone()
    still[:, [1, 5]] = 0.7
    finding = said(still)
    assert finding.evidence["kind"] == "constant features"
    assert "2 of 12 columns" in finding.what
    assert "column 1" in finding.what
    still[:, 5] = plain[:, 5]
    assert said(still) is None


def test_empty_borders_are_usual_up_to_two_fifths_of_the_columns(plain: Tensor):
    wide = torch.cat([plain.abs(), torch.zeros(400, 7)], 1)
    assert said(wide) is None
    assert said(torch.cat([wide, torch.zeros(400, 10)], 1)).evidence["kind"] == "constant features"


def test_copies_are_found_in_whatever_scale(plain: Tensor):
    finding = said(torch.cat([plain, 3.0 * plain[:, 2:3] + 1.0, plain[:, 2:3], plain[:, 2:3]], 1))
    assert finding.evidence["kind"] == "repeated features"
    assert finding.evidence["copies"] == 3
    assert finding.evidence["copy"] == 12
    assert said(torch.cat([plain, plain[:, 2:3]], 1)) is None
    assert said(torch.cat([plain, -plain[:, :3]], 1)) is None


def test_columns_of_two_values_have_no_scale(plain: Tensor):
    rare = (torch.arange(400) % 200 == 0).float()[:, None] * 1e-4
    assert said(torch.cat([plain, rare], 1)) is None


def test_a_model_that_begins_with_a_norm_takes_any_scale(plain: Tensor):
    wide = plain * torch.logspace(-3, 3, 12)
    assert said(wide, nn.Sequential(nn.Linear(12, 2))) is not None
    assert said(wide, nn.Sequential(nn.BatchNorm1d(12), nn.Linear(12, 2))) is None


def test_pictures_share_one_scale_however_dark_their_borders():
    x = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x[:, :, 0] *= 1e-6
    assert said(x) is None
    assert said(x.flatten(1).round(decimals=1)) is None
    assert said(x + 100.0).evidence["kind"] == "offset columns"


def test_inputs_that_say_nothing_are_no_constant_features():
    assert said(torch.zeros(50, 6)) is None
