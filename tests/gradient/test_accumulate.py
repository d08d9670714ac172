"""Accumulated pieces are the big batch, and as large as the memory lets them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.gradient.accumulate import Accumulate, kept
from gradlearn.gradient.backprop import Backprop
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta


class Of:
    data = None

    def __init__(self, model: nn.Module) -> None:
        self.model, self.sizes = model, []

    def __call__(self, batch: Batch) -> Losses:
        self.sizes.append(batch.n)
        out = self.model(batch.x)
        terms = 1.0 + batch.index % 5  # as sentences of different lengths
        return Losses(out.square().sum(1) * terms, terms)


def made(n: int = 1000, width: int = 64) -> tuple[Of, Theta, Batch]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 2))
    return Of(model), Theta(model), Batch(torch.randn(n, 8), None, torch.arange(n), 3)


def flat(theta: Theta) -> Tensor:
    return torch.cat([m.grad.flatten() for m in theta.members])


@pytest.mark.parametrize("part", [0, 7, 64, 999, 1000])
def test_it_is_the_big_batch_to_a_millionth_with_uneven_tails_and_counts(part: int):
    objective, theta, batch = made()
    whole = Backprop()(objective, theta, batch)
    g = flat(theta)
    found = Accumulate(part=part, memory=1)(objective, theta, batch)
    assert float((flat(theta) - g).norm()) <= 1e-6 * float(g.norm())
    assert found.loss == pytest.approx(whole.loss, rel=1e-6)
    assert found.n == 1000


def test_a_piece_keeps_no_more_than_the_memory_and_most_of_it():
    objective, theta, batch = made(40_000)
    per_example = kept(objective, theta, next(iter(batch.pieces(8)))) / 8
    assert 64 * 4 <= per_example <= 8 * 64 * 4  # the tanh's output, once or a few times
    objective.sizes.clear()
    Accumulate(memory=4)(objective, theta, batch)
    _, *pieces, last = objective.sizes  # the first pass is the measurement
    assert sum(pieces) + last == 40_000
    assert len(set(pieces)) == 1
    assert 0.5 * 4 * 2**20 < pieces[0] * per_example <= 4 * 2**20


def test_what_is_kept_is_measured_once_for_each_shape_and_in_one_piece_it_is_backprop():
    objective, theta, batch = made(100)
    gradient = Accumulate()
    gradient(objective, theta, batch)
    g = flat(theta)
    assert objective.sizes == [8, 100]
    gradient(objective, theta, batch)
    assert objective.sizes == [8, 100, 100]
    Backprop()(objective, theta, batch)
    assert torch.allclose(g, flat(theta), rtol=1e-5, atol=1e-7)


def test_one_example_that_is_too_large_goes_alone():
    objective, theta, batch = made(3, width=400_000)
    objective.sizes.clear()
    Accumulate(memory=1)(objective, theta, batch)
    assert objective.sizes == [3, 1, 1, 1]


def test_wrong_options_are_refused():
    with pytest.raises(InputTrouble, match=r"--accumulate\.memory 0"):
        Accumulate(memory=0)
