"""Measured Jacobians: autograd's own, inside nonlinear losses and hybrid networks, for one frequency and several."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.gradient.backprop import Backprop
from gradlearn.gradient.parameter_shift import ParameterShift, ShiftLayer, shifts
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta


def expectations(angles: Tensor, x: Tensor) -> Tensor:
    """(n, 2): a + b sin + c cos of every angle and input."""
    a, b, c, d = angles
    return torch.stack([torch.cos(a + x[:, 0]) * torch.cos(b + x[:, 1]), torch.sin(c + x[:, 0]) * torch.cos(d) * torch.cos(a)], 1)


class Seen(nn.Module):
    """The same layer with autograd looking on: the oracle."""

    def __init__(self, angles: Tensor) -> None:
        super().__init__()
        self.angles = nn.Parameter(angles.clone())

    def forward(self, x: Tensor) -> Tensor:
        return expectations(self.angles, x)


class Of:
    data = None

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, batch: Batch) -> Losses:
        return Losses((self.model(batch.x) - batch.y).square().sum(1), torch.ones(batch.n))


ANGLES = torch.tensor([0.7, -1.1, 0.4, 2.0]).double()


def batch_of() -> Batch:
    g = torch.Generator().manual_seed(0)
    return Batch(torch.randn(6, 2, generator=g).double(), torch.randn(6, 1, generator=g).double(), torch.arange(6), 1)


def hybrid(layer: nn.Module, before: bool) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*([nn.Linear(2, 2)] if before else []), layer, nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("gradient", [ParameterShift(), Backprop(), Backprop(part=4)])
def test_in_a_hybrid_network_under_a_squared_loss_it_is_autograds_gradient(gradient: ParameterShift | Backprop, before: bool):
    shifted = hybrid(ShiftLayer(expectations, ANGLES, inputs=before), before)
    seen = hybrid(Seen(ANGLES), before)
    theta, true = Theta(shifted), Theta(seen)
    found = gradient(Of(shifted), theta, batch_of())
    known = Backprop()(Of(seen), true, batch_of())
    assert found.loss == pytest.approx(known.loss, rel=1e-12)
    for a, b in zip(theta.members, true.members, strict=True):
        assert a.name == b.name
        assert torch.allclose(a.grad, b.grad, rtol=1e-10, atol=1e-14), a.name


def test_two_evaluations_for_each_angle_and_one_for_the_outputs():
    layer = ShiftLayer(expectations, ANGLES)
    model = hybrid(layer, before=False)
    ParameterShift(check=False)(Of(model), Theta(model), batch_of())
    assert layer.evaluations == 1 + 2 * 4


@pytest.mark.parametrize(
    "frequencies", [(1.0,), (2.0,), (1.0, 2.0), (1.0, 2.0, 3.0), (0.5, 1.0, 1.5, 2.0), (1.0, 2.5), (0.3, 1.0, 4.2)]
)
def test_the_rule_is_exact_for_its_frequencies(frequencies: tuple[float, ...]):
    rule = shifts(frequencies)
    assert len(rule) == len(frequencies)

    def f(a: float) -> float:
        return 0.3 + sum((k + 1) * math.cos(w * a + k) for k, w in enumerate(frequencies))

    for a in (-2.0, 0.0, 1.3):
        slope = -sum((k + 1) * w * math.sin(w * a + k) for k, w in enumerate(frequencies))
        assert sum(w * (f(a + s) - f(a - s)) for s, w in rule) == pytest.approx(slope, rel=1e-10, abs=1e-10)


def test_for_one_frequency_it_is_the_rule_of_the_books():
    ((s, w),) = shifts((1.0,))
    assert s == pytest.approx(math.pi / 2)
    assert w == pytest.approx(0.5)


def test_for_equidistant_ones_it_is_wierichs_rule():
    """w = (-1)^(m-1) / (4 R sin^2(s / 2)) at s = (2 m - 1) pi / 2R."""
    for m, (s, w) in enumerate(shifts((1.0, 2.0, 3.0)), start=1):
        assert s == pytest.approx((2 * m - 1) * math.pi / 6)
        assert w == pytest.approx((-1) ** (m - 1) / (12 * math.sin(s / 2) ** 2))


def test_a_layer_of_other_frequencies_than_declared_is_found_on_the_first_batch():
    def twice(angles: Tensor, x: Tensor) -> Tensor:
        return expectations(angles * torch.tensor([1.0, 1.0, 2.0, 1.0]).double(), x)

    wrong = hybrid(ShiftLayer(twice, ANGLES), before=False)
    with pytest.raises(InputTrouble, match=r"layer '0' is no sum of sinusoids of frequencies .* in angle 2"):
        ParameterShift()(Of(wrong), Theta(wrong), batch_of())
    right = hybrid(ShiftLayer(twice, ANGLES, frequencies=(1.0, 2.0)), before=False)
    assert ParameterShift()(Of(right), Theta(right), batch_of()).finite


def test_inputs_from_trained_layers_must_be_declared():
    model = hybrid(ShiftLayer(expectations, ANGLES), before=True)
    with pytest.raises(InputTrouble, match="give inputs=True"):
        ParameterShift()(Of(model), Theta(model), batch_of())


def test_a_circuit_without_inputs_learns():
    class Energy:
        data = None

        def __init__(self) -> None:
            self.model = ShiftLayer(
                lambda a, x: torch.stack([torch.cos(a[0]) + torch.sin(a[1])]), torch.tensor([0.3, 0.2]).double()
            )

        def __call__(self, batch: Batch) -> Losses:
            return Losses(self.model(), torch.ones(1))

    objective = Energy()
    theta, gradient = Theta(objective.model), ParameterShift()
    batch = Batch(torch.zeros(1), None, torch.arange(1))
    for _ in range(200):
        gradient(objective, theta, batch)
        for b in theta.blocks:
            b.flat.add_(b.grad, alpha=-0.3)
    assert gradient(objective, theta, batch).loss == pytest.approx(-2.0, abs=1e-6)


@pytest.mark.parametrize("frequencies", [(), (0.0,), (1.0, 1.0), (-1.0,), (1.0, 1.0 + 1e-12)])
def test_frequencies_that_cannot_be_told_apart_are_refused(frequencies: tuple[float, ...]):
    with pytest.raises(InputTrouble, match="frequencies"):
        shifts(frequencies)


def test_angles_that_are_no_vector_are_refused():
    with pytest.raises(InputTrouble, match="expected a vector"):
        ShiftLayer(expectations, torch.ones(2, 2))
