"""Unstable: rates that lose what is learned are heard, noise and single batches are not mistaken for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradlearn
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Action, Finding, History, Step
from gradlearn.watch.unstable import Unstable


def said(losses: Any, norm: Callable[[int], float] = lambda t: 1.0, batch: int = 32) -> list[Finding]:
    """Everything that is said while this run goes by."""
    check, history = Unstable(), History()
    for t, loss in enumerate(losses):
        history.add(Step(t, float(loss), norm(t), 0.1, batch, 0.0, True, 0.0))
        if (t + 1) % check.every == 0 and (finding := check.judge(history)):
            history.findings.append(finding)
    return history.findings


def fall(steps: int = 400, noise: float = 0.2, seed: int = 0, floor: float = 0.1) -> Any:
    """A healthy run: an exponential fall, each loss times a draw of a long tail."""
    draws = np.random.default_rng(seed).lognormal(0.0, noise, steps)
    return (2.3 * 0.98 ** np.arange(steps) + floor) * draws


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("start", [2.3, 0.0], ids=["from the start", "already trained"])
def test_a_healthy_run_is_left_alone_however_noisy(noise: float, start: float):
    for seed in range(10):
        losses = fall(noise=noise, seed=seed) if start else np.random.default_rng(seed).lognormal(-2.0, noise, 400)
        assert said(losses) == []
        assert said(losses, norm=lambda t, losses=losses: losses[t], batch=4) == []


def test_a_run_thrown_back_to_its_start_is_heard_at_once():
    losses = np.concatenate([[2.3, 2.32, 2.29, 2.31, 2.3], [3.5] * 15, [2.31] * 80]) + 0.02 * np.sin(np.arange(100))
    findings = said(losses)
    assert [f.name for f in findings] == ["unstable"]
    assert findings[0].t == 39
    assert findings[0].evidence["kind"] == "lost"
    assert said(np.where(np.arange(100) < 20, losses, 1.2)) == [], "it came down: a shake"


def test_a_run_whose_gradient_was_blown_away_is_heard():
    losses = 2.3 + 0.02 * np.sin(np.arange(100))
    findings = said(losses, norm=lambda t: 0.5 if t < 3 else 3.0 if t < 10 else 0.1)
    assert [(f.name, f.evidence["kind"]) for f in findings] == [("unstable", "thrown")]
    assert said(losses, norm=lambda t: 0.5 if t < 10 else 0.1) == [], "it never rose"


def test_relapses_count_where_there_are_several():
    t = np.arange(300)
    once = np.where((t > 100) & (t < 130), 1.8, 2.3 * 0.96**t + 0.2)
    often = np.where((t > 100) & (t // 15 % 3 == 0), 1.8, 2.3 * 0.96**t + 0.2)
    assert said(once) == [], "a single jump is somebody else's"
    found = said(often)
    assert [f.evidence["kind"] for f in found] == ["relapses"]
    assert "step" in found[0].what


def test_after_a_rewind_only_what_came_since_counts():
    check, history = Unstable(), History()
    for t in range(200):
        history.add(Step(t, 2.3 if t < 5 else 4.0 if t < 60 else 2.29, 1.0, 0.1, 32, 0.0, True, 0.0))
        if t == 70:
            history.actions.append(Action(70, "rewind", "for the test"))
        if (t + 1) % 10 == 0:
            finding = check.judge(history)
            assert (finding is not None) == (t < 70 and t >= 39), t


def test_an_outlier_is_one_batch_alone():
    losses = fall(noise=0.1)
    alone = said(losses, norm=lambda t: 1e3 if t == 233 else 1.0 + 0.1 * math.sin(t))
    assert [(f.name, f.evidence["kind"], f.evidence["at"]) for f in alone] == [("data fault", "outlier batch", 233)]
    assert alone[0].t <= 233 + 25
    assert said(losses, norm=lambda t: 1e3 if t >= 233 else 1.0) == [], "not alone"
    assert said(losses, norm=lambda t: 10.0 if t == 233 else 1.0) == [], "not far"
    again = said(losses, norm=lambda t: 1e3 if t == 233 else 300.0 if t == 180 else 1.0)
    assert [f.evidence["at"] for f in again] == [180], "the second is not far above the first"
    of_loss = said([100.0 if t == 233 else x for t, x in enumerate(losses)])
    assert [f.evidence["at"] for f in of_loss] == [233]


@pytest.mark.parametrize(("lr", "heard"), [(0.05, False), (30.0, True)])
def test_a_real_run_is_heard_where_its_rate_is_too_high(lr: float, heard: bool):
    torch.manual_seed(0)
    x = torch.randn(600, 20)
    y = (x[:, :5].sum(1) > 0).long() + 2 * (x[:, 5] > 0).long()
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    run = gradlearn.fit(
        model, (x, y), steps=120, batch=32, update="sgd", lr=lr, act=False, valid=None, watch=["unstable", "divergence"]
    )
    assert bool(run.findings) == heard


def test_options_are_checked():
    with pytest.raises(InputTrouble, match=r"--unstable\.relapses 0"):
        Unstable(relapses=0)
    with pytest.raises(InputTrouble, match=r"--unstable\.far 1"):
        Unstable(far=1.0)


def test_a_burst_in_the_first_steps_counts_and_a_first_loss_that_is_high_does_not():
    low = [0.72 - 0.0005 * t for t in range(200)]
    burst = [0.7, 40.0, 130.0, 20.0, 3.0, *[0.6 + 0.02 * (-1) ** t for t in range(195)]]
    for losses, said in ((low, False), (burst, True)):
        history, check = History(), Unstable()
        found = []
        for t, loss in enumerate(losses):
            history.add(Step(t, loss, 1.0, 0.1, 32, 0.0, True, 0.0))
            if (t + 1) % 20 == 0 and (f := check.judge(history)):
                found.append(f)
        assert bool(found) is said


def test_a_step_that_was_not_finite_and_was_blocked_is_no_burst():
    losses = [2.3 * 0.998**t for t in range(120)]  # learns slowly: a fifth is gained at the end
    losses[20] = math.nan
    assert said(losses) == []
    losses[20] = 400.0
    assert [f.evidence["kind"] for f in said(losses)] == ["lost"], "a burst that was not blocked counts"
