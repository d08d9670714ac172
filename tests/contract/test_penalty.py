"""Every penalty: a number from theta or one for each example, differentiable, in proportion to its weight, exact in parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.find import default, find, is_penalty, names
from gradlearn.gradient.backprop import Backprop
from gradlearn.penalty import Penalised, penalised
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta

NAMES = [name for name in names("objective") if is_penalty(name)]
OF_THETA = [name for name in NAMES if find("objective", name).wants == ("model",)]
OF_EXAMPLES = [name for name in NAMES if name not in OF_THETA]
KNOWN = {"model", "output", "x", "total"}


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)


class Task:
    """Weighted classification: examples count differently, as tokens and class weights make them."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.data = model, None

    def __call__(self, batch: Batch) -> Losses:
        weight = 1.0 + (batch.y == 1)
        return Losses(weight * F.cross_entropy(self.model(batch.x), batch.y, reduction="none"), weight)


def batch(n: int = 7, dtype: torch.dtype = torch.float64) -> Batch:
    g = torch.Generator().manual_seed(1)
    return Batch(torch.randn(n, 2, 4, generator=g, dtype=torch.float64).to(dtype), torch.arange(n) % 3, torch.arange(n), 5)


def made(name: str, weight: float | None = None, model: nn.Module | None = None) -> Any:
    """A penalty, all randomness out of it; one that measures from a start begins beside `model`."""
    exact = {"projections": 0} if name == "jacobian" else {}
    penalty = find("objective", name)(**({} if weight is None else {"weight": weight}), **exact)
    if hasattr(penalty, "begin"):
        penalty.begin(model or network())
        for i, s in enumerate(penalty.start):
            s.add_(0.1 * (i + 1))
    return penalty


def value(penalty: Any, model: nn.Module, b: Batch) -> Tensor:
    """The penalty by itself: () or (n,)."""
    x = b.x.detach().clone().requires_grad_()
    output = model(x)
    known = {"model": model, "x": [x], "output": output, "total": F.cross_entropy(output, b.y, reduction="none")}
    return penalty(*(known[w] for w in penalty.wants))


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_called_with_and_gives_the_shape_that_goes_with_it(name: str):
    penalty, model, b = made(name), network(), batch()
    assert penalty.penalty is True
    assert set(penalty.wants) <= KNOWN
    assert ("model" in penalty.wants) <= (len(penalty.wants) == 1)
    found = value(penalty, model, b)
    assert found.shape == (() if name in OF_THETA else (7,))
    assert found.dtype == torch.float64
    assert found.isfinite().all()
    assert found.requires_grad
    if name != "entropy":
        assert (found >= 0).all()
        assert found.sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_it_is_in_proportion_to_its_weight(name: str):
    model, b = network(), batch()
    one, three, none = (value(made(name, w), model, b) for w in (1.0, 3.0, 0.0))
    assert torch.allclose(three, 3 * one, rtol=1e-12)
    assert torch.equal(none, torch.zeros_like(none))


@pytest.mark.parametrize("name", NAMES)
def test_its_gradient_is_the_slope_of_its_values(name: str):
    """Central differences in float64, along random directions of theta."""
    model, b, penalty = network(), batch(), made(name, 1.0)
    params = list(model.parameters())
    grads = torch.autograd.grad(value(penalty, model, b).sum(), params, allow_unused=True)
    g = torch.cat([(torch.zeros_like(p) if d is None else d).reshape(-1) for p, d in zip(params, grads, strict=True)])
    theta = nn.utils.parameters_to_vector(params).detach()
    exact = {"steps": 100} if name == "spectral" else {}
    if exact:  # u and v held fixed give the slope only where they are exact
        penalty = find("objective", name)(weight=1.0, **exact)
        grads = torch.autograd.grad(value(penalty, model, b).sum(), params, allow_unused=True)
        g = torch.cat([(torch.zeros_like(p) if d is None else d).reshape(-1) for p, d in zip(params, grads, strict=True)])
    for k in range(5):
        d = torch.randn(len(theta), generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        h, ends = 1e-6, []
        for sign in (1, -1):
            nn.utils.vector_to_parameters(theta + sign * h * d, params)
            ends.append(value(penalty, model, b).sum().item())
        nn.utils.vector_to_parameters(theta, params)
        slope = (ends[0] - ends[1]) / (2 * h)
        assert slope == pytest.approx((g @ d).item(), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", [0, 3, 1])
def test_g_of_a_run_is_that_of_the_mean_loss_plus_the_penalty_in_whatever_parts(name: str, part: int):
    model, b = network(), batch()
    penalty, task = made(name, 0.3, model), Task(model)
    x = b.x.clone().requires_grad_()
    losses = task(b._replace(x=x))
    known = {"model": model, "x": [x], "output": model(x), "total": losses.total}
    slow = (losses.total + losses.count * penalty(*(known[w] for w in penalty.wants))).sum() / losses.count.sum()
    expected = torch.autograd.grad(slow, list(model.parameters()))
    objective = Penalised(task, [penalty])
    if hasattr(penalty, "start"):
        penalty.start = made(name, 0.3, model).start
    estimate = Backprop(part=part)(objective, Theta(model), b)
    assert estimate.loss == pytest.approx(slow.item(), rel=1e-6)
    for p, g in zip(model.parameters(), expected, strict=True):
        assert p.grad is not None
        assert torch.allclose(p.grad, g, rtol=1e-6, atol=1e-9)


ESTIMATORS = {
    "per_example": ({}, 1e-10),
    "forward": ({"basis": True}, 1e-8),
    "finite_difference": ({}, 1e-6),
    "accumulate": ({}, 1e-10),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("by", ESTIMATORS)
def test_every_way_to_a_gradient_sees_it(name: str, by: str):
    """Also those that put other tensors in the place of the parameters, or only evaluate; in full precision with float32 counts."""

    class Plain(Task):
        def __call__(self, batch: Batch) -> Losses:
            return Losses(F.cross_entropy(self.model(batch.x), batch.y, reduction="none"), torch.ones(batch.n))

    model, b = network(), batch(5)
    objective = Penalised(Plain(model), [made(name, 0.3, model)])
    if hasattr(objective.penalties[0], "start"):
        objective.penalties[0].start = made(name, 0.3, model).start
    if name == "spectral":
        objective.penalties = [find("objective", name)(weight=0.3, steps=100)]
    theta = Theta(model)
    whole = Backprop()(objective, theta, b)
    g = theta.blocks[0].grad.clone()
    options, error = ESTIMATORS[by]
    found = find("gradient", by)(**options)(objective, theta, b)
    assert found.loss == pytest.approx(whole.loss, rel=1e-12)
    assert torch.allclose(theta.blocks[0].grad, g, rtol=error, atol=error)


@pytest.mark.parametrize("name", NAMES)
def test_it_leaves_theta_gradients_and_the_random_state_as_found(name: str):
    model, b, penalty = network(), batch(), made(name)
    before, state = [p.detach().clone() for p in model.parameters()], torch.get_rng_state()
    value(penalty, model, b)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not model._forward_hooks


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_precision(name: str, dtype: torch.dtype):
    model, b = network(dtype), batch(dtype=dtype)
    exact = value(made(name, 1.0, network()), network(), batch())
    found = value(made(name, 1.0, model), model, b)
    assert found.isfinite().all()
    if dtype != torch.bfloat16:
        assert torch.allclose(found.double(), exact, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_without_gradients_the_value_is_the_same(name: str):
    """Estimators that only evaluate: differences, SPSA, evolution."""
    model, b = network(), batch()
    objective = penalised(Task(model), [made(name, 0.5, model)])
    with_graph = objective(b)
    with torch.no_grad():
        without = objective(b)
    assert with_graph.total.requires_grad
    assert not without.total.requires_grad
    assert torch.allclose(with_graph.total, without.total, rtol=1e-12)


@pytest.mark.parametrize("name", OF_THETA)
def test_a_model_without_matrices_costs_nothing(name: str):
    model = nn.BatchNorm1d(3, affine=name == "distance")
    with torch.no_grad():
        assert float(find("objective", name)()(model)) == 0.0


@pytest.mark.parametrize("name", OF_THETA)
def test_frozen_parameters_do_not_count(name: str):
    model = network()
    for p in model[3].parameters():
        p.requires_grad_(False)
    smaller = nn.Sequential(model[0], model[5])
    whole, part = (made(name, 1.0, m) for m in (model, smaller))
    with torch.no_grad():
        if name == "distance":
            for penalty, m in ((whole, model), (part, smaller)):
                penalty.begin(m)
            for p in model.parameters():
                p.add_(1.0)
        assert float(whole(model)) == pytest.approx(float(part(smaller)))
        assert float(part(smaller)) > 0


@pytest.mark.parametrize("name", OF_THETA)
def test_a_tied_parameter_counts_once(name: str):
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    with torch.no_grad():
        both, one = (float(find("objective", name)(weight=1.0)(m)) for m in (model, model[0]))
    assert both == one


@pytest.mark.parametrize("name", OF_THETA)
def test_in_a_loop_of_ones_own_it_is_added_to_the_loss(name: str):
    model, penalty = network(torch.float32), find("objective", name)(weight=0.01)
    if name == "distance":
        penalty.begin(model)
    update = torch.optim.SGD(model.parameters(), lr=0.05)
    b = batch(dtype=torch.float32)
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(model(b.x), b.y) + penalty(model)
        update.zero_grad()
        loss.backward()
        update.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(name: str, weight: float):
    with pytest.raises(InputTrouble, match=f"--{name}.weight .*: must be a finite number of at least 0"):
        find("objective", name)(weight=weight)


@pytest.mark.parametrize("name", NAMES)
def test_its_usual_weight_is_an_option(name: str):
    assert default("objective", name, "weight") > 0
