"""Jump: hears damage done at once, within a window, and is deaf to what a healthy run does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Action, Finding, History, Step
from gradlearn.watch.jump import Jump


def heard(loss: Callable[[int], float], steps: int = 400, history: History | None = None) -> list[Finding]:
    check, told, said = Jump(), history or History(), []
    for t in range(len(told.loss), steps):
        x = loss(t)
        told.add(Step(t, x, 1.0, 0.1, 32, 0.0, x == x, 0.0))
        if (t + 1) % check.every == 0 and (finding := check.judge(told)):
            said.append(finding)
            told.findings.append(finding)
    return said


def noisy(seed: int) -> Callable[[int], float]:
    """Losses of small batches: they fall, and have a long tail."""
    tail = np.exp(0.8 * np.random.default_rng(seed).standard_normal(2000))
    return lambda t: (2.0 * 0.985**t + 0.05) * float(tail[t])


@pytest.mark.parametrize("at", [93, 150, 201, 257, 333])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_hears_a_jump_within_fifteen_steps_and_says_where_it_was(at: int, seed: int):
    usual = noisy(seed)
    said = heard(lambda t: usual(t) + (6.0 if t >= at else 0.0))
    assert said[0].name == "unstable"
    assert at + 7 <= said[0].t <= at + 15
    assert at - 3 <= said[0].evidence["onset"] <= at


@pytest.mark.parametrize("seed", range(40))
def test_it_is_deaf_to_long_tails(seed: int):
    assert heard(noisy(seed), 1500) == []


def test_it_is_deaf_to_single_hard_batches_and_to_a_loss_that_creeps_up():
    usual = noisy(3)
    assert heard(lambda t: usual(t) * (100.0 if t % 13 == 0 else 1.0)) == []
    assert heard(lambda t: 1.0 + 0.01 * np.sin(12.9 * t) + 1e-4 * t) == []


def test_what_a_rewind_has_undone_is_not_what_it_compares_with():
    told = History()
    usual = noisy(4)
    for t in range(220):
        told.add(Step(t, usual(t) + (6.0 if t >= 200 else 0.0), 1.0, 0.1, 32, 0.0, True, 0.0))
    told.actions.append(Action(219, "rewind", "why", "t", 220.0, 200.0))
    assert heard(lambda t: usual(t) + 6.0, 235, told), "it is there again"
    assert told.findings[0].t <= 232


def test_it_says_so_once_while_nobody_acts():
    usual = noisy(5)
    assert len(heard(lambda t: usual(t) + (6.0 if t >= 200 else 0.0), 240)) == 1


def test_losses_that_are_no_numbers_count_as_high():
    usual = noisy(6)
    assert heard(lambda t: usual(t) if t < 200 else (float("nan") if t % 2 else 9.0))


@pytest.mark.parametrize("options", [{"window": 4}, {"before": 10}, {"spreads": 0.5}])
def test_options_out_of_range_are_refused(options: dict[str, float]):
    with pytest.raises(InputTrouble, match="--jump"):
        Jump(**options)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("factor", "rise", "turned", "said"), [
    (100.0, 0.3, False, True), (100.0, 0.0, False, False), (5.0, 0.3, False, False), (100.0, 0.3, True, False),
])  # fmt: skip
def test_a_rate_that_leaps_is_named_at_a_rise_that_a_loss_alone_would_not_tell(
    factor: float, rise: float, turned: bool, said: bool
):
    """A schedule that is wrong for a step; not where nothing came of it, the leap is none, or a remedy has raised the rate."""
    history, check, found = History(), Jump(), []
    if turned:
        history.actions.append(Action(99, "warm", "why", "rate", 1.0, factor))
    for t in range(140):
        loss = 1.0 + 0.2 * (((37 * t) % 11) / 5 - 1.0) + (rise if t > 100 else 0.0)
        lr = 0.1 * (factor if t == 100 or (turned and t > 100) else 1.0)
        history.add(Step(t, loss, 1.0, lr, 32, 0.0, True, 0.0))
        if (t + 1) % check.every == 0 and (finding := check.judge(history)) is not None:
            found.append(finding)
            history.findings.append(finding)
    assert bool(found) is said
    if said:
        assert [f.evidence["onset"] for f in found] == [100]
        assert found[0].t <= 110
