"""Trials: each from the same start on the same batches, given up where they lose, outwards and then between."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from gradlearn.learn import choices_of, planned, task_of
from gradlearn.loop import Descent, train
from gradlearn.plan import Plan
from gradlearn.trials import FAR, WIDTH, Search, Trial, batch_of, untouched, walk


@pytest.fixture
def d() -> Descent:
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    data = torch.randn(64, 4, generator=g), torch.randn(64, 1, generator=g)
    user = choices_of(
        {"compile": "off"},
        {"update": "sgd", "lr": 0.01, "batch": 16, "steps": 30, "rate": [], "average": "plain", "inputs": "as given"},
    )
    return planned(task_of(nn.Linear(4, 1), data, "mse", None, user, None, 0), Plan(user), 0.0)[0]


def searched(gains: dict[float, float]) -> Search:
    """A search that has these gains."""
    search = Search.__new__(Search)
    search.trials = {rate: Trial(rate, (), gain) for rate, gain in gains.items()}
    return search


def test_a_walk_takes_the_steps_of_the_run(d: Descent):
    with untouched(d) as back:
        seen = list(walk(d, 1.0, 12))
        back()
        assert seen == list(walk(d, 1.0, 12)), "and the same again from the same start"
        assert [batch_of(d, k)[1].t for k in (0, 5)] == [0, 5]
    assert seen == [step.loss for step, _ in zip(train(d), range(12), strict=False)]


def test_what_is_not_finite_is_infinite(d: Descent):
    with untouched(d):
        assert list(walk(d, 1e30, 8))[-1] == math.inf


def test_gains_are_differences_on_the_same_batches(d: Descent):
    with untouched(d) as back:
        search = Search(d, back, 0.01, 8, math.inf)
        assert search.try_out(1e-12).gain == pytest.approx(0.0, abs=1e-6), "the noise of the batches drops out"
        losses = search.try_out(0.01).losses
        at = search.reference
        assert search.trials[0.01].gain == pytest.approx(sum(a - b for a, b in zip(at, losses[-2:], strict=True)) / 2)
        gone = search.try_out(1e6)
        assert gone.gain == -math.inf
        assert len(gone.losses) < 8, "given up"


@pytest.mark.parametrize(("gains", "edge", "low"), [
    ({0.1: 0.01, 1.0: 1.0, 10.0: -1.0}, (1.0, 10.0), (0.1, 1.0)),
    ({0.1: 0.5, 1.0: 1.0}, (1.0, math.inf), (0.0, 0.1)),
    ({0.1: -1.0, 1.0: -math.inf}, (0.0, 0.1), (1.0, math.inf)),
    ({0.01: 0.02, 0.1: 0.5, 1.0: -0.3, 10.0: 0.2, 100.0: -0.1}, (10.0, 100.0), (0.01, 0.1)),
    ({1.0: 1.0, 10.0: -0.04}, (10.0, math.inf), (0.0, 1.0)),
], ids=["both", "nothing too high", "all lost", "a bounce in between", "a hair above the start"])  # fmt: skip
def test_edges_lie_between_neighbours(gains: dict[float, float], edge: tuple[float, float], low: tuple[float, float]):
    search = searched(gains)
    assert search.edge() == edge
    if any(g > 0 for g in gains.values()):
        assert search.low() == low


class Known(Search):
    """Rates gain what a formula says."""

    def __init__(self, edge: float, low: float, patience: int = 1000) -> None:
        self.trials, self.asked, self.ends, self.patience = {}, [], (low, edge), patience

    def try_out(self, rate: float) -> Trial:
        self.asked.append(rate)
        low, edge = self.ends
        self.trials[rate] = Trial(rate, (), -1.0 if rate > edge else 1.0 if rate > low else 0.0)
        return self.trials[rate]

    def late(self) -> bool:
        return len(self.asked) >= self.patience


@pytest.mark.parametrize("chosen", [1e-5, 0.03, 1.0, 1e6])
def test_both_edges_are_found_from_any_rate(chosen: float):
    search = Known(edge=0.7, low=0.002)
    search.run(chosen)
    assert len(search.asked) < 30
    assert len(set(search.asked)) == len(search.asked), "no rate twice"
    for (a, b), truth in ((search.edge(), 0.7), (search.low(), 0.002)):
        assert a <= truth <= b
        assert b / a <= WIDTH


def test_it_ends_where_nothing_is_ever_lost_and_where_time_is_up():
    search = Known(edge=math.inf, low=0.0)
    search.run(1.0)
    assert len(search.asked) <= 2 * math.log10(FAR) + 1
    assert all(1.0 / FAR < r < FAR for r in search.asked)
    for patience in (1, 3, 6):
        search = Known(edge=0.7, low=0.002, patience=patience)
        search.run(0.03)
        assert patience <= len(search.asked) <= patience + 1
    assert all(b / a < 11 for a, b in itertools.pairwise(sorted(search.asked)))
