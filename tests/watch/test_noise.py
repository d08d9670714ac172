"""Noise: the moments of gradients are right on average, cost nothing but time, and lead to larger batches over any resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.adapt import Examples
from gradlearn.comeback import bring_back
from gradlearn.errors import InputTrouble
from gradlearn.loop import Cadence, train
from gradlearn.record.record import Record
from gradlearn.remedy.grow import Grow
from gradlearn.symbols import Batch, History, Losses, Step
from gradlearn.theta import Theta
from gradlearn.watch.noise import Noise, recent
from toys import Pictures, Toy, descent, normal


class Means(Toy):
    """theta against examples x: total = |theta - x|^2 / 2, so g_i = theta - x_i and everything is known."""

    size, lr = 16, 0.1

    def make(self) -> Examples:
        return Examples(normal("means", 4000, 5), torch.zeros(4000))

    def net(self) -> nn.Module:
        model = nn.Linear(1, 5, bias=False)
        with torch.no_grad():
            model.weight.fill_(1.0)
        return model

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        return Losses((model.weight[:, 0] - batch.x).square().sum(1) / 2, torch.ones(batch.n))  # type: ignore[index]


class Known:
    """The objective of a toy that knows its data."""

    def __init__(self, task: Any, model: nn.Module) -> None:
        self.task, self.model, self.data = task, model, task.data("train")

    def __call__(self, batch: Batch) -> Losses:
        return self.task.losses(self.model, batch)


def step(t: int, n: int = 16) -> Step:
    return Step(t, 1.0, 1.0, 0.1, n, 0.0, True, 0.0)


@pytest.mark.parametrize(("n", "parts"), [(16, 4), (32, 2), (9, 3)])
def test_both_moments_are_those_of_all_gradients_on_average(n: int, parts: int):
    task = Means()
    objective = Known(task, task.model(0))
    theta, x = Theta(objective.model), task.data("train").x
    grads = 1.0 - x
    square, trace = grads.mean(0).square().sum().item(), grads.var(0, correction=0).sum().item()
    check = Noise(parts=parts)
    looks = [check.measure(step(t, n), theta, objective) for t in range(400)]
    for name, exact in (("square", square), ("trace", trace)):
        values = torch.tensor([look[name] for look in looks], dtype=torch.float64)
        error = values.std() / len(values) ** 0.5
        assert abs(values.mean() - exact) < 4 * error
        assert error < 0.05 * exact


def test_it_is_the_formula_of_two_sizes():
    """|G|^2 = (B G_B - b G_b) / (B - b), tr(Sigma) = (G_b - G_B) / (1 / b - 1 / B), G_n the squared norm of a gradient of n."""
    task = Means()
    objective = Known(task, task.model(0))
    theta = Theta(objective.model)
    seen: list[Tensor] = []

    class Watching(Known):
        def __call__(self, batch: Batch) -> Losses:
            seen.append(batch.x)
            return super().__call__(batch)

    look = Noise(parts=4).measure(step(3, 16), theta, Watching(task, objective.model))
    parts = [(1.0 - x).mean(0) for x in seen]
    small, large = sum(g.square().sum() for g in parts) / 4, (sum(parts) / 4).square().sum()
    assert [len(x) for x in seen] == [4, 4, 4, 4]
    assert look["square"] == pytest.approx(float((16 * large - 4 * small) / 12), rel=1e-4)
    assert look["trace"] == pytest.approx(float((small - large) / (1 / 4 - 1 / 16)), rel=1e-4)


def test_a_look_leaves_everything_bitwise_as_found_and_is_the_same_at_any_time():
    task = Pictures()
    objective = Known(task, task.model(0))
    theta = Theta(objective.model)
    theta.zero()
    objective(task.data("train")(torch.arange(16), 1)).total.sum().backward()
    before, g = theta.snapshot(), theta.blocks[0].grad.clone()
    state, modes = torch.get_rng_state(), [m.training for m in theta.model.modules()]
    look = Noise().measure(step(7), theta, objective)
    assert set(look) == {"trace", "square"}
    assert all(torch.equal(a, b) for a, b in zip(theta.snapshot(), before, strict=True))
    assert torch.equal(theta.blocks[0].grad, g)
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in theta.model.modules()] == modes
    torch.manual_seed(5)
    assert Noise().measure(step(7), theta, objective) == look


def test_without_data_or_gradient_there_is_no_look():
    task = Means()
    objective = Known(task, task.model(0))
    theta = Theta(objective.model)

    class Blind(Known):
        data = None

        def __init__(self) -> None:
            self.model = objective.model

    assert Noise().measure(step(0), theta, Blind()) is None

    class Flat(Known):
        def __call__(self, batch: Batch) -> Losses:
            return Losses(batch.x.sum(1), torch.ones(batch.n))

    assert Noise().measure(step(0), theta, Flat(task, objective.model)) is None


def test_recent_looks_weigh_more():
    mean, error = recent([0.0] * 50 + [1.0] * 20, 10)
    assert mean == pytest.approx(1 - 0.9**20, abs=0.01)
    assert recent([2.0] * 5, 10) == (pytest.approx(2.0), pytest.approx(0.0, abs=1e-9))
    assert error > 0


@pytest.mark.parametrize("noise", [100.0, 300.0, 1000.0])
def test_it_speaks_above_four_batches_and_says_how_much(noise: float):
    history, said = History(), []
    for t in range(400):
        history.add(step(t, 32))
        if (t + 1) % 20 == 0:
            history.note(t, "noise", {"trace": 5.0, "square": 5.0 / noise})
            finding = Noise().judge(history)
            if finding:
                said.append(finding)
                history.findings.append(finding)
    assert bool(said) == (noise > 4 * 32)
    if said:
        assert said[0].t == 199
        assert [f.t for f in said] == [199, 399], "again only after as many new looks"
        assert said[0].evidence["noise"] == pytest.approx(noise)
        assert said[0].evidence["batch"] == 32


def growing(steps: int = 120) -> Any:
    d = descent(Means(), steps, rate=("linear",), cadence=Cadence(snapshot=7))
    d.objective = Known(d.task, d.theta.model)
    d.checks = [*d.checks, Noise(every=2, memory=3, factor=2.0)]
    d.remedies = [*d.remedies[:2], Grow(most=64, begin=0.1), d.remedies[-1]]
    return d


def test_a_run_grows_its_batch_says_so_and_sees_as_many_examples():
    d = growing()
    sizes = [s.n for s in train(d)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 16
    assert sizes[-1] in (32, 64)
    turned = [a for a in d.history.actions if a.dial == "batch"]
    assert [a.after for a in turned] == sorted(set(sizes))[1:]
    assert sum(sizes) == pytest.approx(120 * 16, rel=0.05)
    assert all("noise scale" in a.why for a in turned)


def test_a_growing_run_resumes_bit_for_bit(tmp_path: Path):
    whole = growing()
    list(train(whole))
    first = next(a.t for a in whole.history.actions if a.dial == "batch")
    for k in (first - 1, first, first + 1, first + 2, first + 4):
        folder = tmp_path / str(k)
        folder.mkdir()
        left = growing()
        for _ in train(left, Record(folder)):
            left.interrupted = left.t == k
        back = growing()
        record = bring_back(back, folder)
        assert back.t == k
        list(train(back, record))
        assert back.history.loss == whole.history.loss
        assert back.history.actions == whole.history.actions
        assert back.history.measured == whole.history.measured
        assert back.controls == whole.controls
        assert all(torch.equal(a, b) for a, b in zip(back.theta.snapshot(), whole.theta.snapshot(), strict=True))


@pytest.mark.parametrize("option", ["every", "parts", "factor", "memory"])
def test_options_out_of_range_are_refused(option: str):
    with pytest.raises(InputTrouble, match=f"--noise.{option} 0: must be at least"):
        Noise(**{option: 0})  # type: ignore[arg-type]
