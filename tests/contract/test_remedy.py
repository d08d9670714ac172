"""Every remedy: answers its own findings only, with actions that the loop knows, and changes nothing itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gradlearn.errors import InputTrouble
from gradlearn.find import find, names
from gradlearn.plan import Plan, choose_descent
from gradlearn.run import remedies_of
from gradlearn.symbols import Action, Controls, Finding, History, Score, Step

NAMES = names("remedy")
ACTIONS = {"skip", "rewind", "turn", "finish", "stop", "clip", "restore", "revert", "recover"}
ACTIONS |= {"warm", "restart", "settle", "escape"}
KNOWN = {"non-finite", "diverged", "unstable", "crawling", "noise floor", "plateau", "saddle", "minimum", "underfit", "overfit"} | {
    "dead units", "saturated units", "vanishing", "exploding", "data fault", "precision fault", "slow data",
}  # fmt: skip
KINDS = {"data fault": "outlier batch", "precision fault": "update state"}  # what a finding's evidence must say to be answered


def finding(name: str, in_a_row: int = 1, t: int = 9) -> Finding:
    return Finding(
        t,
        name,
        "alarm",
        f"step {t}: trouble",
        "a cause",
        "what to do",
        {"in_a_row": in_a_row, "examples": [3, 4], "noise": 4096.0, "batch": 32, "factor": 5.0, "kind": KINDS.get(name, "")},
    )


def history(rewinds: int = 0) -> History:
    h = History()
    for t in range(10):
        h.add(Step(t, 1.0, 1.0, 0.1, 8, 0.0, True, 0.0))
    for t in range(1, 11):  # a look after each step: it learns by heart
        for split, loss in (("train", 0.05), ("valid", 0.5 if t == 1 else 0.6)):
            h.scores.append((t, split, Score("loss", False, loss, {"loss": loss})))
    h.actions += [Action(t, "rewind", "why") for t in range(rewinds)]
    return h


def answered(remedy: Any) -> list[tuple[Finding, list[Action]]]:
    cases = [(finding(name, row), history(rewinds)) for name in remedy.answers for row in (1, 5) for rewinds in (0, 2, 9)]
    given = [(f, remedy(f, h, Controls(bound=0.5))) for f, h in cases]
    return [(f, list(a)) for f, a in given if a]


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_its_findings_with_known_actions(name: str):
    given = answered(find("remedy", name)())
    assert given, "never answers"
    for f, actions in given:
        for action in actions:
            assert action.name in ACTIONS
            assert action.t == f.t
            assert action.why
            assert "\n" not in action.why
            assert action.by == "watch"
            if action.name in ("turn", "stop", "warm", "restart", "revert"):
                assert action.dial in Controls.__slots__
                assert action.after is not None
                assert action.before == (getattr(Controls(), action.dial) or f.evidence.get(action.dial))


@pytest.mark.parametrize("name", NAMES)
def test_it_decides_and_does_nothing_itself(name: str):
    remedy = find("remedy", name)()
    for f in (finding(n) for n in remedy.answers):
        controls, h = Controls(rate=0.5, end=40), history(1)
        before = (copy.deepcopy(controls), list(h.actions), list(h.findings), list(h.loss))
        first = remedy(f, h, controls)
        assert remedy(f, h, controls) == first, "the same question, the same answer"
        assert (controls, h.actions, h.findings, h.loss) == before


@pytest.mark.parametrize("name", NAMES)
def test_it_names_the_findings_it_answers(name: str):
    answers = find("remedy", name)().answers
    assert isinstance(answers, tuple)
    assert answers
    assert set(answers) <= KNOWN, "a new finding: is it in the watch's vocabulary?"


def test_the_loop_asks_a_remedy_for_its_own_findings_only():
    from gradlearn.care import look
    from toys import Line, descent

    class Says:
        every, cost = 1, 0.0

        def measure(self, *_: object) -> None: ...

        def judge(self, _: History) -> Finding:
            return finding("overfit")

    class Eager:
        answers = ("diverged",)

        def __call__(self, *_: object) -> list[Action]:
            raise AssertionError("asked about a finding that it does not answer")

    d = descent(Line(), 5)
    d.checks, d.remedies = [Says()], [Eager(), *d.remedies]  # type: ignore[list-item]
    look(d, Step(0, 1.0, 1.0, 0.1, 8, 0.0, True, 0.0), None)
    assert [f.name for f in d.history.findings] == ["overfit"]
    assert d.history.actions == []


def test_the_first_remedy_with_an_answer_is_the_only_one():
    from gradlearn.care import look
    from toys import Line, descent

    class Says:
        every, cost = 1, 0.0

        def measure(self, *_: object) -> None: ...

        def judge(self, _: History) -> Finding:
            return finding("non-finite", 1)

    d = descent(Line(), 5)
    d.checks = [Says()]  # type: ignore[list-item]
    look(d, Step(0, 1.0, 1.0, 0.1, 8, 0.0, True, 0.0), None)
    assert [a.name for a in d.history.actions] == ["skip"]


def test_skip_names_the_examples_and_gives_up_at_the_third_in_a_row():
    skip = find("remedy", "skip")()
    for row in (1, 2):
        (action,) = skip(finding("non-finite", row), history(), Controls())
        assert action.name == "skip"
        assert "examples 3, 4" in action.why
    assert skip(finding("non-finite", 3), history(), Controls()) is None
    assert find("remedy", "skip")(row=1)(finding("non-finite", 1), history(), Controls()) is None


def test_rewind_cools_and_is_limited():
    rewind = find("remedy", "rewind")()
    back, turn = rewind(finding("diverged", t=900), history(3), Controls(rate=0.25))
    assert back.name == "rewind"
    assert (turn.name, turn.dial, turn.before, turn.after) == ("turn", "rate", 0.25, 0.125)
    assert rewind(finding("diverged"), history(4), Controls()) is None
    assert find("remedy", "rewind")(most=1)(finding("diverged"), history(1), Controls()) is None
    (_, turn) = find("remedy", "rewind")(cool=0.1)(finding("diverged"), history(), Controls())
    assert turn.after == pytest.approx(0.1)


@pytest.mark.parametrize("cool", [0.0, 1.0, -1.0, 2.0])
def test_a_factor_that_does_not_cool_is_refused(cool: float):
    with pytest.raises(InputTrouble, match=r"--rewind.cool .*: must be in \(0, 1\)"):
        find("remedy", "rewind")(cool=cool)


def test_stop_ends_with_code_three_and_good_weights():
    stop = find("remedy", "stop")()
    (end,) = stop(finding("non-finite"), history(), Controls())
    assert (end.name, end.dial, end.after) == ("stop", "stop", 3)
    back, end = stop(finding("non-finite"), history(4), Controls())
    assert (back.name, end.name, end.after) == ("rewind", "stop", 3)
    assert "diverged" not in stop.answers, "finite numbers may come back: they are said, and end no run"


def test_a_run_asks_stop_last_and_with_act_off_only_stop_for_non_finite_numbers():
    plan = Plan({"steps": 10})
    choose_descent(plan)
    orders = [r.order for r in remedies_of(plan)]
    assert orders == sorted(set(orders)), "each has a place of its own"
    assert [type(r).__name__ for r in remedies_of(plan)][:3] == ["Skip", "Clip", "Rewind"]
    assert type(remedies_of(plan)[-1]).__name__ == "Stop"
    plan = Plan({"steps": 10, "act": False})
    choose_descent(plan)
    (only,) = remedies_of(plan)
    assert type(only).__name__ == "Stop"
    assert only.answers == ("non-finite",)
