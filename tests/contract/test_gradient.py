"""Every estimator: g in `.grad`, everything else as found. Exact ones are autograd's gradient of the mean loss.

An estimator that is right on average only says so with a class attribute `exact = False`, and brings its own law.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.find import describe, find, names
from gradlearn.objective.cross_entropy import CrossEntropy
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta

NAMES = names("gradient")
EXACT = [name for name in NAMES if getattr(find("gradient", name), "exact", True)]
IN_PARTS = [name for name in EXACT if "part" in {o.name for o in describe("gradient", name).options}]


class L:
    """An objective from a function of (model, batch)."""

    def __init__(self, model: nn.Module, losses: Callable[[nn.Module, Batch], Losses]) -> None:
        self.model, self.losses = model, losses

    def __call__(self, batch: Batch) -> Losses:
        return self.losses(self.model, batch)


def classes(model: nn.Module, batch: Batch) -> Losses:
    return CrossEntropy()(model(batch.x), batch.y)


def smooth(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def noisy(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def examples(n: int = 20, draw: int = 5) -> Batch:
    g = torch.Generator().manual_seed(1)
    return Batch(torch.randn(n, 4, generator=g), torch.randint(3, (n,), generator=g), torch.arange(n), draw)


def g_of(theta: Theta) -> list[Tensor]:
    return [m.grad.clone() for m in theta.members]


@pytest.mark.parametrize("name", NAMES)
def test_theta_and_random_state_are_as_found(name: str):
    model = noisy()
    theta = Theta(model)
    before, state = [b.flat.clone() for b in theta.blocks], torch.get_rng_state()
    find("gradient", name)()(L(model, classes), theta, examples())
    assert all(torch.equal(b.flat, v) for b, v in zip(theta.blocks, before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


@pytest.mark.parametrize("name", NAMES)
def test_buffers_change_as_one_forward_pass_changes_them(name: str):
    model, once = noisy(), noisy()
    batch = examples()
    find("gradient", name)()(L(model, classes), Theta(model), batch)
    once(batch.x)
    assert model[1].num_batches_tracked == 1
    for a, b in zip(model.buffers(), once.buffers(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_the_estimate_is_the_loss_before_the_step_and_the_norm_of_what_is_in_grad(name: str):
    model, batch = smooth(), examples()
    theta = Theta(model)
    estimate = find("gradient", name)()(L(model, classes), theta, batch)
    assert estimate.n == batch.n
    assert estimate.finite
    assert estimate.loss == pytest.approx(nn.functional.cross_entropy(model(batch.x), batch.y).item(), rel=1e-6)
    assert estimate.norm == pytest.approx(math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters())), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_gradient_is_forgotten(name: str):
    model, batch = smooth(), examples()
    theta, gradient = Theta(model), find("gradient", name)()
    gradient(L(model, classes), theta, batch)
    first = g_of(theta)
    gradient(L(model, classes), theta, batch)
    assert all(torch.equal(a, b) for a, b in zip(g_of(theta), first, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_draw_is_the_same_gradient(name: str):
    """Dropout and all: a function of the batch's draw, not of what was drawn before."""
    model = noisy()
    theta, gradient = Theta(model), find("gradient", name)()
    gradient(L(model, classes), theta, examples(draw=5))
    first = g_of(theta)
    torch.rand(17)
    gradient(L(model, classes), theta, examples(draw=5))
    assert all(torch.equal(a, b) for a, b in zip(g_of(theta), first, strict=True))
    gradient(L(model, classes), theta, examples(draw=6))
    assert not all(torch.equal(a, b) for a, b in zip(g_of(theta), first, strict=True))


@pytest.mark.parametrize("name", EXACT)
def test_it_is_autograds_gradient_of_the_mean_loss(name: str):
    model, batch = smooth(), examples()
    theta = Theta(model)
    find("gradient", name)()(L(model, classes), theta, batch)
    mean = nn.functional.cross_entropy(model(batch.x), batch.y)
    for g, h in zip([p.grad for p in model.parameters()], torch.autograd.grad(mean, list(model.parameters())), strict=True):
        assert g is not None
        assert torch.allclose(g, h, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", EXACT)
def test_the_mean_is_over_terms_not_over_examples(name: str):
    """Examples of 1 to 5 terms: g = sum of all terms' gradients / number of terms."""
    model, batch = smooth().double(), examples()
    batch = batch._replace(x=batch.x.double())
    theta = Theta(model)
    count = (1.0 + torch.arange(20) % 5).double()

    def uneven(model: nn.Module, batch: Batch) -> Losses:
        return Losses(model(batch.x).square().sum(1) * count, count)

    estimate = find("gradient", name)()(L(model, uneven), theta, batch)
    loss = (model(batch.x).square().sum(1) * count).sum() / count.sum()
    assert estimate.loss == pytest.approx(loss.item(), rel=1e-12)
    for m, h in zip(theta.members, torch.autograd.grad(loss, [m.param for m in theta.members]), strict=True):
        assert torch.allclose(m.grad, h, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("part", [1, 3, 7, 19, 20, 100])
@pytest.mark.parametrize("name", IN_PARTS)
def test_parts_add_up_to_the_whole_batch(name: str, part: int):
    """Uneven tails, and sentences of different lengths: ignored targets make the counts differ from part to part."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(4, 6, 1), nn.Tanh(), nn.Conv1d(6, 3, 1)).double()
    x, y = torch.randn(20, 4, 5, dtype=torch.float64), torch.randint(3, (20, 5))
    y[torch.arange(5)[None] > torch.arange(20)[:, None] % 5] = -100
    batch = Batch(x, y, torch.arange(20), 3)
    theta = Theta(model)
    whole = find("gradient", name)()(L(model, classes), theta, batch)
    g = g_of(theta)
    parts = find("gradient", name)(part=part)(L(model, classes), theta, batch)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)
    assert parts.norm == pytest.approx(whole.norm, rel=1e-12)
    assert parts.n == whole.n == 20
    for a, b in zip(g, g_of(theta), strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("name", IN_PARTS)
def test_parts_of_one_precision_agree_to_a_millionth(name: str):
    model, batch = smooth(), examples(50)
    theta = Theta(model)
    find("gradient", name)()(L(model, classes), theta, batch)
    whole = torch.cat([g.flatten() for g in g_of(theta)])
    find("gradient", name)(part=8)(L(model, classes), theta, batch)
    parts = torch.cat([g.flatten() for g in g_of(theta)])
    assert (whole - parts).norm() <= 1e-6 * whole.norm()


@pytest.mark.parametrize("name", IN_PARTS)
def test_each_part_has_draws_of_its_own(name: str):
    """Two halves with the same examples would otherwise drop the same units."""
    model = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Dropout(0.5))
    seen: list[Tensor] = []

    def losses(model: nn.Module, batch: Batch) -> Losses:
        out = model(batch.x)
        seen.append(out.detach() == 0)
        return Losses(out.sum(1), torch.ones(batch.n))

    batch = Batch(torch.ones(64, 4), None, torch.arange(64), 9)
    theta = Theta(model)
    find("gradient", name)(part=32)(L(model, losses), theta, batch)
    assert not torch.equal(seen[0], seen[1])
    g = g_of(theta)
    find("gradient", name)(part=32)(L(model, losses), theta, batch)
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(g[0], g_of(theta)[0])


@pytest.mark.parametrize("kind", ["tuple", "dict", "none"])
@pytest.mark.parametrize("name", IN_PARTS)
def test_tuples_and_dicts_are_cut_alike(name: str, kind: str):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return (a * self.w).sum(1) * b

    a, b = torch.randn(10, 3), torch.randn(10)
    x: Any = {"tuple": (a, b), "dict": {"a": a, "b": b}, "none": (a, b)}[kind]

    def losses(model: nn.Module, batch: Batch) -> Losses:
        out = model(**batch.x) if isinstance(batch.x, dict) else model(*batch.x)
        error = out if batch.y is None else out - batch.y
        return Losses(error.square(), torch.ones(batch.n))

    batch = Batch(x, None if kind == "none" else torch.randn(10), torch.arange(10), 0)
    model = Two()
    theta = Theta(model)
    find("gradient", name)()(L(model, losses), theta, batch)
    g = g_of(theta)
    find("gradient", name)(part=4)(L(model, losses), theta, batch)
    assert torch.allclose(g[0], g_of(theta)[0], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_a_single_term_has_no_finite_loss(name: str):
    """0 / 0: said as such, so that the step is blocked; no exception."""
    model = smooth()
    batch = examples()._replace(y=torch.full((20,), -100))
    for options in [{}, {"part": 6}] if name in IN_PARTS else [{}]:
        estimate = find("gradient", name)(**options)(L(model, classes), Theta(model), batch)
        assert not estimate.finite
        assert math.isnan(estimate.loss)


@pytest.mark.parametrize("name", EXACT)
def test_a_loss_that_knows_no_parameter_is_refused(name: str):
    model = smooth()
    loss = L(model, lambda model, batch: Losses(batch.x.sum(1), torch.ones(batch.n)))
    with pytest.raises(InputTrouble, match="loss: does not depend on any parameter"):
        find("gradient", name)()(loss, Theta(model), examples())


@pytest.mark.parametrize("name", IN_PARTS)
def test_a_negative_part_is_refused(name: str):
    with pytest.raises(InputTrouble, match=f"--{name}.part -1: must be 0"):
        find("gradient", name)(part=-1)


@pytest.mark.parametrize("name", NAMES)
def test_a_count_tensor_changed_in_place_is_counted_again(name: str):
    model, count = smooth(), torch.ones(20)
    loss = L(model, lambda model, batch: Losses(model(batch.x).square().sum(1), count))
    gradient, theta = find("gradient", name)(), Theta(model)
    one = gradient(loss, theta, examples()).loss
    count.mul_(2)
    assert gradient(loss, theta, examples()).loss == pytest.approx(one / 2, rel=1e-6)
