"""The plan: every value that the user left open; a user's value always wins."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.find import find
from gradlearn.plan import (
    ITERATIONS,
    SMALL,
    Choice,
    Plan,
    batch_size,
    check_names,
    choose_batch,
    choose_descent,
    choose_length,
    choose_threads,
    choose_update,
    orthogonalising,
    plan_from,
    seconds_of,
    turning,
    usual_epochs,
)
from gradlearn.update.muon import Muon
from gradlearn.update.soap import SOAP


def test_what_the_user_set_stays():
    plan = Plan({"lr": 0.5, "batch": None, "update": "auto"})
    assert plan.choose("lr", 0.1, "usual") == 0.5
    assert plan.replace("lr", 0.2, "measured") == 0.5
    assert dict(plan.items()) == {"lr": Choice(0.5, "user", "as given")}
    assert "batch" not in plan
    assert "update" not in plan, "auto leaves it open"


def test_the_first_rule_holds_unless_a_later_one_replaces_it():
    plan = Plan()
    assert plan.choose("lr", 0.1, "a") == 0.1
    assert plan.choose("lr", 0.2, "b") == 0.1
    assert plan.replace("lr", 0.3, "c", "measured") == 0.3
    assert plan["lr"] == plan.get("lr") == 0.3
    assert dict(plan.items())["lr"] == Choice(0.3, "measured", "c")
    assert plan.get("nothing", 7) == 7
    with pytest.raises(KeyError):
        plan["nothing"]


def test_options_of_a_plugin():
    plan = Plan({"adamw.weight_decay": 0.1, "adamw.betas": (0.8, 0.9), "ema.decay": 0.5, "lr": 1.0})
    assert plan.options("adamw") == {"weight_decay": 0.1, "betas": (0.8, 0.9)}
    assert plan.options("ada") == {}
    assert plan.options("sgd") == {}


@given(st.integers(1, 10**7))
def test_the_batch_is_a_power_of_two_near_the_root_of_the_data(n: int):
    plan = Plan()
    choose_batch(plan, n)
    size = plan["batch"]
    assert 16 <= size <= 128
    assert size & (size - 1) == 0
    if 16**2 <= n <= 128**2:
        assert 2**-0.51 <= size / math.sqrt(n) <= 2**0.51
    assert batch_size(plan, n) == min(size, n)
    assert plan["batches"] == ("full" if size >= n else "shuffle")


@pytest.mark.parametrize(
    ("given", "kind", "size"), [("full", "full", 100), (1, "single", 1), (7, "shuffle", 7), (100, "full", 100), (500, "full", 100)]
)
def test_a_given_batch(given: Any, kind: str, size: int):
    plan = Plan({"batch": given})
    choose_batch(plan, 100)
    assert plan["batches"] == kind
    assert batch_size(plan, 100) == size
    assert find("batches", kind)(100, **plan.options(kind)).size == size


@pytest.mark.parametrize("bad", [0, -3, 2.5, "half", True])
def test_a_batch_that_cannot_be_is_refused(bad: Any):
    with pytest.raises(InputTrouble, match=r"--batch .*: expected a number of examples, 'full' or 'auto'"):
        choose_batch(Plan({"batch": bad}), 100)


@pytest.mark.parametrize(("user", "steps"), [
    ({"steps": 77}, 77), ({"epochs": 2}, 20), ({"epochs": 0.5}, 5), ({"epochs": 0.001}, 1), ({}, 100),
    ({"steps": 3, "time": "1s"}, 3),
])  # fmt: skip
def test_length(user: dict[str, Any], steps: int):
    plan = Plan({"batch": 10} | user)
    choose_batch(plan, 100)
    choose_length(plan, 100, 10)
    assert plan["steps"] == steps


def test_a_length_by_time_is_left_to_measuring():
    plan = Plan({"batch": 10, "time": 5})
    choose_batch(plan, 100)
    choose_length(plan, 100, 10)
    assert "steps" not in plan


@pytest.mark.parametrize(("user", "line"), [
    ({"steps": 0}, "--steps 0"), ({"steps": 1.5}, "--steps 1.5"), ({"epochs": 0}, "--epochs 0"), ({"epochs": -1}, "--epochs -1"),
    ({"epochs": float("nan")}, "--epochs nan"), ({"epochs": float("inf")}, "--epochs inf"),
])  # fmt: skip
def test_a_length_that_cannot_be_is_refused(user: dict[str, Any], line: str):
    plan = Plan({"batch": 10} | user)
    choose_batch(plan, 100)
    with pytest.raises(InputTrouble, match=f"{line}: must be"):
        choose_length(plan, 100, 10)


@given(st.integers(1, 10**6), st.integers(1, 512))
def test_usual_epochs_are_within_bounds_and_give_the_steps(n: int, batch: int):
    plan = Plan({"batch": batch})
    epochs = usual_epochs(plan, n)
    assert 10 <= epochs <= 100
    steps = epochs * n / batch_size(plan, n)
    assert epochs in (10, 100) or steps >= 1000
    assert epochs == 10 or (epochs - 1) * n / batch_size(plan, n) < 1000


@settings(deadline=None)
@given(st.integers(1, 10**6))
def test_the_rate_falls_with_the_root_of_the_steps(steps: int):
    plan = Plan({"steps": steps, "batches": "shuffle"})
    choose_descent(plan)
    assert plan["lr"] == pytest.approx(min(0.02, 0.3 / math.sqrt(steps)), abs=1e-6)
    assert plan["update"] == "adamw"
    assert plan["rate"] == ["warmup", "linear"]
    assert plan["act"] is True
    check_names(plan)


def test_every_choice_says_by_whom_and_why():
    plan = Plan({"steps": 100, "update": "sgd"})
    choose_batch(plan, 500)
    choose_descent(plan)
    assert plan["lr"] == 0.05
    for name, choice in plan.items():
        assert choice.by in ("user", "plan")
        assert choice.why, name
        assert "\n" not in choice.why
    assert {n for n, c in plan.items() if c.by == "user"} == {"steps", "update"}


@pytest.mark.parametrize(("user", "line"), [
    ({"lr": 0}, "--lr 0: must be a finite number above 0"),
    ({"lr": float("inf")}, "--lr inf: must be"),
    ({"lr": True}, "--lr True: must be"),
    ({"clip": -1}, "--clip -1: must be a finite number of at least 0"),
])  # fmt: skip
def test_a_rate_that_cannot_be_is_refused(user: dict[str, Any], line: str):
    with pytest.raises(InputTrouble, match=line):
        choose_descent(Plan({"steps": 10} | user))


@pytest.mark.parametrize("user", [
    {"adamw.weight_decay": 0.1}, {"ema.decay": 0.5}, {"backprop.part": 5}, {"warmup.share": 0.1}, {"linear.floor": 0.1},
    {"update": "sgd", "sgd.momentum": 0.5}, {"rate": ["cosine"], "cosine.floor": 0.1}, {"skip.row": 2}, {"divergence.window": 30},
    {"cross_entropy.label_smoothing": 0.1}, {"model": "mlp", "mlp.hidden": (8,)}, {"shuffle.size": 5},
], ids=str)  # fmt: skip
def test_options_of_what_the_run_names_are_known(user: dict[str, Any]):
    check_names(Plan(user))


@pytest.mark.parametrize(("user", "line"), [
    ({"adamw.wait_decay": 0.1}, "--adamw.wait_decay: adamw has no option 'wait_decay'; did you mean 'weight_decay'"),
    ({"adam.weight_decay": 0.1}, "--adam.weight_decay: this run has no 'adam'; did you mean 'adamw'"),
    ({"update": "sgd", "adamw.weight_decay": 0.1}, "--adamw.weight_decay: this run has no 'adamw'"),
    ({"rate": ["constant"], "linear.floor": 0.1}, "--linear.floor: this run has no 'linear'"),
    ({"adamw.lr": 0.1}, "--adamw.lr: the learning rate of every update is given as --lr"),
    ({"update": "sgdd"}, "update has no 'sgdd'; did you mean 'sgd'"),
    ({"average": "emma"}, "average has no 'emma'; did you mean 'ema'"),
    ({"rate": ["warm"]}, "rate has no 'warm'; did you mean 'warmup'"),
    ({"finite.more": 1}, "--finite.more: finite has no option 'more'"),
], ids=str)  # fmt: skip
def test_unknown_names_get_the_nearest(user: dict[str, Any], line: str):
    with pytest.raises(InputTrouble, match=line):
        check_names(Plan(user))


def test_a_plan_comes_back_from_its_settings():
    plan = Plan({"steps": 100, "adamw.betas": [0.8, 0.9]})
    choose_descent(plan)
    saved = {"choice": {name: {"value": c.value, "by": c.by, "why": c.why} for name, c in plan.items()}}
    again = plan_from(saved)
    assert dict(again.items()) == dict(plan.items())
    assert again.options("adamw")["betas"] == [0.8, 0.9]


def test_threads_by_the_size_of_a_step():
    few, many = Plan(), Plan()
    assert choose_threads(few, SMALL * 0.9, 8) == 1
    assert choose_threads(many, SMALL * 1.1, 8) == 8
    assert "MFLOP" in dict(few.items())["threads"].why
    assert choose_threads(Plan({"threads": 3}), SMALL * 9, 8) == 3


@pytest.mark.parametrize(
    ("text", "seconds"), [(60, 60.0), (1.5, 1.5), ("60", 60.0), ("60s", 60.0), ("5m", 300.0), ("2h", 7200.0), (" 0.5 M ", 30.0)]
)
def test_seconds(text: float | str, seconds: float):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", [0, -1, "", "s", "five", "nan", "inf", "1d", "1e9", "1e30s", float("nan")])
def test_seconds_that_cannot_be_are_refused(text: Any):
    with pytest.raises(InputTrouble, match=r"--time .*: expected seconds above 0, or such as 60s, 5m, 2h"):
        seconds_of(text)


MLP = [("matrix", (64, 64)), ("rest", (64,)), ("matrix", (64, 64)), ("head", (10, 64)), ("rest", (10,))]
WIDE = [("matrix", (512, 784)), ("matrix", (512, 512)), ("head", (10, 512)), ("rest", (512,))]


@pytest.mark.parametrize(
    ("tensors", "work", "expected"),
    [
        (MLP, 2.4e6, "split"),  # dear for its step, but next to nothing
        (WIDE, 5e8, "adamw"),
        (WIDE, 1e10, "split"),  # the same matrices, used in many places
        ([("matrix", (10, 64)), ("rest", (10,))], 1e5, "soap"),
        ([("matrix", (1, 100_000))], 1e5, "adamw"),  # its basis would be 100,000 x 100,000
        ([("rest", (7,))], 1e3, "soap"),
    ],
)
def test_the_update_follows_from_the_matrices_and_the_arithmetic_of_a_step(tensors: Any, work: float, expected: str):
    plan = Plan()
    choose_update(plan, tensors, work)
    assert plan["update"] == expected


def test_a_model_of_one_layer_takes_long_steps_and_forgets_nothing():
    plan = Plan({"steps": 500, "batches": "shuffle"})
    choose_update(plan, [("matrix", (10, 64)), ("rest", (10,))], 1e5)
    choose_descent(plan)
    assert (plan["update"], plan["lr"], plan["soap.weight_decay"]) == ("soap", 0.1, 0.0)
    check_names(plan)


@pytest.mark.parametrize(("examples", "expected"), [(1e9, 0.0), (640, 0.0), (320, 0.03), (100, 0.162), (20, 0.5)])
def test_one_layer_forgets_where_examples_are_few_for_its_inputs(examples: float, expected: float):
    plan = Plan({"steps": 500, "batches": "shuffle"})
    choose_update(plan, [("matrix", (10, 64)), ("rest", (10,))], 1e5, examples)
    assert plan["soap.weight_decay"] == expected
    wide = Plan({"steps": 500, "batches": "shuffle"})
    choose_update(wide, [("matrix", (1, 100_000)), ("rest", (1,))], 1e5, 1000)
    assert (wide["update"], wide["adamw.weight_decay"]) == ("adamw", 0.5)


def test_a_matrix_of_one_row_is_a_vector():
    plan = Plan()
    choose_update(plan, [("matrix", (1, 3)), ("head", (1, 2)), ("rest", (1,))], 1e3)
    assert plan["update"] == "soap"
    row = nn.Parameter(torch.ones(1, 3))
    assert "exp_avg" in Muon([row]).state[row]


@pytest.mark.parametrize(("steps", "expected"), [(10, 6.0), (60, 4.08), (999, 1.0), (5000, 1.0)])
def test_a_short_run_of_muon_goes_as_far_as_a_long_one(steps: int, expected: float):
    plan = Plan({"update": "split", "steps": steps, "batches": "shuffle"})
    choose_descent(plan)
    assert plan["split.rates"] == [expected, 3.0, 1.0, 1.0]
    given = Plan({"update": "split", "steps": steps, "batches": "shuffle", "lr": 0.01})
    choose_descent(given)
    assert "split.rates" not in given, "a rate that the user gave is every part's"


def test_options_of_the_usual_updates_are_known_before_the_update_is_chosen():
    check_names(Plan({"muon.weight_decay": 0.5, "split.rates": [1.0, 1.0, 1.0, 1.0]}))
    with pytest.raises(InputTrouble, match="this run has no 'muon'"):
        check_names(Plan({"update": "adamw", "muon.weight_decay": 0.5}))


def test_muons_products_are_of_half_precision_where_those_of_the_network_are():
    for precision in ("float32", "bfloat16"):
        plan = Plan({"update": "split", "steps": 100, "batches": "shuffle", "model": "resnet", "resnet.precision": precision})
        choose_descent(plan)
        assert plan.get("muon.precision", "float32") == precision


def test_decay_times_rate_times_steps_is_the_same_in_runs_of_any_length():
    found = []
    for steps in (1000, 4000, 16000):
        plan = Plan({"steps": steps, "batches": "shuffle"})
        choose_update(plan, MLP, 2.4e6)
        choose_descent(plan)
        check_names(plan)
        found.append([plan[f"{name}.weight_decay"] * plan["lr"] * steps for name in ("muon", "adamw")])
    assert found[0] == pytest.approx(found[1], rel=0.02)
    assert found[0] == pytest.approx(found[2], rel=0.02)


@pytest.mark.parametrize(
    ("steps", "examples", "targets", "expected"),
    [
        (1000, 3200, 0.1, 0.5),
        (1000, 3200, 0.6, 0.5),
        (1000, 3200, 1.2, 0.25),
        (1000, 3200, 60.0, 0.05),
        (1000, 32_000, 0.1, 0.05),
        (1000, 24_000, 0.1, 0.1667),
        (1000, math.inf, 0.0, 0.5),
    ],
)
def test_what_cannot_be_learned_by_heart_need_not_be_forgotten(steps: int, examples: float, targets: float, expected: float):
    """Seen ten times: all of it, up to 0.6 targets to a weight; seen once, or with sixty targets to a weight: a tenth."""
    plan = Plan({"steps": steps, "batch": 32, "batches": "shuffle"})
    choose_update(plan, MLP, 2.4e6)
    choose_descent(plan, examples, targets)
    assert plan["muon.weight_decay"] == pytest.approx(expected, abs=1e-3)


def test_an_update_that_the_user_named_keeps_its_usual_decay():
    plan = Plan({"update": "adamw", "steps": 100, "batches": "shuffle"})
    choose_descent(plan)
    assert "adamw.weight_decay" not in plan
    plan = Plan({"split.matrix": "soap", "steps": 100, "batches": "shuffle"})
    choose_update(plan, MLP, 2.4e6)
    choose_descent(plan)
    assert "muon.weight_decay" not in plan, "a part that is not used has no options"
    check_names(plan)


def test_an_update_that_was_named_stays_and_options_of_adamw_name_it():
    plan = Plan({"update": "sgd"})
    choose_update(plan, MLP, 1e6)
    assert plan.choices["update"].by == "user"
    assert plan["update"] == "sgd"
    plan = Plan({"adamw.weight_decay": 0.1})
    choose_update(plan, MLP, 1e6)
    assert plan["update"] == "adamw"
    for options in ({"muon.weight_decay": 0.1}, {"muon.weight_decay": 0.1, "adamw.weight_decay": 0.2}, {"split.matrix": "soap"}):
        plan = Plan(options | {"steps": 1000, "batches": "shuffle"})
        choose_update(plan, MLP, 1e3)
        choose_descent(plan)
        check_names(plan)
        assert plan["update"] == "split", "AdamW is a part of it"
        assert all(plan[name] == value for name, value in options.items())


def test_the_arithmetic_of_the_updates_is_that_of_their_products():
    """Counted by torch, in the steps as they are taken."""
    from torch.utils.flop_counter import FlopCounterMode

    from gradlearn.polar import orthogonalise_

    for shape in ((96, 128), (32, 400)):
        with FlopCounterMode(display=False) as counter:
            orthogonalise_(torch.randn(1, *shape), ITERATIONS, "polar_express")
        assert orthogonalising(shape) == pytest.approx(counter.get_total_flops(), rel=0.15)
        weight = nn.Parameter(torch.randn(shape))
        update = SOAP([weight])
        weight.grad = torch.randn(shape)
        update.step()
        with FlopCounterMode(display=False) as counter:
            update.step()
        statistics = 2 * math.prod(shape) * sum(shape)  # baddbmm_, which torch's counter does not know
        products = turning(shape) - 0.8 * sum(n**3 for n in shape)
        assert products == pytest.approx(counter.get_total_flops() + statistics, rel=0.01)
