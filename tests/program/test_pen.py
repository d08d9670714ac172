"""How an update writes itself: numbers of each step, formulas of one coordinate, and PyTorch operations on tensors it makes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.optimizer import Elementwise, Light
from gradlearn.program.compiled import Program
from gradlearn.program.pen import Pen
from gradlearn.program.unfit import Unfit
from programs import compiled, descent, eagerly


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def own(update: Any) -> Any:
    """A descent with an update of our own, as if it had been found by name."""
    torch.manual_seed(0)
    d = descent(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double(), draw(40, 6), draw(40, 3, seed=1))
    d.update = update(d.theta)
    for group in d.update.param_groups:
        group["initial_lr"] = group["lr"]
    return d


def everything(p: Any, m: Any, v: Any, g: Any, lr: float, count: float) -> tuple[Any, ...]:
    """What formulas may use."""
    from gradlearn.sweep import absolute, lerp, maximum, minimum, sign, sqrt, where

    m, v = lerp(m, g, 0.1), maximum(v, g * g)
    step = where(m * g > 0.0, m / (sqrt(v) + 0.1), sign(m) * minimum(absolute(g), 0.5))
    return p - lr * step / count, m, v


class Odd(Elementwise):
    """A formula that uses everything, and a number that depends on the count."""

    states = ("m", "v")
    formula = staticmethod(everything)

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.1})

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        return group["lr"], 1.0 + group["step"] % 3


def test_any_formula_is_written_as_it_is() -> None:
    a, b = (own(lambda theta: Odd(theta.groups())) for _ in range(2))
    program = Program(b)
    assert program.whole
    one, other = eagerly(a, 8), compiled(b, program, 3, 5)
    assert [s.loss for s in one] == pytest.approx([s.loss for s in other], rel=1e-10)
    assert b.update.param_groups[0]["step"] == 8
    for x, y in zip(a.theta.blocks, b.theta.blocks, strict=True):
        torch.testing.assert_close(y.flat, x.flat, rtol=1e-9, atol=1e-10)


class Cubic(Odd):
    formula = staticmethod(lambda p, m, v, g, lr, count: (p - lr * torch.special.erfcx(g), m, v))


def test_a_formula_that_cannot_be_read_leaves_the_gradient() -> None:
    a, b = (own(lambda theta: Cubic(theta.groups())) for _ in range(2))
    program = Program(b)
    assert not program.whole
    b.gradient = program.gradient
    assert [s.loss for s in eagerly(a, 4)] == pytest.approx([s.loss for s in eagerly(b, 4)], rel=1e-10)


class Late(Odd):
    """Has a step of its own, which no formula says."""

    def update(self) -> None:
        super().update()


def test_an_update_with_a_step_of_its_own_is_not_written() -> None:
    d = own(lambda theta: Late(theta.groups()))
    assert not d.update.writable()
    assert not Program(d).whole


def test_an_update_with_hooks_is_not_written() -> None:
    d = own(lambda theta: Odd(theta.groups()))
    called = []
    d.update.register_step_pre_hook(lambda *_: called.append(1))
    assert not Program(d).whole


def test_a_state_that_is_loaded_is_gone_on_with() -> None:
    a, b = (own(lambda theta: Odd(theta.groups())) for _ in range(2))
    program = Program(b)
    eagerly(a, 4)
    compiled(b, program, 4)
    for d in (a, b):
        d.update.load_state_dict(d.update.state_dict())
    one, other = eagerly(a, 4), compiled(b, program, 4)
    assert [s.loss for s in one] == pytest.approx([s.loss for s in other], rel=1e-10)


def test_parameters_with_gaps_are_not_written() -> None:
    from gradlearn.program.frame import Body
    from gradlearn.program.recording import Recording

    pen = Pen(Body(), Recording(), lambda address: 0, {}, 0)
    with pytest.raises(Unfit, match="gaps"):
        pen.walk(everything, torch.zeros(4, 4)[:, ::2], [], lambda kind: [])


def test_updates_that_say_nothing_are_not_written() -> None:
    assert not Light.writable(None)  # pyright: ignore[reportArgumentType]
