"""Grow: batch, rate and end turn together, so that as many examples are seen."""

from __future__ import annotations

from typing import Any

import pytest

from gradlearn.care import perform
from gradlearn.errors import InputTrouble
from gradlearn.remedy.grow import Grow
from gradlearn.symbols import Controls, Finding, History
from toys import Line, descent


def finding(t: int = 49, batch: int = 32, noise: float = 900.0) -> Finding:
    return Finding(t, "noise floor", "info", "what", "why", "remedy", {"noise": noise, "batch": batch})


def test_it_doubles_the_batch_halves_what_is_left_and_scales_the_rate_by_the_root():
    batch, rate, end = Grow()(finding(), History(), Controls(end=250, rate=0.5)) or ()
    assert (batch.name, batch.dial, batch.before, batch.after) == ("turn", "batch", 32, 64)
    assert batch.why == "noise scale 900 examples: batches of 64 after 32"
    assert (rate.dial, rate.before, rate.after) == ("rate", 0.5, pytest.approx(0.5 * 2**0.5))
    assert (end.name, end.dial, end.before, end.after) == ("finish", "end", 250.0, 150.0)


@pytest.mark.parametrize(("options", "names"), [({"rate": 0.0}, ["batch", "end"]), ({"keep": "steps"}, ["batch", "rate"])])
def test_rate_and_end_may_be_kept(options: dict[str, Any], names: list[str]):
    assert [a.dial for a in Grow(**options)(finding(), History(), Controls(end=250)) or ()] == names


@pytest.mark.parametrize(
    "case",
    [
        (finding(batch=1024), 250),  # as large as it may be
        (finding(t=20), 250),  # warm-up
        (finding(t=240), 250),  # as good as over
    ],
)
def test_it_lets_well_alone(case: tuple[Finding, int]):
    assert Grow()(case[0], History(), Controls(end=case[1])) is None


def test_in_a_run_without_a_known_end_only_batch_and_rate_turn():
    assert [a.dial for a in Grow()(finding(), History(), Controls()) or ()] == ["batch", "rate"]


@pytest.mark.parametrize(
    ("options", "line"), [({"times": 1}, "times"), ({"rate": 1.5}, "rate"), ({"rate": -0.1}, "rate"), ({"keep": "time"}, "keep")]
)
def test_options_out_of_range_are_refused(options: dict[str, Any], line: str):
    with pytest.raises(InputTrouble, match=f"--grow.{line} .*: must be"):
        Grow(**options)


def test_carried_out_the_rate_goes_on_from_where_it_was_and_falls_to_zero_at_the_new_end():
    """A straight line in examples stays the straight line it was."""
    from gradlearn.step import schedule

    d = descent(Line(), 100, rate=("linear",))
    d.t = 40
    before = schedule(d.rate, d.now(), d.controls)
    for action in Grow(rate=0.0, begin=0.0)(finding(t=39, batch=8), History(), d.controls) or ():
        perform(d, action)
    assert (d.controls.batch, d.controls.end, d.now().batch) == (16, 70, 16)
    assert schedule(d.rate, d.now(), d.controls) == pytest.approx(before)
    d.t = 55
    assert schedule(d.rate, d.now(), d.controls) == pytest.approx(before / 2)
    d.t = 70
    assert schedule(d.rate, d.now(), d.controls) == 0.0
