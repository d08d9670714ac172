"""Live: what is said of a run on the way is of its steps, not of what came before them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gradlearn import live
from gradlearn.symbols import Finding, History, Score, Step


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands until it is moved."""
    now = SimpleNamespace(t=1000.0)
    monkeypatch.setattr(live.time, "monotonic", lambda: now.t)
    return now


def at(t: int, end: int = 100, history: History | None = None) -> tuple[Any, Step]:
    """A descent after step t."""
    descent = SimpleNamespace(t=t, history=history or History(), controls=SimpleNamespace(end=end))
    return descent, Step(t, 0.5, 1.0, 0.01, 32, t / 10, True, 0.0)


@pytest.mark.parametrize("first", [0, 60], ids=["a new run", "a resumed one"])
def test_time_left_is_that_of_the_steps_and_not_of_what_came_before(
    first: int, clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
):
    shown = live.Live()
    clock.t += 50.0  # preparing
    shown.show(*at(first))
    clock.t += 12.0
    shown.show(*at(first + 24))  # 0.5 s each
    one, two = capsys.readouterr().out.splitlines()
    assert one == f"step {first + 1}/100  epoch {first / 10:.2f}  loss 0.5  lr 1.00e-02", "nothing is known of its speed"
    left = 0.5 * (100 - first - 25)
    assert two.endswith(f"64 examples/s  0:{int(left):02d} left")


def test_the_first_line_knows_the_speed_of_the_steps_before_it(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]):
    shown = live.Live()
    clock.t += 9.0  # preparing
    shown.show(*at(0))
    clock.t += 2.0
    shown.show(*at(20))
    assert capsys.readouterr().out.endswith("320 examples/s  0:07 left\n")


def test_lines_come_now_and_then_and_findings_at_once(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]):
    shown, history = live.Live(), History()
    for t in range(20):
        clock.t += 1.0
        shown.show(*at(t, history=history))
    history.findings.append(Finding(20, "crawling", "warn", "it crawls", "", ""))
    history.scores.append((20, "valid", Score("accuracy", True, 0.75, {"loss": 0.25})))
    shown.show(*at(20, history=history))
    clock.t += 10.0
    shown.show(*at(21, history=history))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 10/100", "step 20/100", "warn: it crawls", "step 22/100"]
    assert "valid loss 0.25  valid accuracy 75.00%" in lines[-1]


def test_a_quiet_display_says_warnings_only(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]):
    shown = live.Live(quiet=True)
    clock.t += 60.0
    shown.show(*at(0))
    shown.say("a line")
    shown.say("warning: the disk is nearly full")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "warning: the disk is nearly full\n")
