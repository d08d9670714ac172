"""What is chosen for pictures: by their number and size and the passes there is time for; what the user says stays."""

from __future__ import annotations

from typing import Any

import pytest

from gradlearn.errors import InputTrouble
from gradlearn.picture_plan import (
    LITTLE,
    LOOKED,
    PASSES,
    SHORT,
    WIDER,
    WIDTHS,
    About,
    choose,
    choose_augmentation,
    choose_size,
    choose_size_in,
    choose_views,
    usual,
)
from gradlearn.plan import Plan

CIFAR = About(45_000, (32, 32, 3), few=False, begun=False)


def cost(name: str, width: int) -> float:
    """Quadratic, and a convnet's a tenth."""
    return (0.1 if name == "convnet" else 1.0) * width**2


def sized(passes: float, about: About = CIFAR, **user: Any) -> Plan:
    """The plan for a time of so many passes at the usual width."""
    plan = Plan({"model": "resnet", "batch": 128} | user)
    choose_size_in(plan, about, passes * about.n * 1e-3, 1e-3, cost)
    return plan


def at(passes: float, width: int) -> float:
    """Passes at this width."""
    return passes * (cost("resnet", 32) / cost("resnet", width)) ** WIDER


def test_the_widest_network_that_sees_the_pictures_often_enough_is_taken():
    for passes in (3.0, 5.0, 8.0, 16.0, 40.0, 100.0, 1000.0):
        width = sized(passes)["resnet.width"]
        assert at(passes, width) >= PASSES * width or width == WIDTHS[0]
        assert all(at(passes, w) < PASSES * w for w in WIDTHS if w > width)


def test_few_pictures_have_no_wide_network_whatever_the_time():
    widths = [sized(1e5, About(n, (32, 32, 3), False, False))["resnet.width"] for n in (4_999, 5_000, 19_999, 20_000)]
    assert widths == [32, 64, 64, 96]


def test_small_pictures_come_first_in_short_runs_alone():
    for passes in (3.0, 5.0, 8.0, 16.0, 100.0):
        plan = sized(passes)
        assert plan["progressive"] is (at(passes, plan["resnet.width"]) < SHORT)
        assert plan.choices["progressive"].by == "plan"
    assert sized(3.0, progressive=False)["progressive"] is False
    assert sized(100.0, progressive=True)["progressive"] is True
    assert sized(3.0, About(45_000, (23, 23, 3), False, False))["progressive"] is False, "too small for it"
    for epochs, first in ((SHORT - 1, True), (SHORT, False)):
        plan = Plan({"model": "resnet", "resnet.width": 32})
        choose_augmentation(plan, CIFAR, epochs)
        assert plan["progressive"] is first


def test_the_pace_is_measured_on_full_pictures_where_their_size_is_open():
    assert usual(Plan({"model": "resnet"})) == {"model": "resnet", "resnet.width": 32, "progressive": False}
    assert usual(Plan({"model": "resnet", "progressive": True})) == {"model": "resnet", "resnet.width": 32}


def test_a_wide_network_has_gelu_unless_it_begins_with_weights_or_the_user_says_relu():
    for width, begun, user, expected in (
        (48, False, {}, None),
        (64, False, {}, "gelu"),
        (64, True, {}, None),
        (96, False, {"resnet.activation": "relu"}, "relu"),
    ):
        plan = Plan({"model": "resnet", "resnet.width": width} | user)
        about = About(45_000, (32, 32, 3), False, begun)
        choose_size(plan, about)
        assert plan.get("resnet.activation") == expected
        choose_size_in(plan, about, 1e5, 1e-3, cost)
        assert (plan.get("resnet.activation"), plan["resnet.width"]) == (expected, width)


def test_without_time_for_the_smallest_resnet_a_convnet_is_taken_unless_the_user_named_it():
    narrow = LITTLE / at(1.0, WIDTHS[0])  # passes at width 32 that are just enough
    plan = Plan({"batch": 128, "device": "cpu"})
    choose(plan, CIFAR)
    choose_size_in(plan, CIFAR, 0.99 * narrow * CIFAR.n * 1e-3, 1e-3, cost)
    assert plan["model"] == "convnet"
    assert plan["convnet.width"] in WIDTHS
    assert "resnet.precision" not in plan
    assert plan["progressive"] is False
    assert sized(0.99 * narrow)["model"] == "resnet"


def test_parts_are_covered_in_long_runs_of_wide_networks_alone():
    for model, width, epochs, cutout in (
        ("resnet", 64, 20, 8),
        ("resnet", 64, 19, None),
        ("resnet", 48, 50, None),
        ("convnet", 64, 50, None),
    ):
        plan = Plan({"model": model, f"{model}.width": width})
        choose_augmentation(plan, CIFAR, epochs)
        assert plan.get("cutout") == cutout
    plan = Plan({"model": "resnet", "resnet.width": 64, "cutout": 0})
    choose_augmentation(plan, CIFAR, 50)
    assert plan["cutout"] == 0


def test_moved_pictures_are_scored_where_there_are_epochs_enough_and_half_as_far_as_they_are_moved_in_training():
    for shift, epochs, expected in ((2, LOOKED, 1), (2, LOOKED - 1, 0), (1, 50, 0), (5, 50, 2), (0, 50, 0)):
        plan = Plan({"shift": shift, "mirror": True})
        choose_views(plan, epochs)
        assert (plan["shift_score"], plan["mirror_score"]) == (expected, True)


def test_an_unknown_network_is_refused_by_name():
    with pytest.raises(InputTrouble, match="--model resnett: no network for pictures; did you mean 'resnet'"):
        choose(Plan({"model": "resnett", "device": "cpu"}), CIFAR)
