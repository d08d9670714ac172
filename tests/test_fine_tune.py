"""Fine-tuning: each layer moves at the rate that is asked for, nothing moves before its time, and a resumed run is the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import gradlearn
from gradlearn import find, fine_tune
from gradlearn.errors import InputTrouble
from gradlearn.plan import Plan
from gradlearn.symbols import Step
from gradlearn.theta import Theta

STEPS = 20


def network() -> nn.Module:
    """Two hidden layers with a norm between, and a head."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(96, 6, generator=generator), torch.randint(0, 3, (96,), generator=generator)


def fit(model: nn.Module, **options: object) -> gradlearn.Run:
    given = {"steps": STEPS, "lr": 0.01, "update": "adamw", "valid": None, "inputs": "as given", "compile": "off"}
    return gradlearn.fit(model, data(), **(given | options))  # pyright: ignore[reportArgumentType]


DEPTHS = {"0.weight": 0.0, "1.weight": 0.0, "1.bias": 0.0, "3.weight": 0.5, "3.bias": 0.5, "5.weight": 1.0, "5.bias": 1.0}


def test_depth_counts_matrices_and_a_norm_belongs_to_the_one_before():
    assert fine_tune.depths(Theta(network())) == DEPTHS
    assert fine_tune.depths(Theta(nn.Linear(3, 2))) == {"weight": 1.0, "bias": 1.0}


def rates_of(theta: Theta, groups: list[dict]) -> dict[str, tuple[float, int]]:
    """Rate and first step of every parameter: of the one group in whose memory it lies."""
    found = {}
    for m in theta.members:
        inside = [
            g
            for g in groups
            for p in g["params"]
            if p.data_ptr() <= m.view.data_ptr() and m.view.data_ptr() + 4 * m.view.numel() <= p.data_ptr() + 4 * p.numel()
        ]
        assert len(inside) == 1, m.name
        found[m.name] = inside[0]["lr"], inside[0]["begins"]
    return found


@pytest.mark.parametrize("way", [Theta.groups, Theta.views])
def test_every_parameter_has_the_rate_that_is_asked_for(way: Callable[..., list[dict]]):
    theta = Theta(network())
    plan = Plan({"lr": 0.2, "first_rate": 0.25, "head_first": 0.1, "steps": 50})
    groups = fine_tune.ordered(lambda own: way(theta, own), theta, plan)
    expected = {name: (0.2 * 0.25 ** (1 - depth), 0 if depth == 1.0 else 5) for name, depth in DEPTHS.items()}
    assert rates_of(theta, groups) == expected
    assert groups[0]["lr"] == 0.2, "the rate that a step tells is the one that was given"
    decaying = {name for g in groups if g.get("weight_decay", 1.0) for name in within(theta, g)}
    assert decaying == {"0.weight", "3.weight", "5.weight"}


def within(theta: Theta, group: dict) -> list[str]:
    ends = [(p.data_ptr(), p.data_ptr() + 4 * p.numel()) for p in group["params"]]
    return [m.name for m in theta.members if any(a <= m.view.data_ptr() < b for a, b in ends)]


def test_what_is_new_is_what_moves_first():
    theta = Theta(network())
    plan = Plan({"lr": 1.0, "first_rate": 0.5, "head_first": 0.5, "steps": 10, "fresh": ["0.weight", "5.weight"]})
    rates = rates_of(theta, fine_tune.ordered(theta.views, theta, plan))
    assert {name for name, (_, begins) in rates.items() if begins == 0} == {"0.weight", "5.weight"}
    assert rates["0.weight"] == (1.0, 0)
    nothing = Plan({"lr": 1.0, "first_rate": 0.5, "head_first": 0.5, "steps": 10, "fresh": []})
    assert {begins for _, begins in rates_of(theta, fine_tune.ordered(theta.views, theta, nothing)).values()} == {0}


def test_nothing_asked_is_the_groups_as_they_are():
    theta = Theta(network())
    assert ["lr" in group for group in fine_tune.ordered(theta.groups, theta, Plan({"lr": 0.1}))] == [False, False]
    (whole,) = (g["params"][0] for g in theta.groups(lambda m: {"same": 1})[:1])
    assert whole.numel() == theta.groups()[0]["params"][0].numel()


def moved_first(update: str, compile: str) -> None:
    """The head alone moves in the first half of a run, and all of the network from then on."""
    model, seen = network(), []
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def show(d: object, step: Step) -> None:
        seen.append({name for name, p in model.named_parameters() if not torch.equal(p, before[name])})

    average = "own" if hasattr(find.find("update", update), "shown") else "plain"
    rate = find.default("update", update, "lr")
    fit(model, update=update, lr=rate, head_first=0.5, first_rate=0.1, show=show, compile=compile, average=average, act=False)
    assert all(names <= {"5.weight", "5.bias"} for names in seen[: STEPS // 2]), seen
    assert seen[STEPS // 2 - 1] == {"5.weight", "5.bias"}
    assert {"0.weight", "3.weight", "5.weight"} <= seen[-1]
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("update", find.names("update"))
def test_the_head_moves_first_and_the_body_is_bitwise_as_it_was(update: str):
    if update in fine_tune.ONE_RATE:
        with pytest.raises(InputTrouble, match=f"^--head-first: {update} has one rate for all layers; leave it out, or choose"):
            fit(network(), update=update, head_first=0.5)
        plan = Plan({"update": update})
        fine_tune.choose(plan)
        assert (plan["head_first"], plan["first_rate"]) == (0.0, 1.0)
    else:
        moved_first(update, "off")


@pytest.mark.parametrize("update", ["adamw", "sgd", "nadam"])
def test_so_it_is_in_a_program(update: str):
    pytest.importorskip("numba", reason="the extra fast is not installed")
    moved_first(update, "on")


def test_a_program_takes_the_steps_that_pytorch_takes():
    pytest.importorskip("numba", reason="the extra fast is not installed")
    how = {"head_first": 0.3, "first_rate": 0.1, "average": "plain", "steps": 40}
    eager, ours = (fit(network(), compile=c, **how) for c in ("off", "on"))
    assert ours.settings["choice"]["compile"]["value"] == "on"
    for a, b in zip(eager.model.parameters(), ours.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(eager.history["loss"], ours.history["loss"], rtol=1e-4, atol=1e-5)


class Gone(Exception):
    pass


@pytest.mark.parametrize("last", [4, 9, 13])
def test_a_run_broken_off_in_either_phase_resumes_bit_for_bit(last: int, tmp_path: Path):
    def stop(d: object, step: Step) -> None:
        if step.t == last:
            raise Gone

    how = {"head_first": 0.5, "first_rate": 0.1, "save_every": 2}
    whole = fit(network(), run=tmp_path / "whole", **how)
    with pytest.raises(Gone):
        fit(network(), run=tmp_path / "broken", show=stop, **how)
    resumed = gradlearn.fit(network(), data(), valid=None, resume=tmp_path / "broken")
    assert resumed.steps == STEPS
    for a, b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("name", "value"), [("first_rate", 1.5), ("head_first", -0.1), ("head_first", 1.1)])
def test_what_cannot_be_is_refused(name: str, value: float):
    with pytest.raises(InputTrouble, match=rf"^--{name.replace('_', '-')} {value}: must be in \[0, 1\]"):
        fit(network(), **{name: value})
