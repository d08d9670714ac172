"""BatchNorm's statistics measured anew: torch's own update_bn, with nothing else touched."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from gradlearn.adapt import Examples
from gradlearn.batchnorm import BATCHES, SIZE, renew
from gradlearn.loop import Cadence, evaluating, keep_shown, train
from gradlearn.symbols import Batch
from toys import Pictures, descent

G = torch.Generator().manual_seed(0)
DATA = Examples(3.0 * torch.randn(500, 2, 6, generator=G) + 1.0, torch.arange(500) % 2)


def network() -> nn.Module:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4, momentum=0.3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten())
    return nn.Sequential(inner, nn.Linear(16, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False))


def test_it_is_torchs_update_bn_on_the_same_batches_without_dropout():
    ours, seen = network(), []

    def losses(batch: Batch) -> None:
        seen.append(batch.x)
        ours(batch.x)

    renew(ours, losses, DATA, 3)
    assert [len(x) for x in seen] == [SIZE] * BATCHES
    theirs = network()
    theirs[0][3].p = 0.0
    update_bn(seen, theirs)
    for a, b in ((ours[0][1], theirs[0][1]), (ours[2], theirs[2])):
        assert torch.allclose(a.running_mean, b.running_mean, rtol=1e-5, atol=1e-6)
        assert torch.allclose(a.running_var, b.running_var, rtol=1e-5)


@pytest.mark.parametrize("fails", [False, True])
def test_modes_momentum_counts_weights_and_random_state_are_as_found(fails: bool):
    model = network()
    model[0].eval()
    model(DATA.x[:9])
    before = {k: v.clone() for k, v in model.state_dict().items() if "running" not in k}
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()

    def losses(batch: Batch) -> None:
        if fails:
            raise KeyError
        model(batch.x)

    if fails:
        with pytest.raises(KeyError):
            renew(model, losses, DATA, 3)
    else:
        renew(model, losses, DATA, 3)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert (model[0][1].momentum, model[2].momentum) == (0.3, 0.1)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items() if k in before)


def test_it_is_a_function_of_seed_and_weights():
    found: list[Tensor] = []
    for history in (0, 5):
        model = network()
        model.train()
        for _ in range(history):
            model(DATA.x[:9])
            torch.rand(3)
        renew(model, lambda batch, model=model: model(batch.x), DATA, 3)
        found.append(model[2].running_var.clone())
    assert torch.equal(*found)


def test_a_model_without_running_statistics_is_not_asked():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False), nn.LayerNorm(2))
    before = copy.deepcopy(model.state_dict())

    def never(batch: Any) -> None:
        raise AssertionError("asked")

    renew(model, never, DATA, 0)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_run_scores_and_keeps_an_average_with_statistics_of_its_own():
    """The score during the run, after it, and of the module that is handed back are of the same statistics."""
    task = Pictures()
    d = descent(task, 30, average="swa", cadence=Cadence(score=29), valid=task.data("valid"))
    assert d.average.refresh  # type: ignore[attr-defined]
    for _step in train(d):
        trained = d.theta.snapshot()
    assert all(torch.equal(a, b) for a, b in zip(d.theta.snapshot(), trained, strict=True)), "scores leave no trace"
    with d.average.shown(d.theta):
        renew(d.theta.model, lambda batch: task.losses(d.theta.model, batch), d.data, d.seed)
        with evaluating(d.theta.model):
            expected = task.score(d.theta.model, task.data("valid")).value
    assert d.history.scores[-1][2].value == pytest.approx(expected, rel=1e-9)
    keep_shown(d)
    with evaluating(d.theta.model):
        assert task.score(d.theta.model, task.data("valid")).value == pytest.approx(expected, rel=1e-9)


def test_what_does_not_ask_for_it_keeps_what_it_has():
    task = Pictures()
    d = descent(task, 5, average="ema")
    list(train(d))
    with d.average.shown(d.theta):
        expected = d.theta.snapshot()
    keep_shown(d)
    assert all(torch.equal(a, b) for a, b in zip(d.theta.snapshot(), expected, strict=True))
