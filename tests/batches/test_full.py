"""The full batch: exact whatever the pieces, and never more of the data in memory than a piece."""

from __future__ import annotations

import copy
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradlearn
from gradlearn import chance
from gradlearn.adapt import Deferred, InPieces
from gradlearn.gradient.backprop import Backprop
from gradlearn.symbols import Batch
from gradlearn.theta import Theta
from toys import Of, Tokens

N = 5000


class Streamed:
    """5,000 examples that are made when they are asked for; remembers how many at once."""

    def __init__(self, wide: int = 8) -> None:
        self.wide, self.most, self.asked = wide, 0, 0

    def __len__(self) -> int:
        return N

    def __call__(self, index: Tensor, draw: int) -> Batch:
        self.most, self.asked = max(self.most, len(index)), self.asked + len(index)
        x = torch.from_numpy(chance.uniform(0, "x", index.numpy()[:, None], np.arange(self.wide))).float() - 0.5
        return Batch(x, (x.sum(1, keepdim=True) + 0.1), index, draw)


def trained(data: Any, **more: Any) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    model = nn.Linear(8, 1)
    run = gradlearn.fit(model, data, loss="mse", batch="full", steps=4, update="sgd", lr=0.1, average="plain", valid=None, **more)
    return model, run


def test_data_larger_than_memory_passes_in_pieces_and_the_steps_are_those_of_the_whole():
    streamed = Streamed()
    model, run = trained(streamed)
    assert streamed.most == 1024
    whole = Streamed()(torch.arange(N), 0)
    slow, other = trained((whole.x, whole.y), backprop__part=0, inputs="as given")
    assert torch.allclose(model.weight, slow.weight, rtol=1e-5, atol=1e-7)
    assert run.history["loss"] == pytest.approx(other.history["loss"], rel=1e-5)
    assert run.settings["choice"]["backprop.part"]["value"] == 1024
    assert "in pieces" in run.settings["choice"]["backprop.part"]["why"]


def test_the_size_of_a_piece_is_an_option():
    streamed = Streamed()
    trained(streamed, backprop__part=300)
    assert streamed.most == 300


def test_memory_is_that_of_a_piece():
    """Numpy's arrays are counted by tracemalloc: a piece of 1,024 rows of 64 numbers is 0.5 MB in float64, all of them 2.6."""
    data = InPieces(Streamed(64), 1024)
    deferred = data(torch.arange(N), 0)
    assert isinstance(deferred, Deferred)
    tracemalloc.start()
    seen = sum(piece.n for piece in deferred.pieces(1024))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == N
    assert peak < 2.6e6
    tracemalloc.start()
    deferred.x  # noqa: B018 - whoever insists gets all of it
    assert tracemalloc.get_traced_memory()[1] > peak
    tracemalloc.stop()


@pytest.mark.parametrize("part", [1, 7, 63, 64, 100])
def test_pieces_of_tokens_add_up_to_the_batch_with_uneven_tails(part: int):
    task = Tokens()
    model = task.model(0).double()
    theta, data = Theta(model), task.data("train")
    objective: Any = Of(task, model)
    index = torch.arange(len(data))
    whole = Backprop()(objective, theta, data(index, 0))
    g = theta.blocks[0].grad.clone()
    deferred: Any = InPieces(data, part)(index, 0)
    parts = Backprop(part=part)(objective, theta, deferred)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)
    assert torch.allclose(theta.blocks[0].grad, g, rtol=1e-10, atol=1e-14)


def test_each_piece_has_draws_of_its_own_and_they_come_again():
    class Drawn(Streamed):
        def __call__(self, index: Tensor, draw: int) -> Batch:
            batch = super().__call__(index, draw)
            return batch._replace(x=torch.from_numpy(chance.uniform(draw, "noise", np.arange(len(index)))))

    deferred = Deferred(Drawn(), torch.arange(30), 5)
    first = [piece.x for piece in deferred.pieces(10)]
    again = [piece.x for piece in copy.copy(deferred).pieces(10)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert [piece.draw for piece in Deferred(Drawn(), torch.arange(30), -1).pieces(10)] == [-1, -1, -1]
