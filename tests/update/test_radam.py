"""RAdam against torch's."""

from __future__ import annotations

import pytest
import torch

from descents import as_torchs
from gradlearn.update.radam import RAdam


@pytest.mark.parametrize("b2", [0.9, 0.99, 0.999])  # how long it stays without a scale
def test_a_hundred_steps_are_torchs(b2: float):
    options = {"betas": (0.8, b2), "eps": 1e-6, "weight_decay": 0.1}
    assert as_torchs(RAdam, torch.optim.RAdam, 0.02, options, options | {"decoupled_weight_decay": True})
