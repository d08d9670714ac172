"""Every check: speaks on its own sick run, is silent on every check's well one, and touches nothing."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest
import torch
from torch import nn

from gradlearn.find import attribute, find, names
from gradlearn.symbols import Batch, Finding, History, Losses, Step
from gradlearn.theta import Theta

NAMES = names("watch")
KNOWN = {"healthy", "diverged", "non-finite", "unstable", "crawling", "noise floor", "plateau", "saddle", "minimum", "underfit"} | {
    "overfit", "dead units", "saturated units", "vanishing", "exploding", "data fault", "precision fault", "slow data",
}  # fmt: skip


def witnesses(which: str) -> list[tuple[str, History]]:
    return [(name, h) for name in NAMES for h in getattr(importlib.import_module(f"gradlearn.watch.{name}"), which)()]


class Bowl:
    """A tiny objective whose forward pass draws and counts."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))

    def __call__(self, batch: Batch) -> Losses:
        return Losses(self.model(batch.x).square().sum(1), torch.ones(batch.n))


def measured(told: History, t: int) -> dict[str, list[tuple[int, float]]]:
    """What was measured up to step t."""
    return {name: [row for row in rows if row[0] <= t] for name, rows in told.measured.items()}


def replayed(check: Any, told: History, theta: Theta, objective: Bowl) -> list[Finding]:
    """Everything a check says while this run goes by, step by step as in the loop."""
    history, said = History(), []
    for t, (loss, norm, applied) in enumerate(zip(told.loss, told.norm, told.applied, strict=True)):
        step = Step(t, loss, norm, told.lr[t], 32, t * 0.1, applied, 0.0, torch.arange(32))
        history.add(step)
        history.measured, history.waited = measured(told, t), told.waited * t / len(told.loss)
        history.scores = [row for row in told.scores if row[0] <= t + 1]
        due = {"during": (t + 1) % getattr(check, "every", 1) == 0, "after": t + 1 == len(told.loss), "before": t == 0}
        due["scored"] = any(row[0] == t + 1 for row in told.scores)
        if due[getattr(check, "when", "during")]:
            check.measure(step, theta, objective)
            finding = check.judge(history)
            if finding:
                said.append(finding)
                history.findings.append(finding)
    return said


@pytest.fixture(scope="module")
def setting() -> tuple[Theta, Bowl]:
    objective = Bowl()
    return Theta(objective.model), objective


@pytest.mark.parametrize("name", NAMES)
def test_it_speaks_on_its_own_sick_runs(name: str, setting: tuple[Theta, Bowl]):
    sick = importlib.import_module(f"gradlearn.watch.{name}").sick()
    assert sick
    for told in sick:
        said = replayed(find("watch", name)(), told, *setting)
        assert said, "not a word"
        for finding in said:
            assert finding.name in KNOWN
            assert finding.level in ("info", "warn", "alarm")
            assert 0 <= finding.t < len(told.loss)
            if getattr(find("watch", name), "when", "during") not in ("before", "after"):
                assert f"step {finding.t}" in finding.what
            for text in (finding.what, finding.why, finding.remedy):
                assert text.strip() == text != ""
                assert "\n" not in text
            assert json.loads(json.dumps(dict(finding.evidence), allow_nan=False)) == dict(finding.evidence)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_silent_on_every_checks_well_runs(name: str, setting: tuple[Theta, Bowl]):
    assert {n for n, _ in witnesses("well")} == set(NAMES)
    for whose, told in witnesses("well"):
        assert replayed(find("watch", name)(), told, *setting) == [], whose


@pytest.mark.parametrize("name", NAMES)
def test_it_leaves_theta_buffers_and_random_state_bitwise(name: str):
    for _, told in witnesses("sick") + witnesses("well"):
        objective = Bowl()
        theta = Theta(objective.model)
        before, state = theta.snapshot(), torch.get_rng_state()
        g = [b.grad.clone() for b in theta.blocks]
        replayed(find("watch", name)(), told, theta, objective)
        assert all(torch.equal(a, b) for a, b in zip(theta.snapshot(), before, strict=True))
        assert all(torch.equal(b.grad, h) for b, h in zip(theta.blocks, g, strict=True))
        assert torch.equal(torch.get_rng_state(), state)
        assert objective.model.training


@pytest.mark.parametrize("name", [name for name in NAMES if not attribute("watch", name, "clock")])
def test_a_check_that_comes_in_the_middle_says_the_same(name: str, setting: tuple[Theta, Bowl]):
    """After a resume a new object sees a long history at once; it may know nothing that the log does not."""
    for told in importlib.import_module(f"gradlearn.watch.{name}").sick():
        old, new = find("watch", name)(), None
        history = History()
        for t, (loss, norm, applied) in enumerate(zip(told.loss, told.norm, told.applied, strict=True)):
            step = Step(t, loss, norm, told.lr[t], 32, t * 0.1, applied, 0.0, torch.arange(32))
            history.add(step)
            history.measured, history.waited = measured(told, t), told.waited * t / len(told.loss)
            if t == len(told.loss) // 2:
                new = find("watch", name)()
            if getattr(old, "when", "during") == "during" and (t + 1) % old.every == 0:
                said = []
                for check in (old, new) if new else (old,):
                    check.measure(step, *setting)
                    said.append(check.judge(history))
                assert all(s == said[0] for s in said)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_how_often_and_at_what_cost(name: str):
    check = find("watch", name)()
    assert isinstance(check.every, int)
    assert check.every >= 1
    assert 0.0 <= check.cost / check.every <= 0.1, "more than a tenth of the run"


def test_finite_names_step_tensor_and_examples():
    objective = Bowl()
    theta = Theta(objective.model)
    theta.members[2].grad.fill_(float("nan"))
    history, check = History(), find("watch", "finite")()
    step = Step(7, 0.5, float("nan"), 0.1, 3, 0.1, False, 0.0, torch.tensor([41, 5, 9]))
    history.add(step)
    check.measure(step, theta, objective)
    finding = check.judge(history)
    assert finding is not None
    assert finding.what.startswith(f"step 7: gradient of {theta.members[2].name!r} is NaN; the update was blocked")
    assert finding.evidence["examples"] == [41, 5, 9]
    assert finding.evidence["in_a_row"] == 1
    history.add(step._replace(t=8, loss=float("inf")))
    again = check.judge(history)
    assert again is not None
    assert again.what.startswith("step 8: loss is infinite")
    assert again.evidence["in_a_row"] == 2


def test_divergence_is_deaf_to_single_spikes_and_hears_what_stays():
    losses = [2.0 * 0.95**t + 0.1 for t in range(200)]
    spiked = [x * (50.0 if t % 11 == 0 else 1.0) for t, x in enumerate(losses)]
    lost = losses + [2.5] * 40
    shaken = losses + [1.5] * 40  # far above its best, and still better than where it began

    def heard(losses: list[float]) -> bool:
        objective, told = Bowl(), History()
        for t, loss in enumerate(losses):
            told.add(Step(t, loss, 1.0, 0.1, 32, 0.0, True, 0.0))
        return bool(replayed(find("watch", "divergence")(), told, Theta(objective.model), objective))

    assert not heard(losses)
    assert not heard(spiked)
    assert heard(lost)
    assert not heard(shaken)
