"""Adadelta against torch's."""

from __future__ import annotations

import torch

from descents import as_torchs
from gradlearn.update.adadelta import Adadelta


def test_a_hundred_steps_are_torchs():
    options = {"rho": 0.8, "eps": 1e-4, "weight_decay": 0.1}
    assert as_torchs(Adadelta, torch.optim.Adadelta, 1.0, options, options)
