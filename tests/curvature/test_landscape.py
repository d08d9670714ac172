"""The loss as a function of theta: the values of the model itself, and everything as found afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.curvature.derivatives import value_and_grad
from gradlearn.curvature.landscape import Landscape, LossFunction, directions, function_of, leave, mean_of, reverse, still
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta


class Net(nn.Module):
    """Everything that can be in the way: BatchNorm, dropout, a tie, a frozen tensor, a counter that changes what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm, self.drop = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.3)
        self.b.weight = self.a.weight
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.seen + 1  # replaced, not changed
        return self.drop(self.norm(self.b(torch.tanh(self.a(x))) * self.frozen)) * self.seen


class Of:
    data = None

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, batch: Batch) -> Losses:
        return Losses(self.model(batch.x).square().sum(1), torch.ones(batch.n))


def made() -> tuple[Of, Theta, Batch]:
    torch.manual_seed(0)
    model = Net()
    return Of(model), Theta(model), Batch(torch.randn(12, 4), None, torch.arange(12), 7)


def test_a_move_is_what_the_model_gives_with_those_weights():
    objective, theta, batch = made()
    move = directions(theta, 3, "test")
    with Landscape(objective, theta, batch) as land:
        seen = land(move, 0.25), land(move, 0.0), land.loss
    other, moved, _ = made()
    for block, v in zip(moved.blocks, move, strict=True):
        block.flat.add_(v, alpha=0.25)
    with chance.preserved():
        chance.reseed(batch.draw)
        true = mean_of(other(batch))
    assert seen[0] == pytest.approx(true, rel=1e-6)
    assert seen[1] == seen[2]


def test_everything_is_as_found_and_the_buffers_as_after_one_pass():
    objective, theta, batch = made()
    before, state = [b.flat.clone() for b in theta.blocks], torch.get_rng_state()
    with Landscape(objective, theta, batch) as land:
        for k in range(5):
            land(directions(theta, k, "test"), 0.1)
        assert land.evaluations == 6
    assert all(torch.equal(b.flat, x) for b, x in zip(theta.blocks, before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert objective.model.seen == 1
    assert objective.model.norm.num_batches_tracked == 1


def test_it_is_all_put_back_where_an_evaluation_fails():
    objective, theta, batch = made()
    before, state = theta.blocks[0].flat.clone(), torch.get_rng_state()

    def fail() -> None:
        with Landscape(objective, theta, batch) as land:
            land(directions(theta, 0, "test"), 1.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(theta.blocks[0].flat, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_it_is_all_put_back_where_the_first_pass_fails():
    objective, theta, batch = made()
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError), Landscape(objective, theta, batch._replace(x=torch.ones(2, 5))):
        pass
    assert torch.equal(torch.get_rng_state(), state)


def test_what_happens_in_still_leaves_no_trace():
    objective, _, batch = made()
    with still(objective.model):
        objective(batch)
        assert objective.model.seen == 1
    assert objective.model.seen == 0
    assert objective.model.norm.num_batches_tracked == 0


def test_directions_are_a_function_of_draw_purpose_and_number():
    _, theta, _ = made()
    same = [
        torch.equal(directions(theta, 1, "a", 2)[0], other[0])
        for other in (directions(theta, 1, "a", 2), directions(theta, 2, "a", 2))
    ]
    assert same == [True, False]
    assert not torch.equal(directions(theta, 1, "a", 2)[0], directions(theta, 1, "b", 2)[0])
    assert not torch.equal(directions(theta, 1, "a", 2)[0], directions(theta, 1, "a", 3)[0])
    v = torch.cat([directions(theta, k, "a")[0] for k in range(400)])
    assert abs(float(v.mean())) < 4 / len(v) ** 0.5
    assert float(v.std()) == pytest.approx(1.0, abs=0.02)
    signs = torch.cat([directions(theta, k, "a", signs=True)[0] for k in range(400)])
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 4 / len(signs) ** 0.5


def test_the_function_has_the_models_value_and_gradient_and_changes_nothing():
    objective, theta, batch = made()
    f = LossFunction(objective, batch)
    assert f.names == ["a.weight", "a.bias", "b.bias", "norm.weight", "norm.bias"]
    with chance.preserved():
        value, g = value_and_grad(f, f.start)
    assert objective.model.seen == 0
    estimate = reverse(objective, theta, batch)
    assert float(value) == pytest.approx(estimate.loss, rel=1e-6)
    true = {m.name: m.grad.clone() for m in theta.members}
    f.spread(theta, g)
    for m in theta.members:
        assert torch.allclose(m.grad, true[m.name], rtol=1e-5, atol=1e-6), m.name


def test_reverse_is_autograds_gradient_of_the_mean():
    objective, theta, batch = made()
    other, _, _ = made()
    estimate = reverse(objective, theta, batch)
    with chance.preserved():
        chance.reseed(batch.draw)
        other(batch).total.mean().backward()
    true = dict(other.model.named_parameters())
    for m in theta.members:
        assert true[m.name].grad is not None
        assert torch.allclose(m.grad, true[m.name].grad, rtol=1e-5, atol=1e-6), m.name
    assert estimate.n == 12
    assert theta.untouched == []


def test_a_gradient_left_reaches_every_parameter_in_its_own_strides():
    model = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    theta = Theta(model)
    g = directions(theta, 0, "g")
    leave(theta, g)
    assert theta.untouched == []
    flat = torch.zeros_like(theta.blocks[0].flat)
    for m in theta.members:
        flat[m.start : m.start + m.param.numel()] = 1
    assert theta.norm() == pytest.approx(float((g[0] * flat).norm()), rel=1e-6)
    assert model.weight.grad.stride() == model.weight.stride()


def test_two_kinds_of_number_are_one_vector():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 2), nn.Linear(2, 1).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(x).double())

    torch.manual_seed(0)
    objective = Of(Mixed())
    batch = Batch(torch.randn(5, 3), None, torch.arange(5))
    f = LossFunction(objective, batch)
    assert f.start.dtype == torch.float64
    theta = Theta(objective.model)
    with chance.preserved():
        f.spread(theta, value_and_grad(f, f.start)[1])
    seen = {m.name: m.grad.clone() for m in theta.members}
    reverse(objective, theta, batch)
    for m in theta.members:
        assert torch.allclose(m.grad, seen[m.name], rtol=1e-5)


def test_the_double_function_is_in_evaluation_mode_and_the_same_each_time():
    objective, _, batch = made()
    f, x = function_of(objective, batch)
    assert x.dtype == torch.float64
    state = torch.get_rng_state()
    assert f(x) == f(x)
    assert f(x).dtype == torch.float64
    assert objective.model.training
    assert torch.equal(torch.get_rng_state(), state)
    objective.model.eval()
    assert float(f(x)) == pytest.approx(mean_of(objective(batch)), rel=1e-5)


def test_inputs_of_several_parts_become_double_too():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))

        def forward(self, a: Tensor, k: Tensor) -> Tensor:
            return (a * self.w)[torch.arange(len(k)), k]

    class Of2(Of):
        def __call__(self, batch: Batch) -> Losses:
            x: Any = batch.x
            return Losses(self.model(**x) if isinstance(x, dict) else self.model(*x), torch.ones(batch.n))

    a, k = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    for x in ((a, k), {"a": a, "k": k}):
        f, start = function_of(Of2(Two()), Batch(x, None, torch.arange(4)))
        assert f(start).dtype == torch.float64
        assert float(f(start)) == pytest.approx(float(a[torch.arange(4), k].mean()), rel=1e-6)


def test_a_model_without_parameters_is_refused():
    with pytest.raises(InputTrouble, match="no parameter requires a gradient"):
        LossFunction(Of(nn.ReLU()), Batch(torch.ones(1), None, torch.arange(1)))
