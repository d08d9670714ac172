"""SAM and ASAM: the authors' steps written out, around any estimator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.gradient.backprop import Backprop
from gradlearn.gradient.per_example import PerExample
from gradlearn.gradient.sharpness import Sharpness
from gradlearn.gradient.spsa import Spsa
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta


class Of:
    data = None

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, batch: Batch) -> Losses:
        return Losses(self.model(batch.x).square().sum(1), torch.ones(batch.n))


def made(norm: bool = False) -> tuple[Of, Theta, Batch]:
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(4)] if norm else []
    model = nn.Sequential(nn.Linear(3, 4), *middle, nn.Tanh(), nn.Linear(4, 1)).double()
    return Of(model), Theta(model), Batch(torch.randn(9, 3).double(), None, torch.arange(9), 4)


def by_hand(objective: Of, batch: Batch, rho: float, adaptive: bool) -> dict[str, Tensor]:
    """As in the authors' repositories: climb, gradient, and back."""
    model = objective.model
    names, params = zip(*model.named_parameters(), strict=True)
    g = torch.autograd.grad(objective(batch).total.mean(), params)
    t = [p.detach().abs() + 0.01 if "weight" in n and adaptive else torch.ones_like(p) for n, p in zip(names, params, strict=True)]
    norm = torch.cat([(a * b).flatten() for a, b in zip(t, g, strict=True)]).norm()
    old = [p.detach().clone() for p in params]
    with torch.no_grad():
        for p, a, b in zip(params, t, g, strict=True):
            p.add_(a * a * b * rho / norm)
    there = torch.autograd.grad(objective(batch).total.mean(), params)
    with torch.no_grad():
        for p, o in zip(params, old, strict=True):
            p.copy_(o)
    return dict(zip(names, there, strict=True))


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("inner", ["backprop", "object", "per_example"])
def test_it_is_the_authors_step(inner: str, adaptive: bool):
    objective, theta, batch = made()
    true = by_hand(objective, batch, 0.2, adaptive)
    chosen = {"backprop": "backprop", "object": Backprop(part=4), "per_example": PerExample()}[inner]
    found = Sharpness(inner=chosen, rho=0.2, adaptive=adaptive)(objective, theta, batch)
    for m in theta.members:
        assert torch.allclose(m.grad, true[m.name], rtol=1e-6, atol=1e-12), m.name
    assert found.loss == pytest.approx(objective(batch).total.mean().item())
    assert (found.norms is not None) == (inner == "per_example")


def test_the_running_statistics_are_those_of_the_first_pass():
    objective, theta, batch = made(norm=True)
    other, _, _ = made(norm=True)
    Sharpness(rho=0.5)(objective, theta, batch)
    other(batch)
    for a, b in zip(objective.model.buffers(), other.model.buffers(), strict=True):
        assert torch.equal(a, b)


def test_it_is_around_a_random_one_too_with_the_same_directions_twice():
    objective, theta, batch = made()
    Sharpness(inner=Spsa(c=1e-5), rho=1e-6)(objective, theta, batch)
    g = torch.cat([m.grad.flatten() for m in theta.members])
    Spsa(c=1e-5)(objective, theta, batch)
    assert torch.allclose(g, torch.cat([m.grad.flatten() for m in theta.members]), rtol=1e-3)


def test_theta_is_put_back_where_the_second_pass_fails():
    objective, theta, batch = made()
    before = theta.blocks[0].flat.clone()

    class Fails:
        calls = 0

        def __call__(self, *given: object) -> object:
            self.calls += 1
            if self.calls == 2:
                raise ZeroDivisionError
            return Backprop()(*given)  # type: ignore[arg-type]

    with pytest.raises(ZeroDivisionError):
        Sharpness(inner=Fails())(objective, theta, batch)  # type: ignore[arg-type]
    assert torch.equal(theta.blocks[0].flat, before)


def test_where_there_is_no_gradient_there_is_no_way_up():
    objective, theta, batch = made()
    for b in theta.blocks:
        b.flat.zero_()
    found = Sharpness()(objective, theta, batch)
    assert found.norm == 0
    assert found.finite


def test_bad_options_are_refused():
    with pytest.raises(InputTrouble, match=r"--sharpness\.rho 0"):
        Sharpness(rho=0)
    with pytest.raises(InputTrouble, match="give the estimator itself"):
        Sharpness(inner="spsa")
