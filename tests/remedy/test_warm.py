"""Warm: a rate that crawls is raised, never beyond what has gone wrong."""

from __future__ import annotations

import pytest

from gradlearn.errors import InputTrouble
from gradlearn.loop import train
from gradlearn.plan import Plan, choose_descent
from gradlearn.remedy.warm import Warm
from gradlearn.symbols import Action, Controls, Finding, History
from toys import Line, descent


def crawling(factor: float = 3.0) -> Finding:
    return Finding(40, "crawling", "warn", "what", "why", "do", {"factor": factor})


@pytest.mark.parametrize(("factor", "after"), [(3.0, 3.0), (30.0, 10.0)])
def test_the_dial_is_raised_by_the_measured_factor_ten_times_at_most(factor: float, after: float):
    (action,) = Warm()(crawling(factor), History(), Controls()) or ()
    assert (action.name, action.dial, action.before, action.after) == ("warm", "rate", 1.0, after)


def test_not_beyond_ten_thousand_in_all():
    (action,) = Warm()(crawling(10.0), History(), Controls(rate=5e3)) or ()
    assert action.after == 1e4
    assert Warm()(crawling(10.0), History(), Controls(rate=1e4)) is None


def test_not_beyond_half_of_what_went_wrong():
    history = History()
    history.actions.append(Action(90, "revert", "why", "rate", 10.0, 3.0))
    (action,) = Warm()(crawling(10.0), history, Controls(rate=3.0)) or ()
    assert action.after == 5.0
    assert Warm()(crawling(10.0), history, Controls(rate=5.0)) is None


def test_at_once_to_the_plans_own_rate_where_that_is_known_and_the_rate_surely_too_low():
    (action,) = Warm(usual=1000.0)(crawling(200.0), History(), Controls()) or ()
    assert action.after == 1000.0
    (action,) = Warm(usual=1000.0)(crawling(3.0), History(), Controls()) or ()
    assert action.after == 3.0
    (action,) = Warm(usual=1000.0)(crawling(3.0), History(), Controls(rate=1000.0)) or ()
    assert action.after == 3000.0, "it crawls there too"
    (action,) = Warm(usual=1000.0)(crawling(30.0), History(), Controls(rate=1000.0)) or ()
    assert action.after == 1e4


def test_the_plan_says_how_far_below_its_own_a_given_rate_lies():
    own = Plan({"steps": 400})
    choose_descent(own)
    assert "warm.usual" not in own
    given = Plan({"steps": 400, "lr": own["lr"] / 1000})
    choose_descent(given)
    assert given["warm.usual"] == pytest.approx(1000.0)
    near = Plan({"steps": 400, "lr": own["lr"] / 5})
    choose_descent(near)
    assert "warm.usual" not in near


@pytest.mark.parametrize("options", [{"times": 1.0}, {"most": 0.5}, {"usual": -1.0}])
def test_options_out_of_range_are_refused(options: dict[str, float]):
    with pytest.raises(InputTrouble, match="--warm"):
        Warm(**options)


class Says:
    """A check that finds the rate too low, once."""

    every, cost = 20, 0.0

    def measure(self, *_: object) -> None: ...

    def judge(self, history: History) -> Finding | None:
        return crawling(100.0) if len(history.loss) == 40 else None


def test_a_run_a_thousand_times_too_slow_arrives():
    ends = {}
    for name, remedies in (("warm", [Warm(usual=1000.0)]), ("none", [])):
        d = descent(Line(), 400, rate=("constant",))
        d.checks, d.remedies = [Says()], remedies  # type: ignore[list-item]
        for group in d.update.param_groups:
            group["initial_lr"] = 1e-5
        list(train(d))
        assert d.history.lr[39:41] == ([1e-5, pytest.approx(1e-2)] if remedies else [1e-5, 1e-5])
        ends[name] = sum(d.history.loss[-40:]) / 40
    assert ends["warm"] < 0.5 * ends["none"]
