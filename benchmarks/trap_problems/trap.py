"""What a trap is: an objective that is easy to write down and easy to fall into, with a number that says when one is out.

    passed  <=>  gap(t) <= goal at some look within `steps`

A problem is a function of (seed, level); all its draws are functions of the seed, those of a step of (seed, t): the gradient
reseeds torch's generator from the batch's draw before each loss. `gap` is the true one, without noise, at the weights shown.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.symbols import Batch, Data, Losses

LEVELS = ("easy", "medium", "hard")
PROBLEMS: dict[str, Problem] = {}


@dataclass(slots=True)
class Trap:
    """One problem at one level with one seed; an `Objective` of the equation.

    Attributes:
        model: theta.
        loss: t -> (n,) losses of the examples of step t; may draw from torch's default generator.
        gap: t -> what must fall to `goal`.
        examples: n, how many losses a step has.
        calls: evaluations so far: what a budget counts.
    """

    model: nn.Module
    loss: Callable[[int], Tensor]
    gap: Callable[[int], float]
    goal: float
    examples: int = 1
    data: Data | None = None
    calls: int = 0
    ones: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.ones = torch.ones(self.examples)

    def __call__(self, batch: Batch) -> Losses:
        """The losses of one step."""
        self.calls += 1
        return Losses(self.loss(batch.x), self.ones)

    def batch(self, seed: int, t: int) -> Batch:
        """What step t sees."""
        return Batch(t, None, torch.arange(self.examples), chance.key(seed, "trap step", t))


@dataclass(frozen=True, slots=True)
class Problem:
    """A family of traps, level by level harder."""

    name: str
    about: str  # one line: what it is
    steps: int  # the budget of one try: evaluations of loss and gradient
    levels: dict[str, dict[str, Any]]
    make: Callable[..., Trap]
    source: str  # its text

    def trap(self, level: str, seed: int) -> Trap:
        """The trap itself."""
        with chance.preserved():
            chance.reseed(chance.key(seed, f"trap {self.name}"))
            return self.make(**self.levels[level])


def problem(steps: int, **ladders: tuple[Any, ...]) -> Callable[[Callable[..., Trap]], Callable[..., Trap]]:
    """Register a function as a problem; each ladder has the values of one argument, level by level.

    The function may draw from torch's default generator, which is seeded for it.
    """

    def register(make: Callable[..., Trap]) -> Callable[..., Trap]:
        count = len(next(iter(ladders.values())))
        levels = {LEVELS[i]: {k: v[i] for k, v in ladders.items()} for i in range(count)}
        about = " ".join((make.__doc__ or "").split("\n\n")[0].split())
        PROBLEMS[make.__name__] = Problem(make.__name__, about, steps, levels, make, inspect.getsource(make))
        return make

    return register


class Point(nn.Module):
    """A point in space: one tensor x."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = nn.Parameter(x.clone())


def at_point(x: Tensor, f: Callable[[Tensor], Tensor], goal: float, truth: Callable[[Tensor], Tensor] | None = None) -> Trap:
    """A function of a point, started at x: passes where `truth` (f itself, if none is given) falls to `goal`."""
    model, gap = Point(x), truth or f
    return Trap(model, lambda t: f(model.x).reshape(1), lambda t: float(gap(model.x)), goal)


def rotation(n: int) -> Tensor:
    """A random orthogonal matrix, (n, n)."""
    q, r = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))
    return (q * torch.sign(torch.diagonal(r))).float()


def spectrum(n: int, condition: float) -> Tensor:
    """n curvatures from 1 down to 1 / condition, evenly in the logarithm."""
    return torch.logspace(0.0, -math.log10(condition), n)
