"""Operations of one coordinate: a program does with them what PyTorch does, forward and backward, also at the edges."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradlearn.program.elementwise import ELEMENTWISE, LOSSES, TRUTHS
from programs import Function, agree, differentiated, named

aten = torch.ops.aten
inf, nan = float("inf"), float("nan")
One = Callable[[Tensor], Tensor]
Two = Callable[[Tensor, Tensor], Tensor]

ANYWHERE: dict[str, One] = {  # of one tensor, defined for all numbers
    "neg": lambda a: -a,
    "abs": torch.abs,
    "exp": torch.exp,
    "exp2": lambda a: torch.exp2(a * 0.25),
    "expm1": torch.expm1,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": lambda a: torch.tan(a * 0.25),
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "trunc": torch.trunc,
    "sign": torch.sign,
    "sgn": lambda a: a.detach().sgn() + a,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "relu_": lambda a: a.clone().relu_(),
    "square": torch.square,
    "pow 3": lambda a: a**3,
    "pow -2": lambda a: a**-2,
    "pow 0": lambda a: a**0,
    "number to a power": lambda a: 1.5**a,
    "clamp": lambda a: a.clamp(-0.5, 0.7),
    "clamp_min": lambda a: a.clamp_min(0.1),
    "clamp_max": lambda a: a.clamp_max(0.1),
    "reciprocal": torch.reciprocal,
    "number less": lambda a: 2.0 - a,
    "rsub": lambda a: torch.rsub(a, 2.0, alpha=3.0),
    "alpha": lambda a: torch.add(a, a, alpha=-0.5) + torch.sub(a, 1.0, alpha=2.0),
    "softplus": F.softplus,
    "softplus with beta": lambda a: F.softplus(a, 2.0, 3.0),
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu tanh": lambda a: F.gelu(a, approximate="tanh"),
    "mish": F.mish,
    "logsigmoid": F.logsigmoid,
    "elu": lambda a: F.elu(a, 0.7),
    "elu_": lambda a: F.elu_(a * 1.0, 0.7),
    "selu": F.selu,
    "celu": lambda a: F.celu(a, 0.5),
    "leaky relu": lambda a: F.leaky_relu(a, 0.2),
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "threshold": lambda a: F.threshold(a, 0.3, -1.0),
    "masked_fill": lambda a: a.masked_fill(a > 0.5, 2.0),
    "masked_fill_": lambda a: (a * 1.0).masked_fill_(a.detach() > 0.5, torch.tensor(2.0, dtype=a.dtype)),
    "remainder": lambda a: torch.remainder(a, 0.7),
    "remainder below": lambda a: torch.remainder(a, -0.7),
    "fmod": lambda a: torch.fmod(a, 0.7),
    "floor divided": lambda a: torch.div(a, 0.1, rounding_mode="floor"),
    "trunc divided": lambda a: torch.div(a, 0.1, rounding_mode="trunc"),
    "too large a number": lambda a: (a * 1e39).to(torch.float64),
    "isnan": lambda a: torch.where(torch.isnan(a), 1.0, a),
    "isfinite": lambda a: torch.where(torch.isfinite(a), a, 1.0),
    "isinf": lambda a: torch.where(torch.isinf(a), 1.0, a),
    "alias_copy": lambda a: aten.alias_copy(a),
    "other kind": lambda a: a.double().float().to(a.dtype),
}
POSITIVE: dict[str, One] = {
    "log": torch.log,
    "log2": torch.log2,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "pow 0.5": lambda a: a**0.5,
    "pow -0.5": lambda a: a**-0.5,
    "pow 1.7": lambda a: a**1.7,
    "pow inf": lambda a: a.detach() ** inf + a,
}
PAIRS: dict[str, Two] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a.abs() ** b,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "remainder": lambda a, b: torch.remainder(a, b),
    "floor divided": lambda a, b: torch.div(a, b, rounding_mode="floor") + a,
    "lerp": lambda a, b: torch.lerp(a, b, 0.3),
    "lerp far": lambda a, b: torch.lerp(a * 1e30, b, 1.0),
    "lerp by a tensor": lambda a, b: torch.lerp(a, b, b),
    "addcmul": lambda a, b: torch.addcmul(a, a, b, value=0.3),
    "addcdiv": lambda a, b: torch.addcdiv(a, a, b, value=0.3),
    "clamp by tensors": lambda a, b: a.clamp(min=b),
    "clamp above": lambda a, b: a.clamp(max=b),
    "where": lambda a, b: torch.where(a > b, a, b * 2.0),
    "lt": lambda a, b: torch.where(a < b, a, b),
    "le": lambda a, b: torch.where(a <= b, a, b),
    "ge": lambda a, b: torch.where(a >= b, a, b),
    "eq": lambda a, b: torch.where(a == b, a, b),
    "ne": lambda a, b: torch.where(a != b, a, b),
    "not": lambda a, b: torch.where(~(a > b), a, b),
    "and": lambda a, b: torch.where((a > 0) & (b > 0), a, b),
    "or": lambda a, b: torch.where((a > 0) | (b > 0), a, b),
    "logical": lambda a, b: torch.where(a.logical_and(b).logical_or(a > 1).logical_not(), a, b),
    "sum of truths": lambda a, b: ((a > 0) + (b > 0)) * a,
    "product of truths": lambda a, b: ((a > 0) * (b > 0)) * b + a,
}
LOSS: dict[str, Two] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "smooth l1": lambda a, b, **how: F.smooth_l1_loss(a, b, beta=0.5, **how),
    "smooth l1 without a corner": lambda a, b, **how: F.smooth_l1_loss(a, b, beta=0.0, **how),
    "huber": lambda a, b, **how: F.huber_loss(a, b, delta=0.5, **how),
    "bce": lambda a, b, **how: F.binary_cross_entropy(a.sigmoid(), b.detach().sigmoid(), **how),
    "bce with weight": lambda a, b, **how: F.binary_cross_entropy(a.sigmoid(), b.detach().sigmoid(), b.detach().abs(), **how),
    "bce of scores": lambda a, b, **how: F.binary_cross_entropy_with_logits(a, b.sigmoid(), **how),
    "bce of scores with weights": lambda a, b, **how: F.binary_cross_entropy_with_logits(
        a, b.detach().sigmoid(), weight=b.detach().abs(), pos_weight=a.detach().abs(), **how
    ),
}
PLAIN: dict[str, Function] = {  # without a gradient
    "conjugate": lambda a, b: [aten._conj_physical(torch.complex(a, b)), torch.complex(a, b).conj_physical_()],
    "u8": lambda a, b: [u8(a) + u8(b), torch.maximum(u8(a), u8(b)), u8(a).float(), u8(a) * 3 - 1],
    "u8 compared": lambda a, b: [u8(a) > u8(b), u8(a).clamp(max=200), u8(a) < 90],
    "i8": lambda a, b: [i8(a) + i8(b), i8(a).abs(), -i8(a), i8(a) + u8(b), i8(a) < u8(b)],
    "i16": lambda a, b: [(a * 1000).short() * 7, (a * 1000).short().relu(), torch.minimum((a * 9).short(), (b * 9).short())],
    "i32": lambda a, b: [(a * 9).int() + (b * 9).long(), (a * 9).int() - 1, (a * 9).int().sign(), torch.rsub((a * 9).int(), 7)],
    "i64": lambda a, b: [(a * 9).long() + 2, (a * 9).long().abs() - (b * 9).long(), (a * 9).long() / 4, (a * 9).long() * b],
    "i64 with a number": lambda a, b: [(a * 9).long() * 0.5, (a * 9).long() < 0.5, (a * 9).long().clamp(-2, 3)],
    "truths": lambda a, b: [(a > 0) == (b > 0), (a > 0) < (b > 0), (a > 0).float() + 1, (a > 0).to(torch.uint8), a.bool()],
    "truths with numbers": lambda a, b: [(a > 0) + 1, (a > 0) * 0.5, (a > 0) == 2, (a > 0).masked_fill(b > 0, 0.5)],
    "in place": lambda a, b: [a.add_(b), b.mul_(0.5).sub_(a).clamp_(-1, 1)],
    "in place truths": lambda a, b: [(a > 0).logical_or_(b > 0), (a > 0).bitwise_and_(b > 1).logical_not_()],
    "wide into narrow": lambda a, b: [a.clone().add_(b.double() * 0.1)],
}


def i8(a: Tensor) -> Tensor:
    return (a * 40).to(torch.int8)


def u8(a: Tensor) -> Tensor:
    return (a.abs() * 60 + 40).clamp(max=255).to(torch.uint8)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def table() -> dict[str, Function]:
    found = {name: differentiated(f) for part in (ANYWHERE, POSITIVE) for name, f in part.items()}
    found = {name: lambda a, b, f=f: f(a) for name, f in found.items()}
    return found | {f"{name} of two": differentiated(f) for name, f in (PAIRS | LOSS).items()} | PLAIN


def test_every_operation_is_tried() -> None:
    known = {*ELEMENTWISE, *LOSSES, *TRUTHS}
    assert not known - named(table(), [draw(3, 4), draw(3, 4, seed=1)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_slopes_are_pytorchs(dtype: torch.dtype) -> None:
    given = [draw(24, seed=k, dtype=dtype) for k in range(2)]
    kept = {n: f for n, f in ANYWHERE.items() if dtype is torch.float32 or n != "hardsigmoid"}  # PyTorch's has a float32 sixth
    agree({name: differentiated(f) for name, f in kept.items()}, given[:1], given[1:], [given[0] * 3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_slopes_of_positive_numbers_are_pytorchs(dtype: torch.dtype) -> None:
    a, b = (draw(24, seed=k, dtype=dtype).abs() + 0.1 for k in range(2))
    agree({name: differentiated(f) for name, f in POSITIVE.items()}, [a], [b], [b * 1e-3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_slopes_of_pairs_are_pytorchs(dtype: torch.dtype) -> None:
    a, b, c, d = (draw(4, 6, seed=k, dtype=dtype) for k in range(4))
    agree({name: differentiated(f) for name, f in PAIRS.items()}, [a, b], [c, d], [c, c])


@pytest.mark.parametrize("how", ["none", "mean", "sum"])
def test_losses_are_pytorchs_however_they_are_reduced(how: str) -> None:
    a, b, c, d = (draw(4, 6, seed=k) for k in range(4))
    agree({name: differentiated(lambda a, b, f=f: f(a, b, reduction=how)) for name, f in LOSS.items()}, [a, b], [c, d])


def test_whole_numbers_and_truths_are_pytorchs() -> None:
    a, b, c, d = (draw(5, 7, seed=k) for k in range(4))
    agree(PLAIN, [a, b], [c, d])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_at_the_edges_are_pytorchs(dtype: torch.dtype) -> None:
    edges = torch.tensor(
        [nan, inf, -inf, 0.0, -0.0, 1e-30, -1e-30, 60.0, -60.0, 3.0, -3.0, 0.5, -0.5, 1.0, -1.0, 6.0, 0.3], dtype=dtype
    )
    kept = {
        n: f for n, f in (ANYWHERE | POSITIVE).items() if n not in ("floor divided", "trunc divided", "gelu")
    }  # its gelu of inf is NaN
    agree({name: lambda a, f=f: [f(a)] for name, f in kept.items()}, [draw(17, dtype=dtype)], [edges])


def test_slopes_at_the_edges_are_pytorchs() -> None:
    edges = torch.tensor([nan, 0.0, -0.0, 3.0, -3.0, 0.5, -0.5, 0.3, 0.1, 0.7, 1.0, -1.0, 6.0, 20.0, -20.0])
    kinked = ("relu", "clamp", "clamp_min", "leaky relu", "hardtanh", "relu6", "hardsigmoid", "hardswish", "threshold", "abs")
    more = ("sign", "elu", "selu", "celu", "softplus", "masked_fill", "sigmoid", "tanh")
    agree({name: differentiated(ANYWHERE[name]) for name in (*kinked, *more)}, [draw(15)], [edges])


def test_pairs_with_what_is_no_number_are_pytorchs() -> None:
    pairs = torch.cartesian_prod(*[torch.tensor([nan, inf, -inf, 0.0, 1.0, -2.0])] * 2)
    kept = {name: f for name, f in PAIRS.items() if not name.startswith(("lerp", "pow"))}
    agree({name: lambda a, b, f=f: [f(a, b)] for name, f in kept.items()}, [draw(36), draw(36, seed=1)], [*pairs.T.contiguous()])


def test_a_tensor_without_dimensions_does_not_widen_a_comparison() -> None:
    given = [torch.tensor([0.1, 0.2]), torch.tensor(0.1, dtype=torch.float64)]
    everything = {"eq": lambda a, b: [a == b, a > b, b < a, a <= 0.1, a.double() > b]}
    agree(everything, [given[0] * 2, given[1] * 2], given)


LIE: dict[str, Callable[[Tensor], Tensor]] = {  # how (4, 6) may lie in memory
    "plain": lambda t: t,
    "turned": lambda t: t.T.contiguous().T,
    "every other": lambda t: torch.empty(8, 18)[::2, 1::3].copy_(t),
    "one row for all": lambda t: t[:1].clone().expand(4, 6),
    "one column for all": lambda t: t[:, :1].clone().expand(4, 6),
    "one number for all": lambda t: t[:1, :1].clone().expand(4, 6),
}
SOME: dict[str, Function] = {
    name: differentiated(f)
    for name, f in {
        "add": lambda a, b: a + b * 2,
        "product": lambda a, b: (a * b).sigmoid(),
        "where": lambda a, b: torch.where(a > b, a, b).T,
        "sum": lambda a, b: (a - b).sum(0),
        "part": lambda a, b: (a * b)[1:3, ::2] + b[:2, ::2],
    }.items()
}


@pytest.mark.parametrize(("first", "second"), [(a, b) for k in (1, 3) for a, b in zip(LIE, [*LIE][k:] + [*LIE][:k], strict=True)])
def test_it_does_not_matter_how_tensors_lie(first: str, second: str) -> None:
    a, b, c, d = (draw(4, 6, seed=k) for k in range(4))
    agree(SOME, [LIE[first](a), LIE[second](b)], [LIE[first](c), LIE[second](d)])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((3, 4), (4,)),
        ((3, 1), (1, 4)),
        ((2, 1, 3), (4, 1)),
        ((), (2, 3)),
        ((1,), (1, 1)),
        ((0, 3), (1, 3)),
        ((2, 0), (1,)),
        ((5, 1), ()),
    ],
)
def test_shapes_are_broadcast_as_pytorch_does(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    a, b, c, d = (draw(*shape, seed=k) for k, shape in enumerate((first, second) * 2))
    few: dict[str, Function] = {
        "add": differentiated(lambda a, b: a + b),
        "mul": differentiated(lambda a, b: a * b),
        "where": differentiated(lambda a, b: torch.where(a > b, a, b)),
        "fill": lambda a, b: [(a + b).masked_fill(a > b, 1.0), torch.lerp(a, b, 0.5)],
    }
    agree(few, [a, b], [c, d])
