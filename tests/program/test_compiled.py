"""A descent's steps by a program are those by PyTorch: in calls of any length, with any update, and stopped at the same place."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.loop import Descent
from gradlearn.program import compiled as compiled_file
from gradlearn.program.compiled import Program
from gradlearn.program.unfit import Unfit
from programs import compiled, descent, eagerly


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def net() -> nn.Module:
    """No bias before the norm: its gradient would be rounding alone, and some updates look only at signs."""
    torch.manual_seed(0)
    first = [nn.Linear(6, 12, bias=False), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.2)]
    return nn.Sequential(*first, nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 3)).double()


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 7), nn.Tanh(), nn.Linear(7, 3)).double()


def a_descent(model: nn.Module | None = None, x: Tensor | None = None, **more: Any) -> Descent:
    more = {k.replace("__", "."): v for k, v in more.items()}
    return descent(copy.deepcopy(model or net()), draw(60, 6) if x is None else x, draw(60, 3, seed=1), **more)


def tensors(d: Descent) -> dict[str, Tensor]:
    """Everything that steps change."""
    update: Any = d.update
    found = {f"theta {i}": b.flat for i, b in enumerate(d.theta.blocks)}
    found |= {f"buffer {name}": b for name, b in d.theta.model.named_buffers()}
    found |= {f"average {name}": t for name, t in d.average.state().items()}
    for i, p in enumerate(p for group in update.param_groups for p in group["params"]):
        found |= {f"state {i} {name}": torch.as_tensor(t) for name, t in update.state[p].items()}
    found |= {f"step {i}": torch.tensor(group.get("step", 0)) for i, group in enumerate(update.param_groups)}
    return {name: t.detach().clone() for name, t in found.items()}


def alike(a: Descent, b: Descent, share: float = 1e-9) -> None:
    one, other = tensors(a), tensors(b)
    assert one.keys() == other.keys()
    for name, t in one.items():
        torch.testing.assert_close(other[name], t, rtol=share, atol=share, msg=lambda m, name=name: f"{name}: {m}")


def identical(a: Descent, b: Descent) -> bool:
    one, other = tensors(a), tensors(b)
    return one.keys() == other.keys() and all(torch.equal(t, other[name]) for name, t in one.items())


UPDATES = {  # name -> options; eps is so large that a gradient of nothing does not decide
    "adamw": {"adamw__eps": 1e-4},
    "sgd": {"sgd__momentum": 0.0, "sgd__weight_decay": 0.1},
    "sgd with momentum": {"sgd__nesterov": False, "sgd__momentum": 0.7},
    "sgd of nesterov": {"sgd__momentum": 0.7},
    "nadam": {"nadam__eps": 1e-4},
    "lion": {"lr": 1e-4},
    "radam": {"radam__eps": 1e-4},
    "rmsprop": {"rmsprop__eps": 1e-4},
    "adagrad": {},
    "adadelta": {"lr": 1.0},
    "adamax": {"adamax__eps": 1e-4},
    "ademamix": {"ademamix__eps": 1e-4},
    "asgd": {},
    "muon": {},
    "muon plain": {"muon__nesterov": False, "muon__scale": "original", "lr": 1e-3},
    "split": {},
}


@pytest.mark.parametrize("name", UPDATES)
def test_updates_that_write_themselves_step_as_they_do_eagerly(name: str) -> None:
    a, b = (a_descent(small(), update=name.split()[0], **UPDATES[name]) for _ in range(2))
    program = Program(b)
    assert program.whole
    losses = [[s.loss for s in steps] for steps in (eagerly(a, 10), compiled(b, program, 3, 7))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-8)
    alike(a, b, 1e-7)


def pictures() -> nn.Module:
    """Its weights lie in memory by channels, as those of plane convolutions do in a fit."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 6, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(6, 3)]
    return nn.Sequential(*layers).double().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon", "split"])
def test_weights_that_lie_by_channels_are_stepped_as_eagerly(name: str) -> None:
    a, b = (a_descent(pictures(), draw(60, 2, 6, 6), update=name, **UPDATES[name]) for _ in range(2))
    assert not all(m.param.is_contiguous() for m in b.theta.members)
    program = Program(b)
    assert program.whole
    eagerly(a, 6)
    compiled(b, program, 2, 4)
    alike(a, b, 1e-7)


def test_at_a_kink_the_gradient_in_double_precision_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    kept = compiled_file.exact_gradient
    monkeypatch.setattr(compiled_file, "exact_gradient", lambda d, batch: asked.append("") or kept(d, batch))
    plain = a_descent(small())
    Program(plain).check(plain)
    assert not asked
    program = Program(plain)
    real, ours = plain.gradient, plain.gradient

    def other(objective: Any, theta: Any, batch: Any) -> Any:
        found = real(objective, theta, batch)
        theta.members[0].grad.mul_(1.01)  # PyTorch on the other side
        return found

    plain.gradient = other
    program.check(plain)
    assert asked
    monkeypatch.setattr(program, "take", wrong(program, plain))
    plain.gradient = ours
    with pytest.raises(Unfit, match="another gradient"):
        program.check(plain)


def wrong(program: Program, d: Descent) -> Any:
    take = program.take

    def taken(own: Descent, count: int) -> Any:
        steps = take(own, count)
        d.theta.members[0].grad.mul_(1.01)
        return steps

    return taken


OTHERS = ("dog", "kron", "lbfgs", "momo", "momo_adam", "prodigy", "rprop", "schedule_free", "schedule_free_sgd", "sgld", "shampoo")


@pytest.mark.parametrize("name", [*OTHERS, "mechanic", "perturbed"])
def test_other_updates_are_given_the_gradient(name: str) -> None:
    more: dict[str, Any] = {"perturbed__wait": 1, "perturbed__threshold": 1e9} if name == "perturbed" else {}
    a, b = (a_descent(small(), update=name, **more) for _ in range(2))
    program = Program(b)
    assert not program.whole
    b.gradient = program.gradient
    losses = [[s.loss for s in eagerly(d, 6)] for d in (a, b)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


CUTS = [(12,), (1,) * 12, (2, 1, 9)]


@pytest.mark.parametrize("more", [{}, {"average": "ema"}, {"clip": 0.5, "update": "muon"}])
def test_steps_do_not_depend_on_how_many_are_taken_in_a_call(more: dict[str, Any]) -> None:
    found = []
    for counts in CUTS:
        d = a_descent(**more)
        steps = compiled(d, Program(d), *counts)
        assert [s.t for s in steps] == list(range(12))
        found.append((d, [(s.loss, s.norm, s.lr, s.epoch, s.n) for s in steps]))
    for d, steps in found[1:]:
        assert steps == found[0][1]
        assert identical(d, found[0][0])


def test_a_program_is_bit_for_bit_another_of_the_same_descent() -> None:
    a, b = a_descent(), a_descent()
    compiled(a, Program(a), 10)
    compiled(b, Program(b), 10)
    assert identical(a, b)


AROUND = [{"average": "ema"}, {"clip": 0.3}, {"rate": ["warmup", "cosine"]}, {"average": "swa"}, {"batch": "full"}]


@pytest.mark.parametrize("more", AROUND)
def test_what_is_around_a_step_is_as_eagerly(more: dict[str, Any]) -> None:
    a, b = (a_descent(adamw__eps=1e-4, **more) for _ in range(2))
    one, other = eagerly(a, 12), compiled(b, Program(b), 5, 7)
    for s, t in zip(one, other, strict=True):
        assert (t.t, t.n, t.epoch, t.applied) == (s.t, s.n, s.epoch, s.applied)
        assert (t.loss, t.norm, t.lr) == pytest.approx((s.loss, s.norm, s.lr), rel=1e-8)
    alike(a, b, 1e-7)


def poisoned(*rows: int) -> Tensor:
    x = draw(60, 6)
    x[list(rows)] = torch.nan
    return x


def test_a_step_that_is_not_finite_is_the_last_and_moves_nothing() -> None:
    x = poisoned(17)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    a, b = (a_descent(model, x, average="ema") for _ in range(2))
    one = eagerly(a, 20)
    first = next(k for k, s in enumerate(one) if not s.applied)
    before = a_descent(model, x, average="ema")
    eagerly(before, first)
    steps = compiled(b, Program(b), 20)
    assert [s.applied for s in steps] == [True] * first + [False]
    assert steps[-1].index is not None
    assert steps[-1].index.tolist() == [17]
    assert steps[-1].loss != steps[-1].loss
    alike(before, b)


def test_after_a_blocked_step_others_are_taken() -> None:
    x = poisoned(17, 3)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    a, b = (a_descent(model, x) for _ in range(2))
    program = Program(b)
    one, other = eagerly(a, 16), []
    while len(other) < 16:
        other += compiled(b, program, 16 - len(other))
    assert [s.applied for s in one] == [s.applied for s in other]
    assert not all(s.applied for s in one)
    for s, t in zip(one, other, strict=True):
        if not s.applied:
            assert s.index is not None
            assert t.index is not None
            assert s.index.tolist() == t.index.tolist()
    alike(a, b)


def test_back_is_where_fewer_steps_would_have_led() -> None:
    few, many = a_descent(average="ema"), a_descent(average="ema")
    compiled(few, Program(few), 3)
    compiled(few, Program(few), 4)
    program = Program(many)
    compiled(many, program, 3)
    steps, back = program.advance(many, 9)
    assert len(steps) == 9
    assert back is not None
    assert not identical(few, many)
    back(4)
    assert identical(few, many)
    assert (many.t, many.seen) == (3, 3 * many.batches.size)  # the caller's to move on


def test_a_program_that_is_checked_changes_nothing() -> None:
    a, b = a_descent(average="ema"), a_descent(average="ema")
    Program(b).check(b)
    assert identical(a, b)
    assert (b.t, b.seen, b.controls.clip) == (0, 0, 0.0)


class Scaled(nn.Module):
    """Has a number and a constant tensor of its own, and a frozen parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale, self.constant = nn.Linear(6, 3), 2.0, torch.ones(3)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.scale * self.constant * self.frozen


def turn_scale(d: Any) -> None:
    d.theta.model.scale = 3.0


def turn_constant(d: Any) -> None:
    d.theta.model.constant.mul_(2)


def turn_frozen(d: Any) -> None:
    with torch.no_grad():
        d.theta.model.frozen.mul_(2)


def turn_batch(d: Any) -> None:
    d.controls.batch = 16


def turn_mode(d: Any) -> None:
    d.theta.model.layer.eval()


def replace_constant(d: Any) -> None:
    d.theta.model.constant = torch.full((3,), 2.0).double()


@pytest.mark.parametrize("turn", [turn_scale, turn_constant, turn_frozen, turn_batch, turn_mode, replace_constant])
def test_a_module_that_has_changed_does_not_fit_its_program(turn: Any) -> None:
    d = a_descent(Scaled().double())
    program = Program(d)
    assert program.fits(d)
    compiled(d, program, 3)
    assert program.fits(d)
    turn(d)
    assert not program.fits(d)


def test_a_gradient_of_another_batch_is_taken_eagerly() -> None:
    a, b = a_descent(update="dog"), a_descent(update="dog")
    b.gradient = Program(b).gradient
    for d in (a, b):
        eagerly(d, 2)
        batch = d.data(torch.arange(5), 0)
        d.gradient(d.objective, d.theta, batch)
    for one, other in zip(a.theta.blocks, b.theta.blocks, strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-10, atol=1e-12)


def test_a_hook_that_comes_later_does_not_fit_the_program() -> None:
    d = a_descent()
    program = Program(d)
    next(d.theta.model.children()).register_forward_hook(lambda *_: None)
    assert not program.fits(d)


def test_no_steps_are_none() -> None:
    d = a_descent()
    before = d.theta.snapshot()
    assert Program(d).take(d, 0) == []
    assert all(torch.equal(a, b) for a, b in zip(before, d.theta.snapshot(), strict=True))
