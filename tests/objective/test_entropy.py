"""Entropy: torch's own, for classes, tokens and one output; the surest pay most."""

from __future__ import annotations

import math

import pytest
import torch

from gradlearn.errors import InputTrouble
from gradlearn.objective.entropy import Entropy


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 5), (6, 4, 2, 3)])
def test_it_is_minus_torchs_entropy_and_of_places_the_mean(shape: tuple[int, ...]):
    output = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = torch.distributions.Categorical(logits=output.movedim(1, -1)).entropy()
    found = Entropy(weight=0.3)(output)
    assert found.shape == (6,)
    assert torch.allclose(found, -0.3 * theirs.reshape(6, -1).mean(1), rtol=1e-10)


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_of_one_output_it_is_that_of_a_coin(shape: tuple[int, ...]):
    output = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = torch.distributions.Bernoulli(logits=output).entropy().reshape(-1)
    assert torch.allclose(Entropy(weight=1.0)(output), -theirs, rtol=1e-10)


def test_it_is_lowest_where_all_classes_are_alike_and_zero_where_one_is_sure():
    assert Entropy(weight=1.0)(torch.zeros(1, 8)).item() == pytest.approx(-math.log(8))
    sure = torch.tensor([[1000.0, 0.0, -1000.0]], requires_grad=True)
    found = Entropy(weight=1.0)(sure)
    found.sum().backward()
    assert found.item() == 0.0
    assert sure.grad.isfinite().all()


def test_what_has_no_classes_is_refused():
    with pytest.raises(InputTrouble, match="--penalty entropy: needs scores of classes as the model's output, not tuple"):
        Entropy()((torch.zeros(2, 2), 1))  # type: ignore[arg-type]
