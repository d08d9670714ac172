"""Rprop against torch's."""

from __future__ import annotations

import pytest
import torch

from descents import as_torchs
from gradlearn.errors import InputTrouble
from gradlearn.update.rprop import Rprop


def test_a_hundred_steps_are_torchs():
    mine = {"etas": (0.4, 1.3), "steps": (1e-4, 0.5)}
    assert as_torchs(Rprop, torch.optim.Rprop, 0.01, mine, {"etas": (0.4, 1.3), "step_sizes": (1e-4, 0.5)})


def test_factors_on_the_wrong_side_of_one_are_refused():
    with pytest.raises(InputTrouble, match=r"--rprop\.etas"):
        Rprop([torch.nn.Parameter(torch.ones(2))], etas=(1.2, 0.5))
