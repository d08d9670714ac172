"""Products that are added in place: the same sums, and nothing else is written over."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradlearn.program.loops import Product
from programs import Function, Ran, agree, same


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gathered(a: Tensor, b: Tensor) -> Tensor:
    """As the gradient of a weight that is used at every step of a sequence."""
    total = a @ b
    for k in range(1, 5):
        total = total + (a * k) @ b
    return total


def kept(a: Tensor, b: Tensor) -> list[Tensor]:
    x = a @ b
    y = x + (a * 2) @ b
    return [x.exp(), y]


def of_itself(a: Tensor, b: Tensor) -> Tensor:
    """The library reads its factors while it writes."""
    t = a * 2
    return t + t @ b


SUMS: dict[str, Function] = {
    "gathered": lambda a, b: [gathered(a, b)],
    "from the right": lambda a, b: [(a @ b).mul_(2) + a @ b.exp(), a @ b + (a + 1) @ b],
    "still needed": kept,
    "of itself": lambda a, b: [of_itself(a, b)],
    "to a constant": lambda a, b: [torch.ones(a.shape[0], b.shape[1], dtype=a.dtype) + a @ b],
    "to what is given": lambda a, b: [a @ b + b[: a.shape[0]], b],
    "in place": lambda a, b: [(a @ b).add_(a @ b), torch.zeros(a.shape[0], b.shape[1], dtype=a.dtype).add_(a @ b)],
    "to a part": lambda a, b: [part(a, b)],
    "twice": lambda a, b: [(c := a @ b) + c, c + (a * 2) @ b + c],
    "complex": lambda a, b: [torch.complex(a, a) + torch.complex(a, a) @ torch.complex(b, b)],
}


def part(a: Tensor, b: Tensor) -> Tensor:
    n = b.shape[1] // 2
    x = a @ b
    left = x[:, :n] + a @ b[:, n:]
    return left + x[:, n:]


@pytest.mark.parametrize("size", [300, 24])
def test_sums_of_products_are_pytorchs_step_after_step(size: int) -> None:
    a, b, c, d = (draw(size, size, seed=k) for k in range(4))
    agree(SUMS, [a, b], [c, d], [c, d], [a, b], tolerance=1e-11)


def test_what_is_gathered_needs_no_loop() -> None:
    a, b = draw(40, 40), draw(40, 40, seed=1)
    program = Ran(lambda a, b: [gathered(a, b)], [a, b])
    products = [item for item in program.items if isinstance(item, Product)]
    assert [p.add for p in products] == [False, True, True, True, True]
    assert len({p.out.store for p in products}) == 1
    same(program(b, a)[0], gathered(b, a), "gathered")
