"""What a search strategy sees: the box of a function as the unit cube, its values, gradients and descents, all of them in rows.

    x = low + u (high - low),   u in [0, 1]^n

A strategy is a generator, `Strategy(**options)(terrain, round)`: it works, and yields after every piece of work the value that it
stands at, so that whoever called it may go on with another one. The best point is kept by the function itself. A side that
has no bound is given one ten times as far as the start is from zero; it moves out where the best point comes near.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.minimum import flock
from gradlearn.minimum.function import Function

WIDE = 10.0  # of a side without bounds, relative to the start


class Strategy(Protocol):
    """One way to look for a better valley; yields the value it stands at after each piece of work."""

    def __call__(self, terrain: Terrain, round: int) -> Iterator[float]:
        """One round of the search."""
        ...


class Terrain:
    """A function over its box, in unit coordinates.

    Attributes:
        n: dimension.
        batched, differentiable: of the function.
        start: (n,) where the user began, in unit coordinates.
    """

    def __init__(self, function: Function, seed: int) -> None:
        self.function, self.seed, self.n = function, seed, function.n
        self.batched, self.differentiable = function.batched, function.differentiable
        reach = WIDE * function.start.abs().clamp_min(1.0)
        has_low, has_high = torch.isfinite(function.low), torch.isfinite(function.high)
        low, high = function.start - reach, function.start + reach
        low = torch.where(has_high, torch.minimum(low, function.high - 2.0 * reach), low)
        high = torch.where(has_low, torch.maximum(high, function.low + 2.0 * reach), high)
        self.low, self.high = torch.where(has_low, function.low, low), torch.where(has_high, function.high, high)
        self.width = self.high - self.low
        self.closed = has_low & has_high

    @property
    def start(self) -> Tensor:
        """Where the user began: (n,)."""
        return self.unit(self.function.start)

    @property
    def best(self) -> Tensor:
        """The best point so far: (n,)."""
        return self.unit(self.function.best)

    @property
    def least(self) -> float:
        """Its value."""
        return self.function.least

    def unit(self, x: Tensor) -> Tensor:
        """Real coordinates as unit ones."""
        return (x - self.low) / self.width

    def real(self, u: Tensor) -> Tensor:
        """Unit coordinates as real ones, within the function's bounds."""
        x = self.low + u * self.width
        if self.function.bounded:
            x = torch.minimum(torch.maximum(x, self.function.low), self.function.high)
        return x

    def fold(self, u: Tensor) -> Tensor:
        """Points outside reflected into the cube; they stay where a side has no bound."""
        inside = 1.0 - (torch.remainder(u, 2.0) - 1.0).abs()
        return torch.where(self.closed, inside, u)

    def values(self, rows: Tensor) -> Tensor:
        """f at each row (k, n): (k,)."""
        return self.function.values(self.real(rows))

    def gradients(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """f and its gradients in unit coordinates: (k,) and (k, n)."""
        values, g = self.function.values_and_gradients(self.real(rows))
        return values, g * self.width

    def descend(self, rows: Tensor, steps: int = 60) -> tuple[Tensor, Tensor]:
        """Where a descent from each row ends, and its value: (k, n), (k,)."""
        x, values = flock.descend(self.function, self.real(rows), steps)
        return self.unit(x), values

    def falling(self, rows: Tensor, steps: int = 60) -> Generator[float, None, tuple[Tensor, Tensor]]:
        """The same in pieces, for `yield from`: yields a value after every few evaluations, returns what `descend` returns."""
        x, values = yield from flock.falling(self.function, self.real(rows), steps)
        return self.unit(x), values

    def widen(self) -> bool:
        """A side without a bound moves out where the best point has come near it; says whether one has."""
        best = self.best
        below = ~torch.isfinite(self.function.low) & (best < 0.1)
        above = ~torch.isfinite(self.function.high) & (best > 0.9)
        if not bool((below | above).any()):
            return False
        self.low, self.high = self.low - torch.where(below, self.width, 0.0), self.high + torch.where(above, self.width, 0.0)
        self.width = self.high - self.low
        return True

    def draws(self, purpose: str, round: int) -> Draws:
        """The random numbers of one round of one strategy."""
        return Draws(chance.key(self.seed, f"search.{purpose}", round))


class Draws:
    """A stream of random tensors, a pure function of its key."""

    def __init__(self, key: int) -> None:
        self._generator = np.random.Generator(np.random.SFC64(key))

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, float64."""
        return torch.from_numpy(self._generator.standard_normal(shape))

    def uniform(self, *shape: int) -> Tensor:
        """In [0, 1), float64."""
        return torch.from_numpy(self._generator.random(shape))

    def cauchy(self, *shape: int) -> Tensor:
        """Standard Cauchy, float64."""
        return torch.from_numpy(self._generator.standard_cauchy(shape))

    def whole(self, below: int, *shape: int) -> Tensor:
        """Whole numbers in [0, below), int64."""
        return torch.from_numpy(self._generator.integers(0, below, shape))

    def spread(self, k: int, n: int) -> Tensor:
        """k points in the cube, in each coordinate one in each of k equal pieces (a Latin hypercube): (k, n)."""
        order = self._generator.permuted(np.tile(np.arange(k), (n, 1)), axis=1).T
        return torch.from_numpy((order + self._generator.random((k, n))) / k)
