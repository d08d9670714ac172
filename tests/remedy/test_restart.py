"""Restart: once more up, and back; twice, early, and never after trouble."""

from __future__ import annotations

import pytest

from gradlearn.errors import InputTrouble
from gradlearn.remedy.restart import Restart
from gradlearn.symbols import Action, Controls, Finding, History, Step


def plateau(t: int = 199) -> Finding:
    return Finding(t, "plateau", "warn", "what", "why", "do", {})


def steps(history: History, n: int) -> None:
    for t in range(len(history.loss), len(history.loss) + n):
        history.add(Step(t, 1.0, 1.0, 0.1, 8, 0.0, True, 0.0))


def test_the_rate_rises_and_falls_back_to_what_it_was():
    history, controls = History(), Controls(rate=0.8, end=1000)
    steps(history, 200)
    (action,) = Restart()(plateau(), history, controls) or ()
    assert (action.name, action.dial, action.before, action.after) == ("restart", "rate", 0.8, 2.0)
    history.actions.append(action)
    controls.rate = 2.0
    seen = []
    for _ in range(4):
        steps(history, 50)
        for turn in Restart().onward(history, controls):
            assert turn.name == "settle"
            history.actions.append(turn)
            controls.rate = turn.after or 0.0
        seen.append(controls.rate)
    assert 0.8 < seen[0] < 2.0
    assert seen[2:] == [pytest.approx(0.8)] * 2


def test_at_most_twice_and_not_at_the_end_nor_after_trouble():
    history = History()
    assert Restart()(plateau(850), history, Controls(end=1000)) is None
    history.actions += [Action(10, "restart", "why", "rate", 1.0, 2.5), Action(300, "restart", "why", "rate", 1.0, 2.5)]
    assert Restart()(plateau(600), history, Controls(end=1000)) is None
    assert Restart(most=3)(plateau(600), history, Controls(end=1000))
    assert Restart(most=3)(plateau(350), history, Controls(end=1000)) is None, "the last one is not over"
    troubled = History()
    troubled.actions.append(Action(100, "rewind", "why"))
    assert Restart()(plateau(), troubled, Controls(end=1000)) is None


def test_who_turns_the_rate_in_between_ends_the_fall():
    history = History()
    steps(history, 300)
    history.actions += [Action(250, "restart", "why", "rate", 1.0, 2.5), Action(280, "turn", "why", "rate", 2.5, 1.25)]
    assert list(Restart().onward(history, Controls(rate=1.25, end=1000))) == []


@pytest.mark.parametrize("options", [{"times": 1.0}, {"length": 0.0}, {"left": 1.0}])
def test_options_out_of_range_are_refused(options: dict[str, float]):
    with pytest.raises(InputTrouble, match="--restart"):
        Restart(**options)  # pyright: ignore[reportArgumentType]
