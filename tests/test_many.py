"""Many small runs as one: each is the run that `fit` makes of it alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradlearn
from gradlearn.errors import InputTrouble, NumericsTrouble

COMMON: dict[str, Any] = {"steps": 30, "batch": 16, "update": "adamw"}


def data(n: int = 120) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(3, (n,), generator=g)
    return torch.randn(n, 5, generator=g) + y[:, None], y


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def alone(one: dict[str, Any], **common: Any) -> gradlearn.Run:
    settings = {"seed": 0} | COMMON | common | one
    torch.manual_seed(settings["seed"])
    return gradlearn.fit(make(), data(), **settings)


def same(a: gradlearn.Run, b: gradlearn.Run) -> bool:
    tensors = zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    return a.history == b.history and all(torch.equal(p, q) for p, q in tensors)


@pytest.mark.parametrize("compiled", ["on", "off"])
@pytest.mark.parametrize("average", ["ema", "plain"])
def test_each_run_is_bit_for_bit_its_own(compiled: str, average: str):
    each = [{"seed": 0}, {"seed": 3}, {"seed": 3, "lr": 0.05}, {"seed": 1, "adamw__weight_decay": 0.5}]
    runs = gradlearn.fit_many(make, data(), runs=each, compile=compiled, average=average, **COMMON)
    for one, run in zip(each, runs, strict=True):
        assert same(run, alone(one, compile=compiled, average=average)), one
    assert len({run.history["loss"][-1] for run in runs}) == len(each)


def test_a_number_of_runs_is_that_many_seeds():
    runs = gradlearn.fit_many(make, data(), runs=3, compile="on", **COMMON)
    assert [same(run, alone({"seed": seed}, compile="on")) for seed, run in enumerate(runs)] == [True] * 3
    assert [run.settings["choice"]["seed"]["value"] for run in runs] == [0, 1, 2]
    assert all("steps" in run.explain() for run in runs)


def test_every_module_owns_its_weights_and_is_in_evaluation_mode():
    runs = gradlearn.fit_many(make, data(), runs=2, compile="on", **COMMON)
    before = runs[0].model.state_dict()["0.weight"].clone()
    with torch.no_grad():
        runs[1].model.state_dict()["0.weight"].zero_()
    assert torch.equal(runs[0].model.state_dict()["0.weight"], before)
    assert not any(run.model.training for run in runs)
    assert all(p.grad is None for run in runs for p in run.model.parameters())


def test_random_state_outside_is_left_as_found():
    torch.manual_seed(5)
    expected = torch.get_rng_state()
    gradlearn.fit_many(make, data(), runs=2, compile="on", **COMMON)
    assert torch.equal(torch.get_rng_state(), expected)


def test_runs_of_another_shape_have_a_program_of_their_own():
    each = [{"batch": 16}, {"batch": 8}, {"batch": 16, "seed": 1}]
    runs = gradlearn.fit_many(make, data(), runs=each, compile="on", steps=30, update="adamw")
    for one, run in zip(each, runs, strict=True):
        assert same(run, alone(one, compile="on"))


def test_a_run_that_leaves_the_numbers_says_so():
    x, y = data()
    x[:, 0] = float("nan")
    with pytest.raises(NumericsTrouble):
        gradlearn.fit_many(make, (x, y), runs=2, compile="on", **COMMON)


@pytest.mark.parametrize("name", ["run", "resume", "show", "time"])
def test_what_runs_cannot_share_is_refused(name: str):
    with pytest.raises(InputTrouble, match=f"fit_many: takes no '{name}'; use fit"):
        gradlearn.fit_many(make, data(), runs=2, **{name: "60s"})


def test_no_runs_at_all_are_refused():
    with pytest.raises(InputTrouble, match="give a number above 0"):
        gradlearn.fit_many(make, data(), runs=0, **COMMON)
