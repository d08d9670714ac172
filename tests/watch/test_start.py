"""Start: a model that can be trained passes, in whatever mode; what is wrong is found by its own question."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from gradlearn.models.resnet import identity_conv
from gradlearn.preflight import compared, slopes
from gradlearn.theta import Theta
from gradlearn.watch.start import Start
from looks import BLANK, Looked, blobs, draws, measured, spoken


class Times(torch.autograd.Function):
    """The identity, whose backward is off by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad * ctx.factor, None


class Wrong(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return Times.apply(x, self.factor)


def network(*inside: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), *inside, nn.Linear(32, 3))


def name(model: nn.Module, steps: int = 10_000, **more: Any) -> str:
    finding = spoken(Start(), Looked(*blobs(400), model=model, steps=steps, **more))
    return "" if finding is None else finding.name


HEALTHY = [
    lambda: network(),
    lambda: network(nn.BatchNorm1d(32), nn.Dropout(0.5)),
    lambda: nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, 3)),
    lambda: nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 3)),
]


@pytest.mark.parametrize("make", HEALTHY)
def test_a_healthy_start_is_passed_in_silence(make: Any):
    torch.manual_seed(0)
    assert name(make()) == ""


def test_a_healthy_regression_is_passed_in_silence():
    torch.manual_seed(0)
    x = torch.randn(400, 8, generator=draws())
    y = x[:, :1] * 2 + 300.0
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    assert spoken(Start(), Looked(x, y, model=model, loss="mse")) is None


@pytest.mark.parametrize("factor", [-1.0, 0.3, 3.0])
def test_a_wrong_backward_is_a_precision_fault(factor: float):
    finding = spoken(Start(), Looked(*blobs(400), model=network(Wrong(factor))))
    assert finding is not None
    assert finding.name == "precision fault"
    assert finding.evidence["kind"] == "gradient"
    assert name(network(Wrong(1.0))) == ""


def test_slope_and_gradient_agree_to_a_percent_in_float32():
    objective = Looked(*blobs(400), model=network())
    rows = slopes(objective, Theta(objective.model), objective.data(torch.arange(16), -1))
    assert rows["slope_error"] <= 0.01


@pytest.mark.parametrize("factor", [1.0, 0.3, -1.0])
def test_tied_maxima_of_filters_that_start_as_copies_are_no_wrong_backward_and_hide_none(factor: float):
    def stage() -> list[nn.Module]:
        return [identity_conv(4, 4), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU()]

    torch.manual_seed(0)
    digits = load_digits()
    strokes = torch.from_numpy(digits.images[:64]).float().div(16).repeat_interleave(3, 1).repeat_interleave(3, 2)
    x = torch.stack([torch.relu(strokes - level) for level in (0.2, 0.4, 0.6, 0.8)], 1)  # (64, 4, 24, 24), mostly zeros
    model = nn.Sequential(*stage(), *stage(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 10), Wrong(factor))
    objective = Looked(x, torch.from_numpy(digits.target[:64]), model=model)
    few, theta = objective.data(torch.arange(16), -1), Theta(model)
    before = [p.detach().clone() for p in model.parameters()]
    assert compared(objective, theta, few)["slope_error"] > 0.5, "where it starts, all three disagree"
    found = slopes(objective, theta, few)["slope_error"]
    assert found < 0.1 if factor == 1.0 else found > 0.5
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_a_staircase_and_a_fold_say_nothing():
    class Round(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + (x.round() - x).detach()  # straight through: forward a staircase, backward the identity

    assert name(network(Round())) in ("", "underfit")


def test_a_loss_far_above_chance_is_exploding():
    model = network()
    with torch.no_grad():
        model[0].weight.mul_(30.0)
        model[2].weight.mul_(30.0)
    assert name(model) == "exploding"
    assert name(model, steps=10) == "exploding", "the first question is always asked"


def test_no_gradient_at_all_is_a_plateau():
    model = network()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert name(model) == "saddle"
    cut = nn.Sequential(network(), nn.Hardtanh())
    nn.init.constant_(cut[0][2].bias, 50.0)
    assert name(cut) == "plateau", "exactly zero, everywhere: flat"
    assert name(nn.Sequential(cut[0], nn.ReLU6())) == "plateau"


def test_units_that_start_alike_are_a_saddle_a_single_layer_of_zeros_is_none():
    model = network()
    with torch.no_grad():
        model[0].weight[:] = model[0].weight[0].clone()
    assert name(model) == "saddle"
    line = nn.Linear(8, 3)
    nn.init.zeros_(line.weight)
    assert name(line) == ""


def test_dead_and_saturated_units_are_seen_at_the_start():
    model = network()
    nn.init.constant_(model[0].bias, -500.0)
    assert name(model) == "dead units"
    torch.manual_seed(0)
    bounded = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 3))
    with torch.no_grad():
        bounded[0].weight.mul_(100.0)
    assert name(bounded) == "saturated units"


def test_labels_cut_off_from_the_outputs_cannot_be_learned():
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            out = self.inner(x)
            return out - out + torch.zeros_like(out).requires_grad_() + 1e-6 * out.tanh()

    assert name(Deaf()) == "underfit"


def test_what_a_short_run_has_no_room_for_is_not_asked():
    asked = [
        measured(Start(), Looked(*blobs(400), model=network(), steps=n)).measured["start.asked"][0][1] for n in (10, 250, 1000)
    ]
    assert asked == [1.0, 2.0, 3.0]


def test_theta_buffers_and_gradients_are_bitwise_as_found():
    model = network(nn.BatchNorm1d(32), nn.Dropout(0.5))
    objective, state = Looked(*blobs(400), model=model), torch.get_rng_state()
    theta = Theta(model)
    before, grads = theta.snapshot(), [b.grad.clone() for b in theta.blocks]
    Start().measure(BLANK, theta, objective)
    assert all(torch.equal(a, b) for a, b in zip(theta.snapshot(), before, strict=True))
    assert all(torch.equal(b.grad, g) for b, g in zip(theta.blocks, grads, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


class Half(nn.Module):
    """A network of ours in half precision, whose rounding makes the gradient half as long again."""

    precision = "bfloat16"

    def __init__(self) -> None:
        super().__init__()
        self.net, self.wrong = network(), Wrong(1.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if self.precision == "float32" else self.wrong(self.net(x))


def test_rounding_of_half_precision_is_no_wrong_backward_and_comes_back_afterwards():
    model = Half()
    assert name(model) == ""
    assert model.precision == "bfloat16"
    model.precision = "another"  # not ours: taken as it is
    assert name(model) == "precision fault"
