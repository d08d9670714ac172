"""Adagrad against torch's."""

from __future__ import annotations

import torch

from descents import as_torchs
from gradlearn.update.adagrad import Adagrad


def test_a_hundred_steps_are_torchs():
    options = {"lr_decay": 0.01, "eps": 1e-6, "weight_decay": 0.1}
    theirs = options | {"initial_accumulator_value": 0.3}
    assert as_torchs(Adagrad, torch.optim.Adagrad, 0.1, options | {"initial": 0.3}, theirs)
