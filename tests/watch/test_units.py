"""Units: hooks count what is dead and what is at its bounds; a narrow layer and a fifth of dead units are no trouble."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradlearn import peek
from gradlearn.watch.units import Units, gathered
from looks import Looked, blobs, measured, spoken


def network(activation: nn.Module, bias: float = 0.0, weight: float = 1.0, width: int = 40) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, width), activation, nn.Linear(width, 3))
    with torch.no_grad():
        model[0].weight.mul_(weight)
        model[0].bias.add_(bias)
    return model


def test_dead_units_are_counted_one_by_one():
    model = network(nn.ReLU())
    with torch.no_grad():
        model[0].weight[:10] = 0.0
        model[0].bias[:10] = -1.0
        model[0].bias[10:] = 50.0
    rows = peek.activity(model, blobs(300)[0][:100])
    assert rows == [("1", "dead", 40, 0.25)]
    assert gathered(rows) == {"dead": 0.25, "dead_all": 0.25, "dead_layer": 1.0}


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.SiLU()])
def test_a_layer_pushed_below_zero_is_dead(activation: nn.Module):
    finding = spoken(Units(), Looked(*blobs(300), model=network(activation, -500.0)))
    assert finding is not None
    assert finding.name == "dead units"
    assert "100% of the units of activation 1" in finding.what
    assert spoken(Units(), Looked(*blobs(300), model=network(activation))) is None


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.Sigmoid()])
def test_outputs_at_their_bounds_are_saturated(activation: nn.Module):
    finding = spoken(Units(), Looked(*blobs(300), model=network(activation, weight=50.0)))
    assert finding is not None
    assert finding.name == "saturated units"
    assert spoken(Units(), Looked(*blobs(300), model=network(activation, weight=0.3))) is None


def test_channels_are_units_and_a_place_that_passes_something_saves_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 2))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias[:] = torch.tensor([0.0, 0.0, -8.5, -10.0, -10.0, -10.0])
    x = torch.zeros(200, 1, 8, 8)
    x[7, 0, :3, :3] = 1.0  # nine in all, at one place of one picture
    assert peek.activity(model, x) == [("1", "dead", 6, 0.5)]


def test_what_looks_bad_is_looked_at_on_more_examples():
    x, y = blobs(2000)
    x[::20] += 1000.0  # one in twenty wakes every unit up
    model = network(nn.ReLU(), -500.0)
    with torch.no_grad():
        model[0].weight.abs_()
    rows = measured(Units(), Looked(x, y, model=model)).measured
    assert rows["units.dead"][-1][1] < 0.05
    one = peek.activity(model, x[1:20])
    assert one[0][3] == 1.0


def test_a_model_without_activation_modules_is_left_alone():
    history = measured(Units(), Looked(*blobs(300), model=nn.Linear(8, 3)))
    assert history.measured == {}
