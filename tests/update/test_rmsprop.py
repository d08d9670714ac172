"""RMSprop against torch's, with and without momentum and centre."""

from __future__ import annotations

import pytest
import torch

from descents import as_torchs
from gradlearn.update.rmsprop import RMSprop


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("centred", [False, True])
def test_a_hundred_steps_are_torchs(momentum: float, centred: bool):
    options = {"alpha": 0.95, "momentum": momentum, "eps": 1e-3, "weight_decay": 0.1}
    assert as_torchs(RMSprop, torch.optim.RMSprop, 0.01, options | {"centred": centred}, options | {"centered": centred})


def test_state_is_kept_only_where_it_is_used():
    p = torch.nn.Parameter(torch.ones(3))
    assert list(RMSprop([p]).state[p]) == ["square_avg"]
    assert list(RMSprop([p], momentum=0.9, centred=True).state[p]) == ["square_avg", "grad_avg", "momentum_buffer"]
