"""Own: what the update shows is shown, and theta is bitwise as before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from gradlearn.average.own import Own
from gradlearn.errors import InputTrouble
from gradlearn.loop import keep_shown, train
from gradlearn.theta import Theta
from toys import Line, descent


class Halving(torch.optim.SGD):
    """Shows half of theta; comes back only nearly, as rounding does."""

    entered = 0

    @contextmanager
    def shown(self) -> Iterator[None]:
        self.entered += 1
        params = [p for group in self.param_groups for p in group["params"]]
        with torch.no_grad():
            for p in params:
                p.mul_(0.5)
        try:
            yield
        finally:
            with torch.no_grad():
                for p in params:
                    p.mul_(2.0 + 1e-6)

    def observe(self, estimate: object) -> None: ...


def test_inside_it_is_what_the_update_shows_and_afterwards_bitwise_theta():
    theta = Theta(nn.Linear(3, 2))
    update = Halving(theta.groups()[0]["params"] + theta.groups()[1]["params"], lr=0.1)
    own, before = Own(theta, update=update), theta.snapshot()
    with own.shown(theta):
        assert torch.equal(theta.snapshot()[0], 0.5 * before[0])
    assert torch.equal(theta.snapshot()[0], before[0])
    with pytest.raises(KeyError), own.shown(theta):
        raise KeyError
    assert torch.equal(theta.snapshot()[0], before[0])
    assert update.entered == 2


def test_an_update_without_one_is_refused():
    theta = Theta(nn.Linear(3, 2))
    with pytest.raises(InputTrouble, match="--average own: SGD keeps no average of its own; use plain or ema"):
        Own(theta, update=torch.optim.SGD(theta.model.parameters(), lr=0.1))


def test_a_run_scores_and_keeps_what_the_update_shows():
    d = descent(Line(), 6)
    update = Halving([g["params"][0] for g in d.theta.groups()], lr=0.01)
    for group in update.param_groups:
        group["initial_lr"] = group["lr"]
    d.update, d.average, d.valid = update, Own(d.theta, update=update), d.task.data("valid")
    list(train(d))
    last = d.theta.snapshot()
    assert update.entered == 1
    keep_shown(d)
    assert torch.equal(d.theta.snapshot()[0], 0.5 * last[0])
    with torch.no_grad():
        d.theta.model.eval()
        assert d.history.scores[-1][2].value == pytest.approx(d.task.score(d.theta.model, d.valid).value)
