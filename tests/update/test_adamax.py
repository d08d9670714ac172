"""Adamax against torch's."""

from __future__ import annotations

import torch

from descents import as_torchs
from gradlearn.update.adamax import Adamax


def test_a_hundred_steps_are_torchs():
    options = {"betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}
    assert as_torchs(Adamax, torch.optim.Adamax, 0.02, options, options)
