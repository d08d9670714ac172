"""The gradient of a program is PyTorch's, whatever the model is made of; and what no program can do is said with its reason."""

from __future__ import annotations

import copy
import itertools
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlearn.program.compiled import Program
from gradlearn.program.unfit import Unfit
from programs import compiled, descent, eagerly


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(*shape: int, below: int, seed: int = 0) -> Tensor:
    return torch.randint(0, below, shape, generator=torch.Generator().manual_seed(seed))


def agree(model: nn.Module, x: Any, y: Any, steps: int = 4, exactly: bool = False, **more: Any) -> None:
    """Steps of plain SGD in float64: loss, norm, theta and buffers."""
    own = {"update": "sgd", "lr": 0.1, "sgd__momentum": 0.0} | more
    own = {k.replace("__", "."): v for k, v in own.items()}
    a, b = (descent(copy.deepcopy(model), x, y, **own) for _ in range(2))
    program = Program(b)
    assert program.whole
    share = 0.0 if exactly else 1e-10
    for one, other in zip(eagerly(a, steps), compiled(b, program, 1, steps - 1), strict=True):
        assert other.loss == pytest.approx(one.loss, rel=share)
        assert other.norm == pytest.approx(one.norm, rel=share)
        assert other.applied
    for (name, p), q in zip(a.theta.model.state_dict().items(), b.theta.model.state_dict().values(), strict=True):
        torch.testing.assert_close(q, p, rtol=share, atol=share, msg=lambda m, name=name: f"{name}: {m}")
    assert any(not torch.equal(p, q) for p, q in zip(model.parameters(), b.theta.model.parameters(), strict=True))


class Of(nn.Module):
    """A module of parts and a function of them."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = forward

    def forward(self, *x: Any, **named: Any) -> Any:
        return self.function(self, *x, **named)


def made(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().double()


def of(forward: Callable[..., Any], **parts: Any) -> Callable[[], nn.Module]:
    """A linear layer 6 -> 3 named `a`, and what else is given."""
    return lambda: Of(forward, a=nn.Linear(6, 3), **{k: v() for k, v in parts.items()})


def physics(m: Any, x: Tensor) -> Tensor:
    """What a net's own derivatives obey: autograd within the forward pass."""
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        u = torch.tanh(m.a(x)).sum(1)
        du = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
        return torch.autograd.grad(du[:, 0].sum(), x, create_graph=True)[0][:, :3] + du[:, 3:]


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


def sequence(kind: Callable[..., nn.Module], **more: Any) -> Callable[[], nn.Module]:
    return lambda: Of(lambda m, x: m.a(x.view(-1, 3, 2))[0][:, -1], a=kind(2, 3, batch_first=True, **more))


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(2, 1, 8, 0.0, batch_first=True)
    return Of(lambda m, x: m.a(x.view(-1, 3, 2)).flatten(1)[:, :3], a=layer)


def tied() -> nn.Module:
    m: Any = Of(lambda m, x: m.b(torch.tanh(m.a(x))) @ m.c.T, a=nn.Linear(6, 6), b=nn.Linear(6, 6), c=parameter(3, 6))
    m.b.weight = m.a.weight
    return m


def sharing(width: int) -> Callable[[], nn.Module]:
    """One product is the gradient of one parameter and part of another's."""
    return lambda: Of(lambda m, x: (x @ (m.a + m.b) + x.tanh() @ m.b)[:, :3], a=parameter(6, width), b=parameter(6, width))


def pictures(m: Any, x: Tensor) -> Tensor:
    return m.b(F.max_pool2d(F.relu(m.a(x.view(-1, 1, 2, 3))), (1, 2))).flatten(1)[:, :3]


def parts(m: Any, x: Tensor) -> Tensor:
    out = torch.zeros(len(x), 3, dtype=x.dtype)
    out[:, 1:] = m.a(x)[:, :2]
    out[:, 0] = out[:, 2] * 2
    out[1:2] += 1.0
    return out


def constants(m: Any, x: Tensor) -> Tensor:
    n = len(x)
    return torch.ones(n, 3, dtype=x.dtype) + x @ m.a.weight.T + torch.zeros(n, 6, dtype=x.dtype) @ m.a.weight.T + m.a.bias


MODELS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(6, 3),
    "layers": lambda: nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.LayerNorm(9), nn.GELU(), nn.Linear(9, 3), nn.Softplus()),
    "normalised": lambda: nn.Sequential(
        nn.Linear(6, 9), nn.BatchNorm1d(9), nn.SiLU(), nn.BatchNorm1d(9, affine=False), nn.Linear(9, 3)
    ),
    "without statistics": lambda: nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9, track_running_stats=False), nn.Linear(9, 3)),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 9), nn.Dropout(0.3), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 3)),
    "residual": lambda: Of(lambda m, x: m.b(m.a(x) + x)[:, :3] + m.b(x)[:, :3], a=nn.Linear(6, 6), b=nn.Linear(6, 6)),
    "large residual": lambda: Of(lambda m, x: (m.a(m.b(x)) + m.b(x))[:, :3], a=nn.Linear(300, 300), b=nn.Linear(6, 300)),
    "tied": tied,
    "shared gradient": sharing(3),
    "shared gradient of large ones": sharing(99),
    "a constant": of(lambda m, x: m.a(x) + m.c, c=lambda: nn.Buffer(torch.ones(3))),
    "constants that are made": of(constants),
    "a parameter used twice": of(lambda m, x: m.a(x) * m.a(x.flip(1))),
    "written in parts": of(parts),
    "physics": of(physics),
    "attention": encoder,
    "gru": sequence(nn.GRU),
    "lstm": sequence(nn.LSTM, num_layers=2),
    "rnn": sequence(nn.RNN, bias=False),
    "convolution": lambda: Of(pictures, a=nn.Conv2d(1, 4, 1), b=nn.Conv2d(4, 2, 1)),
    "what only PyTorch knows": of(lambda m, x: torch.cumsum(m.a(x), 1) + torch.special.erfcx(m.a(x) * 0.1)),
}


@pytest.mark.parametrize("name", MODELS)
def test_steps_are_pytorchs(name: str) -> None:
    agree(made(MODELS[name]), draw(40, 6), draw(40, 3, seed=1))


def test_what_chance_drops_is_bit_for_bit_the_same() -> None:
    """Powers of two all along: no sum rounds, so any other mask would show."""
    model = Of(
        lambda m, x: F.dropout(x * m.w, 0.5) + F.dropout(x, 0.75) * m.w, w=nn.Parameter(torch.tensor([2.0, 4.0, 1.0, 8.0]))
    ).double()
    agree(model, 2.0 ** whole(32, 4, below=4).double(), torch.zeros(32, 4).double(), steps=2, exactly=True, lr=2.0**-20)


NOISE: dict[str, Callable[[Tensor], Tensor]] = {
    "randn_like": torch.randn_like,
    "rand": lambda x: torch.rand(x.shape, dtype=x.dtype) + torch.rand(3, dtype=x.dtype),
    "randint": lambda x: torch.randint(0, 5, x.shape).to(x.dtype),
    "randperm": lambda x: torch.randperm(3).to(x.dtype),
    "empty": lambda x: torch.empty_like(x).normal_(),
    "zeros": lambda x: torch.zeros_like(x).normal_(),
    "a part": lambda x: half_drawn(x),
    "twice": lambda x: torch.empty_like(x).normal_().mul(2) + twice(x),
    "bernoulli of a tensor": lambda x: torch.bernoulli(x.detach().sigmoid()),
}


def half_drawn(x: Tensor) -> Tensor:
    t = torch.ones_like(x)
    t[:, :2].uniform_()
    return t


def twice(x: Tensor) -> Tensor:
    t = torch.empty_like(x).normal_()
    u = t + 1.0
    return u * t.uniform_()


def agree_or_say(model: nn.Module, why: str) -> None:
    """Either is sound; what is not is other numbers."""
    d = descent(copy.deepcopy(model), draw(40, 6), draw(40, 3, seed=1), update="sgd")
    try:
        Program(d)
    except Unfit as reason:
        found = str(reason)
    else:
        found = why
        agree(model, draw(40, 6), draw(40, 3, seed=1))
    assert re.search(why, found)


@pytest.mark.parametrize("name", NOISE)
def test_what_chance_draws_is_the_same_or_the_model_is_unfit(name: str) -> None:
    agree_or_say(made(of(lambda m, x: m.a(x) + NOISE[name](m.a(x)))), "draws with")


def test_frozen_parts_stay() -> None:
    model = made(lambda: nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3)))
    model[0].requires_grad_(False)
    agree(model, draw(40, 6), draw(40, 3, seed=1))


def test_several_kinds_of_numbers_in_one_model() -> None:
    model = Of(lambda m, x: m.b(torch.tanh(m.a(x.float())).double()), a=nn.Linear(6, 4), b=nn.Linear(4, 3).double())
    a, b = (descent(copy.deepcopy(model), draw(40, 6), draw(40, 3, seed=1), update="sgd", lr=0.1) for _ in range(2))
    steps = zip(eagerly(a, 4), compiled(b, Program(b), 4), strict=True)
    assert all(other.loss == pytest.approx(one.loss, rel=1e-5) for one, other in steps)
    assert len(b.theta.blocks) == 2
    for one, other in zip(a.theta.blocks, b.theta.blocks, strict=True):
        torch.testing.assert_close(other.flat, one.flat, rtol=1e-5, atol=1e-6)


def test_parameters_without_a_gradient_keep_value_and_state() -> None:
    model = Of(lambda m, x: m.a(x), a=nn.Linear(6, 3), b=nn.Linear(6, 3)).double()
    before = model.b.weight.detach().clone()
    a, b = (descent(copy.deepcopy(model), draw(40, 6), draw(40, 3, seed=1)) for _ in range(2))
    program = Program(b)
    assert not program.whole
    b.gradient = program.gradient
    losses = [[s.loss for s in eagerly(d, 5)] for d in (a, b)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    own: Any = b.theta.model
    assert torch.equal(own.b.weight, before)
    assert not torch.equal(own.a.weight, model.a.weight)
    for one, other in zip(a.theta.blocks, b.theta.blocks, strict=True):
        torch.testing.assert_close(other.flat, one.flat, rtol=1e-10, atol=1e-12)
    states: list[list[Tensor]] = [[t for s in d.update.state.values() for t in s.values()] for d in (a, b)]
    for one, other in zip(*states, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)


def test_inputs_may_be_tuples_and_dicts() -> None:
    x, z, y = draw(40, 6), whole(40, below=5), draw(40, 3, seed=1)
    model = made(of(lambda m, x, z: m.a(x) + m.e(z), e=lambda: nn.Embedding(5, 3)))
    agree(model, (x, z), y)
    agree(model, {"z": z, "x": x}, y)


def test_the_same_tensor_may_be_input_and_target() -> None:
    x = draw(40, 6)
    agree(made(lambda: nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 6))), x, x)


SCORED = [
    ("classes", (3,), (), {}),
    ("weighted", (3,), (), {"weight": [0.5, 2.0, 1.0]}),
    ("ignored", (3,), (), {"ignored": True}),
    ("ignored and weighted", (3,), (), {"ignored": True, "weight": [0.5, 2.0, 1.0]}),
    ("tokens", (3, 5), (5,), {"ignored": True}),
    ("two classes", (1,), (), {}),
    ("smoothed", (3,), (), {"loss": nn.CrossEntropyLoss(label_smoothing=0.2)}),
    ("torch's mean", (3,), (), {"loss": nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 1.0]).double(), ignore_index=1)}),
    ("one number for all", (3,), (), {"loss": lambda output, target: F.cross_entropy(output, target)}),
]


@pytest.mark.parametrize(("name", "out", "over", "more"), SCORED)
def test_losses_of_classes_are_pytorchs(name: str, out: tuple[int, ...], over: tuple[int, ...], more: dict[str, Any]) -> None:
    k = out[0] * (out[1] if len(out) > 1 else 1)
    model = made(lambda: nn.Sequential(nn.Linear(6, k), nn.Unflatten(1, out)))
    y = whole(40, *over, below=max(out[0], 2), seed=1)
    given = {"loss": "cross_entropy"} | more
    if given.pop("ignored", False):
        y[::3] = -100
    agree(model, draw(40, 6), y, **given)


class Counting(nn.Module):
    """Changes something of its own in each forward pass."""

    def __init__(self, change: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.a = nn.Linear(6, 3)
        self.count = 0
        self.register_buffer("kept", torch.zeros(3))
        self.numbers: Iterator[int] = itertools.count()
        self.hidden = torch.zeros(3)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        out = self.a(x)
        more = self.change(self, out)
        return out if more is None else out * more


class Numpy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy() * 2.0)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return torch.from_numpy(grad[0].numpy() * 2.0)


def count(m: Any, out: Tensor) -> None:
    m.count += 1


def replace(m: Any, out: Tensor) -> None:
    m.kept = m.kept + out.detach().mean(0)


def branch(m: Any, out: Tensor) -> Tensor | None:
    return out if out.sum() > 0 else None


UNFIT: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "item": (lambda m, out: out.sum().item(), "reads a number out of a tensor"),
    "if": (branch, "reads a number out of a tensor"),
    "counter": (count, "changes an attribute of its own"),
    "buffer replaced": (replace, "puts a new tensor in the place of a buffer"),
    "other each time": (lambda m, out: float(next(m.numbers)), "does something else from one step to the next"),
    "Python's chance": (lambda m, out: random.random(), "does something else from one step to the next"),
    "more each time": (
        lambda m, out: sum((out for _ in range(next(m.numbers))), out),
        "does something else from one step to the next",
    ),
    "a new tensor each time": (
        lambda m, out: torch.tensor(float(next(m.numbers)), dtype=out.dtype),
        "a number of its own that changes",
    ),
    "mask": (lambda m, out: out[out > 0].sum(), "size depends on values|something else"),
    "mask that keeps everything at first": (lambda m, out: out[out > -1e9].sum(), "size depends on values"),
    "nonzero": (lambda m, out: out.nonzero().sum(), "a tensor whose size depends on values"),
    "numpy": (lambda m, out: Numpy.apply(out), "."),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_no_program_can_do_is_said(name: str) -> None:
    change, why = UNFIT[name]
    with pytest.raises(Unfit, match=why):
        Program(descent(Counting(change).double(), draw(40, 6), draw(40, 3, seed=1)))


def test_a_sparse_gradient_is_unfit() -> None:
    model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten())
    with pytest.raises(Unfit, match="layout"):
        Program(descent(model, whole(40, 1, below=5), draw(40, 3).float(), update="sgd"))


def test_trying_a_model_changes_nothing() -> None:
    model = made(MODELS["normalised"])
    d = descent(model, draw(40, 6), draw(40, 3, seed=1))
    before, state = [t.clone() for t in d.theta.snapshot()], torch.get_rng_state()
    Program(d)
    assert all(map(torch.equal, before, d.theta.snapshot()))
    assert torch.equal(torch.get_rng_state(), state)
    assert (d.t, d.seen) == (0, 0)


VIEWED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "imaginary part of a conjugate": lambda m, out: torch.complex(out, out * 2).conj().imag + 0.0,
    "sgn of a complex number": lambda m, out: torch.complex(out, out * 2).sgn().real + 0.0,
    "sgn": lambda m, out: out.sgn() + out,
    "hidden state": lambda m, out: m.hidden.add_(out.detach().mean(0)) + 0.0,
    "a piece of a parameter written into": lambda m, out: out.clone().index_fill_(1, torch.tensor([0]), 2.0),
    "the same bits as another kind": lambda m, out: (out.detach().view(torch.int64) >> 52).to(out.dtype) * 1e-3,
}


@pytest.mark.parametrize("name", VIEWED)
def test_odd_things_are_done_right_or_said_to_be_unfit(name: str) -> None:
    agree_or_say(Counting(VIEWED[name]).double(), ".")
