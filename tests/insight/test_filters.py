"""The first filters: which layer, in what order, drawn with zero as middle grey."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gradlearn.insight import filters
from gradlearn.models.convnet import ConvNet
from gradlearn.models.resnet import ResNet


def test_the_first_convolution_is_found_and_what_has_none_says_so() -> None:
    found = filters.first(ConvNet((8, 8, 1), 3, 16), 1)
    assert not isinstance(found, str)
    assert (found.name, found.frozen) == ("features.0", False)
    assert filters.first(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), 1) == "the model has no convolution"
    assert "is one pixel wide" in str(filters.first(nn.Conv2d(3, 4, 1), 3))
    assert "looks at 4 channels" in str(filters.first(nn.Conv2d(4, 4, 3), 3))
    assert "looks at 1 channels" in str(filters.first(nn.Conv2d(1, 4, 3), 3))


def test_fixed_filters_that_are_a_buffer_are_found_and_scales_are_not() -> None:
    model = ResNet((12, 12, 3), 4, 8)
    found = filters.first(model, 3)
    assert not isinstance(found, str)
    assert (found.name, found.frozen) == ("filters", True)
    assert found.weight is model.filters


def test_the_sheet_shows_the_strongest_first_about_a_middle_grey() -> None:
    weight = torch.zeros(9, 1, 2, 2)
    weight[4] = torch.tensor([[[2.0, -2.0], [0.0, 1.0]]])
    weight[7] = -3.0
    order = filters.order(weight)
    assert order[:2] == [7, 4]
    sheet = filters.sheet(weight, order)
    assert sheet.shape == (5, 23, 4)  # two rows of eight
    assert sheet[0:2, 3:5, 0].tolist() == [[255, 1], [128, 192]]
    assert (sheet[0:2, 0:2, :3] == 1).all()
    assert (sheet[2, :, 3] == 0).all()  # the gap is clear
    assert (sheet[0, 6:8, :3] == 128).all()  # a filter of zeros


def test_colour_filters_are_in_colour() -> None:
    weight = torch.zeros(2, 3, 3, 3)
    weight[0, 0] = 1.0
    sheet = filters.sheet(weight, [0, 1])
    assert sheet[0, 0].tolist() == [255, 128, 128, 255]
    assert np.unique(sheet[:, 4:, :3]).tolist() == [128]


def test_how_far_they_moved_is_relative() -> None:
    before = torch.randn(4, 1, 3, 3)
    assert filters.changed(before, 1.5 * before) == pytest.approx(0.5)
    assert filters.changed(0 * before, before) is None
