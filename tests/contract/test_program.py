"""Every plug-in, with the step as a program: the run is the same to rounding, and says where a program has no part in it."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradlearn
from gradlearn.find import is_penalty, names

STEPS = 6
LOSSES = [name for name in names("objective") if not is_penalty(name)]
PENALTIES = [name for name in names("objective") if is_penalty(name)]


def data(numbers: bool) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(3, (96,), generator=g)
    x = torch.randn(96, 5, generator=g) + y[:, None]
    return (x, x[:, :3] ** 2) if numbers else (x, y)


def run(compiled: str, loss: str = "cross_entropy", double: bool = False, **settings: Any) -> gradlearn.Run:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))
    x, y = data(loss != "cross_entropy")
    if double:
        model, x = model.double(), x.double()
    common = {"steps": STEPS, "batch": 16, "valid": None, "compile": compiled}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a run without a program says so; here it only has to be the same
        return gradlearn.fit(model, (x, y), loss, **(common | settings))


def same(**settings: Any) -> gradlearn.Run:
    """The compiled run, if it is the eager one."""
    one, other = run("on", **settings), run("off", **settings)
    assert one.history["loss"] == pytest.approx(other.history["loss"], rel=2e-3)
    assert one.history["grad_norm"] == pytest.approx(other.history["grad_norm"], rel=2e-2, abs=1e-6)
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=5e-3)
    return one


def whole(made: gradlearn.Run) -> bool:
    return made.settings["choice"].get("compiled", {}).get("value") is not False


@pytest.mark.parametrize("name", names("update"))
def test_every_update_makes_the_same_run(name: str):
    # soap and lbfgs make a part in a thousand of a last bit of float64, the one in 3 steps, the other in 6
    assert whole(same(update=name, double=True, steps={"soap": 2, "lbfgs": 4}.get(name, STEPS)))


@pytest.mark.parametrize("name", names("average"))
def test_every_average_shows_the_same(name: str):
    assert whole(same(update="schedule_free" if name == "own" else "adamw", average=name))


@pytest.mark.parametrize("name", names("rate"))
def test_every_rate_is_the_same(name: str):
    assert whole(same(update="adamw", rate=[name]))


@pytest.mark.parametrize("name", [n for n in names("batches") if n != "buckets"])
def test_all_batches_are_the_same(name: str):
    same(update="adamw", batches=name)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_the_same(name: str):
    assert whole(same(update="adamw", loss=name))


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_is_the_same(name: str):
    same(update="adamw", penalty=[name])


@pytest.mark.parametrize("name", names("gradient"))
def test_every_gradient_is_the_same_or_left_alone(name: str):
    if name == "score_function":
        with pytest.raises(gradlearn.Trouble):
            run("on", update="sgd", gradient=name)
        return
    made = same(update="sgd", gradient=name)
    assert whole(made) == (name == "backprop")
