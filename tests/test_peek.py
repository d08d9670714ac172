"""Peek: examples come plain, the model is bitwise as found, and what costs to read is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn import peek
from gradlearn.adapt import Examples, InPieces, Items, OnDevice, Subset
from gradlearn.penalty import penalised
from looks import Looked, blobs


class Shy(nn.Module):
    """Draws, counts, and complains in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.head = nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(x)))


@pytest.mark.parametrize("train", [False, True])
def test_modes_buffers_and_random_state_are_put_back_after_trouble_too(train: bool):
    model = Shy()
    model.drop.eval()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()

    def look() -> None:
        with peek.untouched(model, train):
            assert model.training is train
            assert model.drop.training is train
            model(torch.randn(20, 8))
            raise KeyError

    with pytest.raises(KeyError):
        look()
    assert model.training
    assert not model.drop.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_in_memory_is_known_through_all_that_wraps_it():
    data = Examples(*blobs(20))
    rows = torch.tensor([3, 1, 4])
    wrapped = [data, Subset(data, torch.arange(10, 20)), InPieces(data, 5), OnDevice(data, "cpu")]
    assert all(peek.in_memory(d) for d in wrapped)
    for d, first in zip(wrapped, (0, 10, 0, 0), strict=True):
        assert torch.equal(peek.read(d, rows)[0], data.x[rows + first])
        assert torch.equal(peek.taken(d, rows).x, data.x[rows + first])
    assert not peek.in_memory(Items([(torch.zeros(2), 0)] * 3))
    assert not peek.in_memory(None)


def test_all_examples_or_the_same_draw_of_them():
    data = Examples(*blobs(50))
    assert torch.equal(peek.chosen(data, 50, "a"), torch.arange(50))
    some = peek.chosen(data, 20, "a")
    assert torch.equal(some, peek.chosen(data, 20, "a"))
    assert not torch.equal(some, peek.chosen(data, 20, "b"))
    assert some.tolist() == sorted(set(some.tolist()))


def test_the_objective_within_penalties_is_asked():
    objective = Looked(*blobs(20), valid=blobs(10), model=nn.Linear(8, 3))
    around = penalised(objective, [Pays()])
    assert peek.of(around, "data") is objective.data
    assert peek.of(around, "valid") is objective.valid


class Pays:
    """A penalty of nothing."""

    wants = ("model",)

    def __call__(self, model: nn.Module) -> Tensor:
        return torch.zeros(())


def test_classes_are_whole_numbers_one_for_each_example():
    cases: list[tuple[Any, Any]] = [
        (torch.tensor([0, 2, 1]), [0, 2, 1]),
        (torch.tensor([0.0, 1.0, 1.0]), [0, 1, 1]),
        (torch.tensor([[0.0], [1.0]]), [0, 1]),
        (torch.tensor([0.0, 0.5]), None),
        (torch.tensor([[0, 1], [1, 0]]), None),
        (torch.tensor([0, -100]), None),
        (None, None),
    ]
    for y, wanted in cases:
        found = peek.classes(y)
        assert (found if found is None else found.tolist()) == wanted


def test_a_table_is_made_of_numbers_alone():
    assert peek.table(torch.zeros(3, 2, 2, dtype=torch.uint8)).shape == (3, 4)  # type: ignore[union-attr]
    assert peek.table(torch.zeros(3, 4, dtype=torch.int64)) is None
    assert peek.table({"x": torch.zeros(3)}) is None


def test_inputs_that_are_all_the_same_say_nothing():
    assert peek.says_nothing(torch.zeros(5, 3))
    assert not peek.says_nothing((torch.zeros(5, 3), torch.arange(5)))
