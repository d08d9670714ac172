"""What is chosen for pictures: by their number and size and the passes there is time for; what the user says stays."""

from __future__ import annotations

from typing import Any

import pytest

from gradlearn.errors import InputTrouble
from gradlearn.picture_plan import (
    LITTLE,
    LONG,
    LOOKED,
    SHORT,
    TURN,
    WIDE,
    WIDER,
    WIDTHS,
    About,
    choose,
    choose_augmentation,
    choose_decay,
    choose_size,
    choose_size_in,
    choose_views,
    enough,
    reduce_size_in,
    usual,
)
from gradlearn.plan import Plan, choose_descent, usual_decay

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
        assert at(passes, width) >= enough(width) or width == WIDTHS[0]
        assert all(at(passes, w) < enough(w) for w in WIDTHS if w > width)


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


@pytest.mark.parametrize("user", [{"model": "resnet"}, {"resnet.precision": "float32"}, {"resnet.depth": 3}])
def test_whoever_gave_an_option_of_the_resnet_has_one_whatever_the_time(user):
    plan = Plan({"device": "cpu"} | user)
    choose(plan, CIFAR)
    choose_size_in(plan, CIFAR, 1.0, 1e-3, cost)
    assert (plan["model"], plan["resnet.width"]) == ("resnet", WIDTHS[0])
    assert all(plan[name] == value for name, value in user.items())


def test_pictures_are_moved_further_and_covered_in_long_runs_of_wide_networks_alone():
    for model, width, epochs, cutout, shift in (
        ("resnet", WIDE, LONG, 8, 4),
        ("resnet", WIDE, LONG - 1, None, 2),
        ("resnet", 48, 50, None, 2),
        ("convnet", 64, 50, None, 2),
    ):
        plan = Plan({"model": model, f"{model}.width": width})
        choose_augmentation(plan, CIFAR, epochs)
        assert (plan.get("cutout"), plan["shift"]) == (cutout, shift)
    plan = Plan({"model": "resnet", "resnet.width": 64, "cutout": 0, "shift": 1})
    choose_augmentation(plan, CIFAR, 50)
    assert (plan["cutout"], plan["shift"]) == (0, 1)


def test_a_network_that_is_slower_than_expected_is_narrowed_until_it_has_passes_enough():
    for factor, widths in ((1.0, [96]), (0.81, [96]), (0.79, [96, 80]), (0.5, [96, 80, 64]), (0.01, [96, 80, 64, 48, 32])):
        plan, seen = Plan({"model": "resnet"}), []
        plan.choose("resnet.width", 96, "as tried", "measured")
        plan.choose("resnet.activation", "gelu", "as usual")
        again = True
        while again:
            width = plan["resnet.width"]
            seen.append(width)
            pace = 1e-3 * width / 96  # half the width, half the time
            again = reduce_size_in(plan, CIFAR, factor * enough(96) * CIFAR.n * 1e-3, pace)
        assert seen == widths
        assert plan.get("resnet.activation") == ("gelu" if widths[-1] >= WIDE else None)


@pytest.mark.parametrize("by", ["user", "data"])
def test_a_width_of_the_user_or_of_weights_to_begin_with_stays_however_slow(by):
    plan = Plan({"model": "resnet"})
    plan.choose("resnet.width", 96, "as given", by)
    assert reduce_size_in(plan, CIFAR, 1.0, 1e-3) is False
    assert plan["resnet.width"] == 96


@pytest.mark.parametrize("n", [1_000, 20_000])
def test_rate_x_decay_is_the_same_in_every_long_run_and_the_usual_in_shorter_ones(n):
    about, found = About(n, (32, 32, 3), False, False), {}
    for steps in (500, 1_000, 1_500, 5_000, 20_000, 80_000):
        plan = Plan({"batch": 128})
        plan.choose("update", "split", "as usual")
        choose_decay(plan, about, steps * 128 / n)
        plan.choose("steps", steps, "as tried")
        choose_descent(plan, n)
        found[steps] = plan["lr"] * plan["muon.weight_decay"]
        assert plan["muon.weight_decay"] >= usual_decay("muon", steps, n) - 1e-4
        assert plan["adamw.weight_decay"] == pytest.approx(usual_decay("adamw", steps, n), abs=1e-4)
    assert [found[k] for k in (5_000, 20_000, 80_000)] == pytest.approx([TURN] * 3, rel=0.01)
    assert found[500] > found[1_000] > found[1_500] > 0.99 * TURN


@pytest.mark.parametrize("user", [{"update": "split"}, {"lr": 0.003}, {"muon.weight_decay": 0.1}, {"update": "adamw"}])
def test_the_decay_of_a_long_run_is_left_alone_where_the_user_chose_decay_rate_or_update(user):
    plan = Plan({"batch": 128} | user)
    plan.choose("update", "split", "as usual")
    choose_decay(plan, CIFAR, 40)
    assert plan.get("muon.weight_decay") == user.get("muon.weight_decay")


@pytest.mark.parametrize(
    ("n", "epochs", "chosen"), [(10**7, 1.9, False), (10**7, 2.0, True), (999, 2000.0, False), (1000, 2000.0, True)]
)
def test_pictures_seen_less_than_twice_and_very_few_have_the_usual_decay(n, epochs, chosen):
    plan = Plan({"batch": 128})
    plan.choose("update", "split", "as usual")
    choose_decay(plan, About(n, (32, 32, 3), False, False), epochs)
    assert ("muon.weight_decay" in plan) is chosen


def test_weights_that_a_run_begins_with_are_not_forgotten_faster_in_a_longer_one():
    plan = Plan({"batch": 128})
    plan.choose("update", "split", "as usual")
    choose_decay(plan, About(45_000, (32, 32, 3), False, begun=True), 40)
    assert "muon.weight_decay" not in plan


def test_moved_pictures_are_scored_where_there_are_epochs_enough_and_half_as_far_as_they_are_moved_in_training():
    for shift, epochs, expected in ((2, LOOKED, 1), (2, LOOKED - 1, 0), (1, 50, 0), (5, 50, 2), (0, 50, 0)):
        plan = Plan({"shift": shift, "mirror": True})
        choose_views(plan, epochs)
        assert (plan["shift_score"], plan["mirror_score"]) == (expected, True)


def test_an_unknown_network_is_refused_by_name():
    with pytest.raises(InputTrouble, match="--model resnett: no network for pictures; did you mean 'resnet'"):
        choose(Plan({"model": "resnett", "device": "cpu"}), CIFAR)
