"""Care: which checks are asked when, which remedy answers, and what is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from gradlearn import fit
from gradlearn.care import look, look_around, perform
from gradlearn.errors import InputTrouble
from gradlearn.find import names
from gradlearn.loop import Cadence, train
from gradlearn.plan import Plan, choose_care
from gradlearn.run import checks_of, remedies_of
from gradlearn.symbols import Action, Controls, Finding, History, Step
from toys import Line, descent


class Notes:
    """A check that writes down when it was asked."""

    cost = 0.0

    def __init__(self, when: str = "during", every: int = 1, name: str = "") -> None:
        self.when, self.every, self.name = when, every, name
        self.asked: list[int] = []

    def measure(self, step: Step, theta: Any, objective: Any) -> None:
        self.asked.append(step.t)

    def judge(self, history: History) -> Finding | None:
        return Finding(self.asked[-1], self.name, "warn", "what", "why", "remedy") if self.name else None


class Answers:
    """A remedy that turns the rate, and does more than that."""

    def __init__(self, *answers: str, by: float = 2.0) -> None:
        self.answers, self.by = answers, by
        self.enacted: list[str] = []
        self.renewed: list[int] = []

    def __call__(self, finding: Finding, history: History, controls: Controls) -> Sequence[Action]:
        return [Action(finding.t, "turn", "because", "rate", controls.rate, controls.rate * self.by)]

    def enact(self, action: Action, theta: Any, objective: Any, update: Any) -> Action:
        self.enacted.append(action.name)
        return action._replace(why="done") if hasattr(action, "_replace") else Action(action.t, action.name, "done")

    def renew(self, history: History, controls: Controls) -> None:
        self.renewed.append(len(history.loss))


def run(checks: Sequence[Any], remedies: Sequence[Any] = (), steps: int = 20, **cadence: int) -> Any:
    d = descent(Line(), steps, cadence=Cadence(**cadence))
    d.checks, d.remedies = list(checks), list(remedies)
    d.valid = d.sample = d.data
    list(train(d))
    return d


def test_each_check_is_asked_at_its_own_time():
    before, during, scored, after = Notes("before"), Notes(every=5), Notes("scored"), Notes("after")
    run([after, scored, during, before], steps=20, score=8)
    assert before.asked == [0]
    assert during.asked == [4, 9, 14, 19]
    assert scored.asked == [7, 15, 19]
    assert after.asked == [19]


def test_a_run_that_is_gone_on_with_is_not_begun_again():
    d = descent(Line(), 20)
    before = Notes("before")
    d.checks = [before]
    for _ in train(d):
        if d.t == 5:
            break
    list(train(d))
    assert before.asked == [0]


def test_a_run_that_is_interrupted_is_not_over():
    d = descent(Line(), 20)
    after = Notes("after")
    d.checks = [after]
    for _ in train(d):
        d.interrupted = d.t == 5
    assert after.asked == []


def test_a_sample_of_the_training_data_is_scored_wherever_the_validation_data_are():
    d = run([], steps=20, score=8)
    assert [(t, split) for t, split, _ in d.history.scores] == [(t, s) for t in (8, 16, 20) for s in ("train", "valid")]


def test_a_remedy_that_does_more_than_turn_a_dial_does_it_when_its_action_is_performed():
    remedy = Answers("plateau")
    d = run([Notes(every=10, name="plateau")], [remedy], steps=20)
    assert remedy.enacted == ["turn", "turn"]
    assert d.controls.rate == 4.0
    assert [a.why for a in d.history.actions] == ["done", "done"]


def test_the_first_remedy_that_answers_is_the_only_one():
    one, two = Answers("saddle"), Answers("plateau", "saddle")
    run([Notes(every=20, name="saddle")], [one, two], steps=20)
    assert (one.enacted, two.enacted) == (["turn"], [])


def test_remedies_renew_their_bounds_at_every_snapshot():
    remedy = Answers("plateau")
    run([], [remedy], steps=25, snapshot=10)
    assert remedy.renewed == [0, 10, 20]


def test_checks_before_the_first_step_may_be_answered_too():
    d = run([Notes("before", name="plateau")], [Answers("plateau", by=0.5)], steps=5)
    assert d.controls.rate == 0.5
    assert d.history.findings[0].t == 0


def test_a_bound_of_a_remedy_holds_beside_the_one_of_the_user():
    from gradlearn.step import limit

    assert limit(Controls()) == 0.0
    assert limit(Controls(clip=2.0)) == 2.0
    assert limit(Controls(bound=3.0)) == 3.0
    assert limit(Controls(clip=2.0, bound=3.0)) == limit(Controls(clip=3.0, bound=2.0)) == 2.0


def test_an_unknown_dial_is_an_error_and_nothing_is_turned():
    d = descent(Line(), 5)
    with pytest.raises(AttributeError):
        perform(d, Action(0, "turn", "why", "speed", 1.0, 2.0))
    assert d.history.actions == []


def test_no_check_is_asked_twice_about_one_step():
    d = descent(Line(), 5)
    check = Notes()
    d.checks = [check]
    step = Step(0, 1.0, 1.0, 0.1, 8, 0.0, True, 0.0)
    look(d, step)
    look_around(d, "after")
    assert check.asked == [0]


# ---- who is in a run


def test_every_usual_check_and_remedy_is_in_a_run_in_its_order():
    plan = Plan({"steps": 10})
    choose_care(plan)
    assert {"finite", "divergence"} <= set(plan["watch"]) <= set(names("watch"))
    assert "noise" not in plan["watch"], "only with --grow"
    orders = [getattr(r, "order", 0) for r in remedies_of(plan)]
    assert orders == sorted(orders)
    assert plan["remedies"][-1] == "stop"


def test_what_the_user_does_not_want_is_left_out():
    plan = Plan({"steps": 10, "without": ["rewind", "divergence"]})
    choose_care(plan)
    assert "divergence" not in plan["watch"]
    assert "rewind" not in plan["remedies"]
    with pytest.raises(InputTrouble, match="did you mean 'rewind'"):
        choose_care(Plan({"without": ["rewnd"]}))


def test_with_no_act_only_stop_is_left():
    plan = Plan({"steps": 10, "act": False})
    choose_care(plan)
    assert plan["remedies"] == ["stop"]
    assert len(plan["watch"]) > 1


def test_a_check_that_costs_looks_seldom_enough():
    plan = Plan({"steps": 10, "grow": True})
    choose_care(plan)
    for check in checks_of(plan):
        assert (
            check.cost / max(getattr(check, "every", 1), 1) <= 0.005 or check.cost == 0.0 or getattr(check, "when", "") != "during"
        )


def test_fit_takes_names_to_leave_out():
    x, y = torch.randn(60, 3), torch.arange(60) % 2
    made = fit(torch.nn.Linear(3, 2), (x, y), steps=3, without="divergence,rewind")
    assert "divergence" not in made.settings["choice"]["watch"]["value"]
    with pytest.raises(InputTrouble, match="no check or remedy"):
        fit(torch.nn.Linear(3, 2), (x, y), steps=3, without="dvergence")


class Broken:
    """Measures, and cannot judge."""

    every, cost = 5, 0.0

    def measure(self, step: Any, theta: Any, objective: Any) -> None:
        return None

    def judge(self, history: History) -> Finding | None:
        return Finding(int(1 / (len(history.loss) - len(history.loss))), "plateau", "warn", "", "", "")


def test_a_check_that_raises_where_it_judges_is_left_out_and_the_run_goes_on():
    d = descent(Line(), 30)
    d.checks = [*d.checks, Broken()]
    with pytest.warns(RuntimeWarning, match="'test_care' cannot look at this model and is left out: division by zero"):
        steps = list(train(d))
    assert len(steps) == 30
    assert not any(isinstance(check, Broken) for check in d.checks)


def test_a_check_that_was_left_out_is_not_asked_again():
    class Broken:
        every, cost, asked = 1, 0.0, 0

        def measure(self, step: Any, theta: Any, objective: Any) -> None:
            self.asked += 1
            raise ValueError("not this model")

        def judge(self, history: Any) -> None:
            return None

    d, check = descent(Line(), 10), Broken()
    d.checks = [*d.checks, check]
    with pytest.warns(RuntimeWarning, match="cannot look at this model"):
        for _ in train(d):
            pass
    assert check.asked == 1
    assert check not in d.looking("during")
