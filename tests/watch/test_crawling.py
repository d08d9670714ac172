"""Crawling: a rate a hundred times too low is heard early, a good one never; looks leave no trace and survive a resume."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradlearn
from gradlearn.adapt import Examples
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Action, Batch, Data, Finding, History, Losses, Step
from gradlearn.theta import Theta
from gradlearn.watch.crawling import Crawling, ending


def learned(lr: float, update: str = "adamw", steps: int = 300, weights: dict[str, Tensor] | None = None, **given: Any) -> Any:
    """A small classifier, watched only."""
    torch.manual_seed(0)
    x = torch.randn(600, 20)
    y = (x[:, :5].sum(1) > 0).long() + 2 * (x[:, 5] > 0).long()
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    if weights is not None:
        model.load_state_dict(weights)
    given = {"watch": ["crawling"], "valid": None, "act": False, "batch": 32, "compile": "off"} | given
    return gradlearn.fit(model, (x, y), steps=steps, update=update, lr=lr, **given)


@pytest.mark.parametrize(("update", "good"), [("adamw", 0.01), ("sgd", 0.1)])
@pytest.mark.parametrize("times", [1.0, 0.3, 0.01, 0.001])
def test_only_far_too_low_rates_are_heard_and_early(update: str, good: float, times: float):
    findings: list[Finding] = learned(good * times, update).findings
    assert bool(findings) == (times < 0.1)
    if findings:
        assert findings[0].t <= 79
        assert len(findings) == 1
        assert 3 <= findings[0].evidence["factor"] <= 1000
        assert f"step {findings[0].t}" in findings[0].what


def test_a_model_that_has_learned_already_does_not_crawl():
    trained = learned(0.01, watch=["finite"]).model.state_dict()
    for lr in (1e-3, 1e-4):
        assert learned(lr, weights=trained).findings == []


def test_the_factor_asked_for_is_about_right():
    low = learned(1e-5)
    factor = low.findings[0].evidence["factor"]
    better = learned(1e-5 * factor)
    assert better.findings == []
    assert better.history["loss"][-1] < 0.5 * low.history["loss"][-1]


class Slope:
    """L = -theta on any batch: a line that never ends; `end` moves its end."""

    def __init__(self, end: float = float("inf")) -> None:
        self.model: nn.Module = nn.Linear(1, 1, bias=False)
        self.model.weight.data.fill_(1.0)  # type: ignore[union-attr]
        self.end = end
        self.data: Data | None = Examples(torch.zeros(8, 1), torch.zeros(8))

    def __call__(self, batch: Batch) -> Losses:
        w = self.model.weight[0, 0]  # type: ignore[index]
        return Losses((10.0 - w + (w - self.end).clamp(min=0.0) * 5).expand(batch.n), torch.ones(batch.n))


def looked(check: Crawling, objective: Slope, speed: float, steps: int = 120, history: History | None = None) -> History:
    """theta goes straight on by so much a step."""
    theta, history = Theta(objective.model), history or History()
    for t in range(len(history.loss), steps):
        theta.blocks[0].flat.add_(speed)
        history.add(Step(t, 10.0, 1.0, 0.1, 8, 0.0, True, 0.0))
        if (t + 1) % check.every == 0:
            before, state = theta.snapshot(), torch.get_rng_state()
            values = check.measure(history.last, theta, objective)  # type: ignore[arg-type]
            if values:
                history.note(t, "crawling", values)
            if finding := check.judge(history):
                history.findings.append(finding)
            assert all(torch.equal(a, b) for a, b in zip(theta.snapshot(), before, strict=True))
            assert torch.equal(torch.get_rng_state(), state)
    return history


def test_the_end_of_the_line_against_the_end_of_the_run_decides():
    """1e-4 a step; the run is taken to be ten times as long as it has been, or as it says."""
    far, near = looked(Crawling(), Slope(), 1e-4), looked(Crawling(), Slope(1.02), 1e-4)
    assert [f.name for f in far.findings] == ["crawling"]
    assert near.findings == []
    history = History()
    history.end = 100_000  # type: ignore[attr-defined]
    assert looked(Crawling(), Slope(), 1e-4, history=history).findings == [], "it will go ten times as far as theta is long"


def test_it_is_said_again_only_after_the_rate_was_turned():
    history = looked(Crawling(), Slope(), 1e-5, steps=80)
    assert [f.t for f in history.findings] == [59]
    history.actions.append(Action(59, "turn", "for the test", "rate", 1.0, 10.0))
    check = Crawling()
    assert [f.t for f in looked(check, Slope(), 1e-5, steps=200, history=history).findings] == [59, 139]


def test_a_check_that_was_saved_looks_on_as_if_nothing_had_been():
    whole, part = Crawling(), Crawling()
    objective = Slope()
    looked(whole, objective, 1e-4, steps=30)
    other = Slope()
    other.model.load_state_dict(objective.model.state_dict())
    part.load(whole.state())
    theta, step = Theta(other.model), Step(39, 10.0, 1.0, 0.1, 8, 0.0, True, 0.0)
    theta.blocks[0].flat.add_(0.01)
    assert part.measure(step, theta, other) == whole.measure(step, theta, other)
    assert Crawling().measure(step, theta, other) is None
    Crawling().load({})


def test_the_end_is_told_by_a_rate_that_falls():
    history = History()
    for t in range(60):
        history.add(Step(t, 1.0, 1.0, 0.1 * (1.0 - (t + 0.5) / 200), 8, 0.0, True, 0.0))
    assert ending(history) == pytest.approx(200, abs=2)
    history.lr = [0.1] * 60
    assert ending(history) == 600


def test_options_are_checked():
    for name, value in (("every", 1), ("until", 0.0), ("examples", 0), ("gain", 1.0), ("little", 0.0)):
        with pytest.raises(InputTrouble, match=rf"--crawling\.{name}"):
            Crawling(**{name: value})  # type: ignore[arg-type]
