"""Every estimator: g in `.grad`, everything else as found. Exact ones are autograd's gradient of the mean loss.

The others say their law in class attributes: `exact = False` and `unbiased = True`, or `order = 2, by = "c"`: the error shrinks
with that power of that option. `needs = "logp"` asks for losses whose examples were sampled.
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
KINDS = {name: find("gradient", name) for name in NAMES}
EXACT = [name for name in NAMES if getattr(KINDS[name], "exact", True)]
ORDERED = [name for name in NAMES if hasattr(KINDS[name], "order")]
IN_PARTS = [name for name in EXACT if "part" in {o.name for o in describe("gradient", name).options}]


class L:
    """An objective from a function of (model, batch)."""

    def __init__(self, model: nn.Module, losses: Callable[[nn.Module, Batch], Losses]) -> None:
        self.model, self.losses = model, losses

    def __call__(self, batch: Batch) -> Losses:
        return self.losses(self.model, batch)


def classes(model: nn.Module, batch: Batch) -> Losses:
    return CrossEntropy()(model(batch.x), batch.y)


def of(name: str, model: nn.Module, losses: Callable[[nn.Module, Batch], Losses] = classes) -> L:
    """The objective as this estimator needs it: one that wants log-probabilities gets those of sampled classes."""
    if getattr(KINDS[name], "needs", "") != "logp":
        return L(model, losses)

    def sampled(model: nn.Module, batch: Batch) -> Losses:
        outputs: list[Tensor] = []
        handle = model.register_forward_hook(lambda module, given, output: outputs.append(output))
        known = losses(model, batch)
        handle.remove()
        logp = outputs[0].log_softmax(1)
        taken = torch.multinomial(logp.detach().exp().nan_to_num(0.5), 1)
        return known._replace(logp=logp.gather(1, taken)[:, 0])

    return L(model, sampled)


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
    find("gradient", name)()(of(name, model), theta, examples())
    assert all(torch.equal(b.flat, v) for b, v in zip(theta.blocks, before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


@pytest.mark.parametrize("name", NAMES)
def test_buffers_change_as_one_forward_pass_changes_them(name: str):
    model, once = noisy(), noisy()
    batch = examples()
    find("gradient", name)()(of(name, model), Theta(model), batch)
    once(batch.x)
    assert model[1].num_batches_tracked == 1
    for a, b in zip(model.buffers(), once.buffers(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_the_estimate_is_the_loss_before_the_step_and_the_norm_of_what_is_in_grad(name: str):
    model, batch = smooth(), examples()
    theta = Theta(model)
    estimate = find("gradient", name)()(of(name, model), theta, batch)
    assert estimate.n == batch.n
    assert estimate.finite
    assert estimate.loss == pytest.approx(nn.functional.cross_entropy(model(batch.x), batch.y).item(), rel=1e-6)
    assert estimate.norm == pytest.approx(math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters())), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_gradient_is_forgotten(name: str):
    model, batch = smooth(), examples()
    theta, gradient = Theta(model), find("gradient", name)()
    gradient(of(name, model), theta, batch)
    first = g_of(theta)
    gradient(of(name, model), theta, batch)
    assert all(torch.equal(a, b) for a, b in zip(g_of(theta), first, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_draw_is_the_same_gradient(name: str):
    """Dropout and all: a function of the batch's draw, not of what was drawn before."""
    model = noisy()
    theta, gradient = Theta(model), find("gradient", name)()
    gradient(of(name, model), theta, examples(draw=5))
    first = g_of(theta)
    torch.rand(17)
    gradient(of(name, model), theta, examples(draw=5))
    assert all(torch.equal(a, b) for a, b in zip(g_of(theta), first, strict=True))
    gradient(of(name, model), theta, examples(draw=6))
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
        terms = count[batch.index]
        return Losses(model(batch.x).square().sum(1) * terms, terms)

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
    objective = L(model, lambda model, batch: Losses(model(batch.x).sum(1), torch.ones(batch.n)))
    batch = Batch(torch.ones(64, 4), None, torch.arange(64), 9)
    theta, gradient = Theta(model), find("gradient", name)(part=32)
    gradient(objective, theta, batch)
    g = g_of(theta)[0]
    gradient(objective, theta, batch)
    assert torch.equal(g, g_of(theta)[0])
    gradient(objective, theta, next(iter(batch.pieces(32))))
    assert not torch.allclose(g, g_of(theta)[0], rtol=1e-3)


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
        estimate = find("gradient", name)(**options)(of(name, model), Theta(model), batch)
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
    loss = of(name, model, lambda model, batch: Losses(model(batch.x).square().sum(1), count))
    gradient, theta = find("gradient", name)(), Theta(model)
    one = gradient(loss, theta, examples()).loss
    count.mul_(2)
    assert gradient(loss, theta, examples()).loss == pytest.approx(one / 2, rel=1e-6)


def little(seed: int = 0) -> nn.Module:
    """Eight parameters, no randomness of its own."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1, bias=False)).double()


def chances(draw: int = 0) -> Batch:
    g = torch.Generator().manual_seed(3)
    return Batch(torch.randn(6, 2, generator=g).double(), torch.rand(6, generator=g).double(), torch.arange(6), draw)


def expected(model: nn.Module, batch: Batch) -> Losses:
    """A cost of y or nothing by a coin that the model throws: its expectation, exactly."""
    return Losses(model(batch.x)[:, 0].sigmoid() * batch.y, torch.ones(batch.n))


def tossed(model: nn.Module, batch: Batch) -> Losses:
    """The same cost, once for each example."""
    p = model(batch.x)[:, 0].sigmoid()
    coin = torch.rand(batch.n) < p.detach()
    return Losses(torch.where(coin, batch.y, 0.0), torch.ones(batch.n), torch.where(coin, p, 1 - p).log())


def small(name: str) -> dict[str, Any]:
    """Options that make the bias of an ordered estimator vanish; the fewest directions."""
    few = {"pairs": 1} if "pairs" in {o.name for o in describe("gradient", name).options} else {}
    return few | ({KINDS[name].by: 1e-4} if name in ORDERED else {})


def draws(name: str, k: int) -> Tensor:
    """(k, n) estimates of one gradient from k draws."""
    model = little()
    theta, gradient = Theta(model), find("gradient", name)(**small(name))
    objective = L(model, tossed if getattr(KINDS[name], "needs", "") == "logp" else expected)
    rows = []
    for draw in range(k):
        gradient(objective, theta, chances(draw))
        rows.append(torch.cat([m.grad.flatten() for m in theta.members]))
    return torch.stack(rows)


RANDOM = [name for name in NAMES if name not in EXACT and not torch.equal(*draws(name, 2))]


def test_what_draws_says_whether_it_is_right_on_average():
    for name in set(NAMES) - set(EXACT):
        assert getattr(KINDS[name], "unbiased", False) != (name in ORDERED), name
    assert set(NAMES) - set(EXACT) - set(ORDERED) <= set(RANDOM)


@pytest.mark.parametrize("name", RANDOM)
def test_the_mean_of_2000_draws_is_backprops_within_four_standard_errors(name: str):
    model = little()
    theta = Theta(model)
    find("gradient", "backprop")()(L(model, expected), theta, chances())
    true = torch.cat([m.grad.flatten() for m in theta.members])
    seen = draws(name, 2000)
    error = seen.std(0) / 2000**0.5
    assert (error > 0).all()
    assert ((seen.mean(0) - true).abs() <= 4 * error + 1e-7).all()


@pytest.mark.parametrize("name", ORDERED)
def test_half_the_step_leaves_the_stated_share_of_the_error(name: str):
    """The same directions at three steps: the differences fall by 2^order."""
    model, kind = little(), KINDS[name]
    theta, g = Theta(model), []
    for step in (0.08, 0.04, 0.02):
        kind(**{kind.by: step})(L(model, lambda m, b: Losses(m(b.x)[:, 0].exp(), torch.ones(b.n))), theta, chances(4))
        g.append(torch.cat([m.grad.flatten() for m in theta.members]))
    assert (g[0] - g[1]).norm() / (g[1] - g[2]).norm() == pytest.approx(2**kind.order, rel=0.1)


@pytest.mark.parametrize("name", RANDOM)
def test_another_draw_is_another_gradient(name: str):
    seen = draws(name, 3)
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen, draws(name, 3))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_that_got_a_gradient_is_touched(name: str):
    """What is left alone by an update is what got none: the estimate must not look like that."""
    model = smooth()
    theta = Theta(model)
    find("gradient", name)()(of(name, model), theta, examples())
    assert theta.untouched == []


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_is_not_finite_is_said_with_its_examples(name: str):
    model, batch = smooth(), examples()
    batch.x[3] = math.inf
    estimate = find("gradient", name)()(of(name, model), Theta(model), batch)
    assert not estimate.finite
    assert estimate.suspects is None or estimate.suspects.tolist() == [3]
