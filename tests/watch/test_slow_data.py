"""Slow data: waiting is told from computing, by the clock, once."""

from __future__ import annotations

from typing import Any

import pytest

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Step
from gradlearn.watch import slow_data
from gradlearn.watch.slow_data import SlowData


def said(monkeypatch: pytest.MonkeyPatch, waits: float, step: float, busy: float = 1.0, **options: Any) -> list[Finding]:
    """A run whose steps take so many seconds, of which so many are waited."""
    clock = [100.0]
    monkeypatch.setattr(slow_data.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(slow_data.time, "process_time", lambda: clock[0] * busy)
    check, history, nothing = SlowData(**options), History(), object()
    for t in range(200):
        clock[0] += step
        history.waited += waits
        history.add(Step(t, 1.0, 1.0, 0.1, 32, 0.0, True, step))
        if (t + 1) % check.every == 0:
            check.measure(history.last, nothing, nothing)  # type: ignore[arg-type]
            if finding := check.judge(history):
                history.findings.append(finding)
    return history.findings


@pytest.mark.parametrize(("waits", "heard"), [(0.0, False), (0.003, False), (0.0039, False), (0.0041, True), (0.009, True)])
def test_it_speaks_once_above_two_fifths(monkeypatch: pytest.MonkeyPatch, waits: float, heard: bool):
    findings = said(monkeypatch, waits, 0.01)
    assert len(findings) == heard
    if heard:
        assert findings[0].evidence["share"] == pytest.approx(waits / 0.01)
        assert findings[0].t == 74, "the first look only begins to count"


def test_examples_in_memory_are_never_slow(monkeypatch: pytest.MonkeyPatch):
    assert said(monkeypatch, 0.0003, 0.0004) == []
    assert said(monkeypatch, 0.0009, 0.001) != []
    assert said(monkeypatch, 0.0009, 0.001, busy=0.1) == [], "a crowded machine makes everything slow"
    assert said(monkeypatch, 0.009, 0.01, busy=0.01) != [], "it sleeps"


def test_the_share_and_the_steps_can_be_set(monkeypatch: pytest.MonkeyPatch):
    assert said(monkeypatch, 0.005, 0.01, most=0.6) == []
    assert said(monkeypatch, 0.005, 0.01, steps=100, most=0.3) != []
    with pytest.raises(InputTrouble, match=r"--slow_data\.most 1"):
        SlowData(most=1.0)
    with pytest.raises(InputTrouble, match=r"--slow_data\.steps 2"):
        SlowData(steps=2)
