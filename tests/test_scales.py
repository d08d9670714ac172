"""Scales: a module is trained on inputs and targets of unit size, and comes back for those of the user."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn import fit, fit_many
from gradlearn.adapt import Examples
from gradlearn.plan import Plan
from gradlearn.scales import entrance_of, exit_of, fold, standardise
from gradlearn.supervised import Supervised, split_of

torch.manual_seed(0)
X = torch.rand(400, 6)
Y = (X[:, :3].sum(1) > X[:, 3:].sum(1)).long()
V = (X @ torch.arange(6.0) + 2 * X[:, 0] * X[:, 1])[:, None]


def net(outputs: int = 2, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, outputs))


def task_for(model: nn.Module, x: Tensor, y: Tensor, loss: str = "cross_entropy") -> Supervised:
    return Supervised(model, loss, split_of(Examples(x, y), 0.1, 0))


@pytest.mark.parametrize(("factor", "offset"), [(100.0, 0.0), (1.0, 1000.0), (1e-3, 0.0), (1e4, -1e5)])
def test_inputs_of_any_size_are_learned_as_well_as_those_of_unit_size(factor: float, offset: float):
    plain = fit(net(), (X, Y), steps=200, seed=0).score
    other = fit(net(), (X * factor + offset, Y), steps=200, seed=0)
    assert plain is not None
    assert other.score is not None
    assert other.settings["choice"]["inputs"]["value"] == "standardised"
    assert other.score.all["loss"] < plain.all["loss"] + 0.05
    right = (other.model(X * factor + offset).argmax(1) == Y).double().mean()
    assert right > 0.9, "the module that comes back takes the inputs as they were given"


@pytest.mark.parametrize("columns", ["alike", "apart"])
def test_folding_is_exact(columns: str):
    x = X * 50 + 300 if columns == "alike" else X * torch.tensor([1.0, 10, 100, 1e3, 1e4, 1e-2]) + 0.5
    model = net()
    task = task_for(model, x, Y)
    standardise(task, Plan())
    assert task.entrance is not None
    assert task.entrance.spread.numel() == (1 if columns == "alike" else 6)
    wanted = model(task.entrance.on(x))
    fold(task)
    assert torch.allclose(model(x), wanted, atol=2e-4)
    before = [p.clone() for p in model.parameters()]
    fold(task)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)), "it is done once"


def test_what_is_trained_on_has_mean_0_and_spread_1():
    task = task_for(net(1), X * 100, V * 30 + 7, "mse")
    standardise(task, Plan())
    data: Any = task.sets["train"]
    assert abs(data.x.mean()) < 1e-3
    assert data.x.std() == pytest.approx(1.0, abs=0.01)
    assert abs(data.y.mean()) < 1e-3
    assert data.y.std() == pytest.approx(1.0, abs=0.01)


def test_targets_come_back_in_their_own_unit_and_so_does_the_score():
    run = fit(net(1), (X, V * 100 + 5000), "mse", steps=300, seed=0)
    assert run.score is not None
    error = (run.model(X) - (V * 100 + 5000)).square().mean().item()
    assert error < 0.05 * (V * 100).var().item()
    assert run.score.value == pytest.approx(error, rel=1.0)


def test_targets_of_a_callable_loss_are_left_alone():
    seen: list[float] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        seen.append(target.abs().max().item())
        return (output - target).square().mean(1)

    fit(net(1), (X * 100, V * 100), loss, steps=5, seed=0)
    assert max(seen) > 100


def test_weights_that_know_the_data_go_on_from_what_they_know():
    x = X * 100 + 300
    first = fit(net(), (x, Y), steps=400, seed=0).model
    again = fit(copy.deepcopy(first), (x, Y), steps=1, lr=1e-9, seed=0)
    assert torch.allclose(again.model(x), first(x), atol=1e-2)


class Skip(nn.Module):
    """Uses its inputs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(x + self.a(x).relu())


class Tied(nn.Module):
    """Its first weight is used again, on something else."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(nn.functional.linear(self.a(x).relu(), self.a.weight))


@pytest.mark.parametrize("model", [Skip(), Tied(), nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2))], ids=["skip", "tied", "norm"])
def test_inputs_that_no_layer_could_take_back_are_left_as_they_are(model: nn.Module):
    x = X * 100
    before = [p.clone() for p in model.parameters()]
    side, why = entrance_of(task_for(model, x, Y), x)
    assert side is None
    assert why
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    run = fit(model, (x, Y), steps=3, seed=0)
    assert run.settings["choice"]["inputs"]["value"] == "as given"


def test_a_convolution_that_pads_gets_a_scale_and_no_mean():
    x = torch.rand(64, 2, 8, 8) * 100 + 50
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2))
    side, _ = entrance_of(task_for(model, x, torch.arange(64) % 2), x)
    assert side is not None
    assert not side.mean.any()
    unpadded = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    side, _ = entrance_of(task_for(unpadded, x, torch.arange(64) % 2), x)
    assert side is not None
    assert side.mean.all()


def test_pictures_that_are_flattened_get_one_scale():
    x = torch.rand(64, 1, 4, 4) * 255
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    side, _ = entrance_of(task_for(model, x, torch.arange(64) % 2), x)
    assert side is not None
    assert side.spread.numel() == 1
    assert side.spread.item() == pytest.approx(255 / 12**0.5, rel=0.05)


def test_a_constant_column_and_a_rare_one_are_not_blown_up():
    x = X * torch.tensor([1.0, 1.0, 1e3, 1e3, 0.0, 1.0])
    x[:, 5] = (torch.arange(400) % 200 == 0).float()
    side, _ = entrance_of(task_for(net(), x, Y), x)
    assert side is not None
    z = side.on(x)
    assert torch.isfinite(z).all()
    assert z.abs().max() < 12


def test_inputs_of_unit_size_are_left_as_they_are():
    x = torch.randn(400, 6)
    run = fit(net(), (x, Y), steps=3, seed=0)
    assert run.settings["choice"]["inputs"]["value"] == "as given"


def test_a_user_who_wants_them_as_given_has_them():
    run = fit(net(), (X * 100, Y), steps=3, seed=0, inputs="as given")
    assert run.settings["choice"]["inputs"] == {"value": "as given", "by": "user", "why": "as given"}


def test_outputs_that_are_no_linear_layers_leave_the_targets_alone():
    model = nn.Sequential(nn.Linear(6, 1), nn.Softplus())
    task = task_for(model, X, V * 100, "mse")
    assert exit_of(task, V * 100)[0] is None


def test_resume_is_bit_exact_with_scaled_inputs(tmp_path: Path):
    x = X * 100
    whole = fit(net(), (x, Y), steps=60, seed=0).model

    def stop(descent: Any, step: Any) -> None:
        if step.t == 30:
            descent.interrupted = True

    fit(net(), (x, Y), steps=60, seed=0, run=tmp_path / "a", save_every=10, show=stop)
    again = fit(net(seed=5), (x, Y), seed=0, resume=tmp_path / "a").model
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_many_runs_equal_single_ones():
    x = X * 100
    several = fit_many(net, (x, Y), runs=2, steps=300, compile="on", valid=None)
    for seed, one in enumerate(several):
        torch.manual_seed(seed)
        model = net(seed=0)
        alone = fit(model, (x, Y), seed=seed, steps=300, compile="on", valid=None)
        assert all(torch.equal(a, b) for a, b in zip(alone.model.parameters(), one.model.parameters(), strict=True))
