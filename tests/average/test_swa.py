"""SWA: torch's own averaged model from a share of the run on, every so many steps."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from gradlearn.average.swa import Swa
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now
from gradlearn.theta import Theta


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def move(model: nn.Module, t: int) -> None:
    g = torch.Generator().manual_seed(t)
    with torch.no_grad():
        for p in [*model.parameters(), model[1].running_mean]:
            p.add_(torch.randn(p.shape, generator=g).to(p), alpha=0.1)
        model[1].num_batches_tracked.add_(1)


@pytest.mark.parametrize(("start", "every"), [(0.0, 1), (0.75, 1), (0.5, 4), (0.9, 3)])
def test_it_is_torchs_equal_average(start: float, every: int):
    model = network().double()
    theta, theirs = Theta(model), AveragedModel(network().double(), use_buffers=True)
    average, steps = Swa(theta, start=start, every=every), 40
    first = next(t for t in range(steps) if (t + 0.5) / steps >= start)
    for t in range(steps):
        move(model, t)
        average.see(theta, Now(t, steps, t, 0))
        if t >= first and (t - first + 1) % every == 0:
            theirs.update_parameters(model)
    with average.shown(theta):
        for ours, other in zip(model.parameters(), theirs.module.parameters(), strict=True):
            assert torch.allclose(ours, other, rtol=1e-12, atol=1e-14)
        assert torch.allclose(model[1].running_mean, theirs.module[1].running_mean, rtol=1e-12)
        last = max(t for t in range(first, steps) if (t - first + 1) % every == 0)
        assert int(model[1].num_batches_tracked) == last + 1, "a count is not averaged"


def test_before_its_start_theta_is_shown():
    theta = Theta(network())
    average = Swa(theta, start=0.5)
    for t in range(5):
        move(theta.model, t)
        average.see(theta, Now(t, 10, t, 0))
        before = theta.snapshot()
        with average.shown(theta):
            assert all(torch.equal(a, b) for a, b in zip(theta.snapshot(), before, strict=True))
    move(theta.model, 5)
    average.see(theta, Now(5, 10, 5, 0))
    move(theta.model, 6)
    with average.shown(theta):
        assert not torch.equal(theta.snapshot()[0], before[0])


def test_once_begun_it_goes_on_where_the_end_moves_away():
    theta = Theta(network())
    average = Swa(theta, start=0.5)
    average.see(theta, Now(6, 10, 0, 0))
    average.see(theta, Now(7, 100, 0, 0))
    assert average.looks == 2


def test_half_precision_is_averaged_in_float32():
    """The thousandth part of a bfloat16 number would be lost in bfloat16."""
    theta = Theta(nn.Linear(4, 4).bfloat16())
    average, seen = Swa(theta, start=0.0), []
    for t in range(1000):
        with torch.no_grad():
            theta.blocks[0].flat.fill_(1.0 + (t % 2))
        average.see(theta, Now(t, 1000, 0, 0))
        seen.append(1.0 + (t % 2))
    assert average.mean[0].dtype == torch.float32
    assert torch.allclose(average.mean[0], torch.tensor(1.5), rtol=1e-5)
    with average.shown(theta):
        assert theta.blocks[0].flat.eq(1.5).all()


@pytest.mark.parametrize(("options", "line"), [({"start": 1.0}, "start"), ({"start": -0.1}, "start"), ({"every": 0}, "every")])
def test_options_out_of_range_are_refused(options: dict[str, float], line: str):
    with pytest.raises(InputTrouble, match=f"--swa.{line} .*: must be"):
        Swa(Theta(network()), **options)  # type: ignore[arg-type]
