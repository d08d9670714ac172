"""The equation, once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradlearn import chance
from gradlearn.find import find
from gradlearn.loop import Descent
from gradlearn.step import factor, factors, rate_of, schedule, set_rates, step
from gradlearn.symbols import Batch, Controls, Estimate, Losses, Now, Step
from toys import Line, Of, descent, walk


def one(d: Descent, batch: Batch | None = None) -> Step:
    batch = batch or d.data(d.batches(d.now()), chance.key(d.seed, "batch", d.t))
    return step(d.theta, batch, d.objective, d.gradient, d.update, d.rate, d.average, d.now(), d.controls, len(d.data))


def test_it_is_the_equation():
    """theta - eta g, for plain gradient descent on a loss whose gradient is known."""
    d = descent(Line(), 10, update="sgd", rate=("constant",), model=nn.Sequential(nn.Linear(3, 1, bias=False)))
    for group in d.update.param_groups:
        group.update(momentum=0.0, nesterov=False, weight_decay=0.0, initial_lr=0.1)
    before = d.theta.model[0].weight.detach().clone()
    index = torch.arange(8)
    batch = d.data(index, 0)
    done = one(d, batch)
    error = batch.x @ before.T - batch.y
    g = 2 * (error * batch.x).mean(0)
    assert torch.allclose(d.theta.model[0].weight, before - 0.1 * g, rtol=1e-5)
    assert done == Step(0, done.loss, done.norm, 0.1, 8, 8 / 48, True, done.seconds, index)
    assert done.loss == pytest.approx(error.square().mean().item(), rel=1e-6)
    assert done.norm == pytest.approx(g.norm().item(), rel=1e-5)
    assert done.seconds > 0


def test_rates_are_base_times_schedules_times_dial():
    d = descent(Line(), 100)
    d.update.param_groups[0]["initial_lr"] = 0.5
    now = Now(3, 100, 0, 0)
    rates = [find("rate", n)() for n in ("warmup", "cosine")]
    f = factor(rates, now, Controls(rate=0.25, end=100))
    assert f == pytest.approx(0.25 * rates[0](now) * rates[1](now))
    assert set_rates(d.update, f, now.t) == pytest.approx(0.5 * f)
    assert [g["lr"] for g in d.update.param_groups] == pytest.approx([0.5 * f, d.task.lr * f])
    assert factor([], now, Controls()) == 1.0


def test_after_finish_the_rate_falls_in_a_straight_line_to_zero_at_the_new_end():
    controls = Controls(end=50, finish=40, level=0.3)
    rates = [find("rate", "constant")()]
    assert schedule(rates, Now(39, 50, 0, 0), controls) == 1.0
    line = [schedule(rates, Now(t, 50, 0, 0), controls) for t in range(40, 51)]
    assert line == pytest.approx([0.3 * (50 - t) / 10 for t in range(40, 51)])
    assert line[-1] == 0.0


@pytest.mark.parametrize("clip", [0.0, 0.01, 1e6])
def test_clip_bounds_the_norm_and_keeps_the_direction(clip: float):
    d = descent(Line(), 10)
    seen: list[torch.Tensor] = []
    d.update.register_step_pre_hook(lambda *_: seen.append(d.theta.blocks[0].grad.clone()))
    d.controls.clip = clip
    done = one(d)
    free = descent(Line(), 10)
    free.gradient(free.objective, free.theta, free.data(free.batches(free.now()), chance.key(0, "batch", 0)))
    g = free.theta.blocks[0].grad
    assert done.norm == pytest.approx(g.norm().item(), rel=1e-6), "the norm that is reported is that before clipping"
    expected = g * min(1.0, clip / g.norm().item()) if clip else g
    assert torch.allclose(seen[0], expected, rtol=1e-5, atol=1e-9)


class Bad(Of):
    """A loss that is NaN; or one that is finite and has a gradient that is not: the root of 0."""

    what = "loss"

    def __call__(self, batch: Batch) -> Losses:
        losses = super().__call__(batch)
        add = float("nan") if self.what == "loss" else (0.0 * losses.total).sqrt()
        return losses._replace(total=losses.total + add)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_not_finite_leaves_theta_update_and_average_bitwise(what: str):
    d = descent(Line(), 30, average="ema")
    for _ in walk(d):
        if d.t == 5:
            break

    def state() -> list[torch.Tensor]:
        moments = [v for s in d.update.state_dict()["state"].values() for v in s.values()]
        return [t.clone() for t in [*(b.flat for b in d.theta.blocks), *d.average.state().values(), *moments]]

    before = state()
    d.objective = Bad(d.task, d.theta.model)
    d.objective.what = what
    done = one(d)
    assert not done.applied
    assert (done.loss == done.loss) == (what == "gradient")
    assert (done.norm != done.norm) == (what == "gradient")
    assert all(torch.equal(a, b) for a, b in zip(state(), before, strict=True))
    d.objective = Of(d.task, d.theta.model)
    assert one(d).applied
    assert not torch.equal(d.theta.blocks[0].flat, before[0])


def test_what_a_batch_does_not_reach_stays_as_it_is():
    """No decay, no momentum: the vector is stepped as a whole, and what got no gradient is put back."""

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle, self.way = nn.Linear(3, 1), nn.Linear(3, 1), "both"

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x) + (self.idle(x) if self.way == "both" else 0.0)

    model = Half()
    d = descent(Line(), 10, model=model)
    one(d)
    model.way = "one"
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert one(d).applied
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == name.startswith("idle"), name


def test_an_update_that_needs_a_closure_gets_one_with_the_same_batch_and_draws():
    d = descent(Line(), 10)
    seen: list[float | None] = []

    class Asks(type(d.update)):  # type: ignore[misc]
        needs_closure = True

        def step(self, closure=None) -> float | None:
            assert closure is not None
            seen.append(closure())
            return super().step()

    d.update.__class__ = Asks
    done = one(d)
    assert seen == [done.loss]


def test_an_update_that_needs_none_gets_none():
    d = descent(Line(), 10)
    seen: list[object] = []
    d.update.step = lambda closure=None: seen.append(closure)  # type: ignore[method-assign]
    one(d)
    assert seen == [None]


def test_the_update_is_told_of_the_estimate_before_it_steps():
    d = descent(Line(), 10)
    order: list[object] = []
    d.update.observe = lambda estimate: order.append(estimate)  # type: ignore[method-assign]
    d.update.register_step_pre_hook(lambda *_: order.append("step"))
    done = one(d)
    estimate, after = order
    assert isinstance(estimate, Estimate)
    assert (estimate.loss, estimate.norm, estimate.n, after) == (done.loss, done.norm, done.n, "step")


@pytest.mark.parametrize("finish", [-1, 3, 40])
def test_factors_of_several_steps_are_those_of_each(finish: int):
    rate = [find("rate", name)() for name in ("warmup", "cosine")]
    controls = Controls(rate=0.3, end=50, finish=finish, level=0.7)
    times = [Now(t, 50, t * 8, 0) for t in range(2, 20)]
    assert factors(rate, times, controls) == [factor(rate, now, controls) for now in times]
    assert factors([], times, controls) == [factor([], now, controls) for now in times]


def test_a_group_stands_still_until_it_begins():
    group = {"initial_lr": 0.5, "begins": 3}
    assert [rate_of(group, 0.1, t) for t in (0, 2, 3, 9)] == [0.0, 0.0, 0.05, 0.05]
    assert rate_of({"initial_lr": 0.5}, 0.1, 0) == 0.05
