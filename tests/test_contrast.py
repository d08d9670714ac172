"""Twins: the same start, batches and steps; they differ in what they are meant to differ in, and the module stays as it is."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import gradlearn
from gradlearn.contrast import SHORT, Twins, shared
from gradlearn.errors import InputTrouble

STEPS = 120


def example(n: int = 300) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Three classes, a tenth of the labels drawn."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(3, (n,), generator=g)
    x = torch.randn(n, 6, generator=g) + 2.0 * torch.eye(3, 6)[y]
    flip = torch.rand(n, generator=g) < 0.1
    y = torch.where(flip, torch.randint(3, (n,), generator=g), y)
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 3)), (x, y)


@pytest.fixture(scope="module")
def found() -> Twins:
    model, data = example()
    return gradlearn.twins(model, data, steps=STEPS, update="adamw", lr=0.02, compile="off")


def test_five_of_the_same_length_and_start(found: Twins):
    assert [t.name for t in found.twins] == ["chosen", "too high", "too low", "by heart", "held back"]
    assert {len(t.loss) for t in found.twins} == {STEPS}
    assert len({t.loss[0] for t in found.twins[:3]}) == 1, "the same weights and the same first batch"
    chosen = found["chosen"].lr
    assert [t.lr / chosen for t in found.twins] == pytest.approx([1.0, 30.0, 1 / 30, 1.0, 1.0])
    assert [t.examples for t in found.twins] == [270, 270, 270, 40, 40]
    assert found.judged == 30


def test_one_is_free_and_one_is_held_back(found: Twins):
    assert found["by heart"].held == {}
    assert found["held back"].held == found["chosen"].held
    assert found["held back"].held.keys() >= {"dropout", "adamw.weight_decay", "average"}
    free, held = found["by heart"], found["held back"]
    assert free.fit is not None
    assert held.fit is not None
    assert free.fit["all"]["loss"] < 0.7 * held.fit["all"]["loss"], "without dropout and decay it fits them closer"
    assert free.loss[-1] < 0.05 < found["too low"].loss[-1]


def test_no_remedy_acts_and_the_watch_looks(found: Twins):
    model, data = example()
    high = gradlearn.twins(model, (data[0] * 1e4, data[1]), steps=60, lr=1e4, update="sgd", compile="off")["too high"]
    assert high.findings
    assert high.stop["reason"] == "numerics" or len(high.loss) == 60
    assert all(t.stop["reason"] == "done" for t in found.twins)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_the_chosen_one_is_the_run_that_fit_would_have_made(scale: float):
    model, (x, y) = example()
    twin = gradlearn.twins(model, (scale * x + scale, y), steps=20, compile="off")["chosen"]
    run = gradlearn.fit(model, (scale * x + scale, y), steps=20, compile="off", act=False)
    assert run.history["loss"] == twin.loss
    assert [s["value"] for s in twin.scores] == run.history["val_accuracy"]


def test_the_module_and_the_random_state_stay_as_they_are():
    model, data = example()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    gradlearn.twins(model, data, steps=5, compile="off")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert model[2].p == 0.5
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_without_validation_data_there_are_three():
    model, data = example(40)
    said: list[str] = []
    three = gradlearn.twins(model, data, steps=5, valid=None, say=said.append, compile="off")
    assert [t.name for t in three.twins] == ["chosen", "too high", "too low"]
    assert len(said) == 3
    assert "by heart" not in three.explain()


def test_time_is_for_all_of_them():
    assert shared({"steps": 3}, 2.0) == {"steps": 3}
    assert shared({"time": "60s"}, 0.0) == {"time": pytest.approx(0.85 * 12)}
    assert shared({}, 2.0)["time"] == pytest.approx(0.85 * 9 + 2.0)
    model, data = example()
    said: list[str] = []
    timed = gradlearn.twins(model, data, time=1e-3, say=said.append, compile="off")
    assert timed.steps == SHORT == len(timed["too low"].loss), "so few steps show nothing"
    assert said[0].startswith("warning: there is time for ")


def test_the_page_is_written_where_it_is_asked_for(found: Twins, tmp_path: Path):
    page = found.page(tmp_path / "twins.html")
    assert page.read_text().startswith("<!doctype html>")
    assert [line.partition(":")[0] for line in found.explain().splitlines()] == [
        "too high",
        "chosen",
        "too low",
        "by heart",
        "held back",
    ]
    model, data = example()
    with pytest.raises(InputTrouble, match="twins: takes no 'resume'; use fit"):
        gradlearn.twins(model, data, resume="runs/x")
