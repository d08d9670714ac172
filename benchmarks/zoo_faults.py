"""What can be wrong with the data of the zoo: a fault takes a set and gives the set with that fault.

Which examples, columns or labels a fault hits is drawn from the generator it is given: a run is the same in every process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradlearn.adapt import Examples
from gradlearn.symbols import Batch
from zoo_data import Set, taken

Draw = torch.Generator


def some(n: int, k: float, draw: Draw) -> Tensor:
    """k of n (a share of them, if below 1), in random order."""
    return torch.randperm(n, generator=draw)[: int(k if k >= 1 else round(k * n))]


def first(x: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A change of x; of its numbers, where it has codes too."""
    return (change(x[0]), *x[1:]) if isinstance(x, tuple) else change(x)


def few(s: Set, draw: Draw, n: int) -> Set:
    """No more than n training examples."""
    index = some(len(s.y), n, draw)
    return s._replace(x=taken(s.x, index), y=s.y[index])


def nan(s: Set, draw: Draw, k: int) -> Set:
    """One number of each of k examples is NaN."""

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x.view(len(x), -1)[some(len(x), k, draw), 2] = float("nan")
        return x

    return s._replace(x=first(s.x, change))


def infinite(s: Set, draw: Draw, k: int) -> Set:
    """k targets are infinite."""
    y = s.y.clone()
    y[some(len(y), k, draw)] = float("inf")
    return s._replace(y=y)


def huge(s: Set, draw: Draw, k: int, factor: float) -> Set:
    """The inputs of k examples are this many times too large."""

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[some(len(x), k, draw)] *= factor
        return x

    return s._replace(x=first(s.x, change))


def flipped(s: Set, draw: Draw, share: float) -> Set:
    """This share of the labels is another class, drawn, in training and validation alike."""
    classes = int(s.y.max()) + 1

    def change(y: Tensor) -> Tensor:
        y, index = y.clone(), some(len(y), share, draw)
        y[index] = (y[index] + torch.randint(1, classes, (len(index),), generator=draw)) % classes
        return y

    return s._replace(y=change(s.y), vy=change(s.vy))


def constant(s: Set, draw: Draw, share: float, value: float = 0.7) -> Set:
    """This share of the columns (of the channels of a picture) has one value for all examples."""
    width = (s.x[0] if isinstance(s.x, tuple) else s.x).shape[1]
    columns = some(width, share, draw)

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, columns] = value
        return x

    return s._replace(x=first(s.x, change), vx=first(s.vx, change))


def repeated(s: Set, draw: Draw, k: int) -> Set:
    """One column is there k times more."""

    def change(x: Tensor) -> Tensor:
        return torch.cat([x, x[:, :1].expand(-1, k)], 1)

    return s._replace(x=first(s.x, change), vx=first(s.vx, change))


def leaked(s: Set, draw: Draw, share: float) -> Set:
    """This share of the validation examples are training examples."""
    place, source = some(len(s.vy), share, draw), some(len(s.y), len(s.y), draw)
    source = source[: len(place)]
    vy = s.vy.clone()
    vy[place] = s.y[source]

    def mixed(new: Tensor, old: Tensor) -> Tensor:
        new = new.clone()
        new[place] = old[source]
        return new

    vx = tuple(mixed(v, x) for v, x in zip(s.vx, s.x, strict=True)) if isinstance(s.x, tuple) else mixed(s.vx, s.x)
    return s._replace(vx=vx, vy=vy)


def uneven(s: Set, draw: Draw, spread: float) -> Set:
    """Columns scaled from 1 to 1 / spread and spread, in random order."""
    width = (s.x[0] if isinstance(s.x, tuple) else s.x).shape[1]
    factor = torch.logspace(-0.5, 0.5, width, base=spread)[torch.randperm(width, generator=draw)]
    return s._replace(x=first(s.x, lambda x: x * factor), vx=first(s.vx, lambda x: x * factor))


def offset(s: Set, draw: Draw, by: float) -> Set:
    """This much is added to every number of the inputs."""
    return s._replace(x=first(s.x, lambda x: x + by), vx=first(s.vx, lambda x: x + by))


def rare(s: Set, draw: Draw, share: float, one: int = 1) -> Set:
    """Class `one` against all others, as this share of the examples."""

    def kept(y: Tensor) -> Tensor:
        yes, no = (y == one).nonzero().flatten(), (y != one).nonzero().flatten()
        k = max(round(share / (1 - share) * len(no)), 2)
        if k > len(yes):
            no = no[: round((1 - share) / share * len(yes))]
        return torch.cat([yes[:k], no])[torch.randperm(min(k, len(yes)) + len(no), generator=draw)]

    a, b = kept(s.y), kept(s.vy)
    return Set(taken(s.x, a), (s.y[a] == one).long(), taken(s.vx, b), (s.vy[b] == one).long())


def smaller(s: Set, draw: Draw, kind: str) -> Set:
    """All numbers in 16 bits: "bfloat16" or "float16"."""
    dtype = getattr(torch, kind)

    def change(x: Tensor) -> Tensor:
        return x.to(dtype) if x.is_floating_point() else x

    return Set(first(s.x, change), change(s.y), first(s.vx, change), change(s.vy))


class Slow:
    """Examples in memory that take so long, in seconds, to come by: a disk, a decoder, a network."""

    def __init__(self, x: Any, y: Any, each: float, batch: float) -> None:
        self.data, self.each, self.batch = Examples(x, y), each, batch

    def __len__(self) -> int:
        return len(self.data)

    def __call__(self, index: Tensor, draw: int) -> Batch:
        """The batch, late."""
        time.sleep(self.batch + self.each * len(index))
        return self.data(index, draw)


class SlowItems(torch.utils.data.Dataset[Any]):
    """The same as a torch data set of single items."""

    def __init__(self, x: Tensor, y: Tensor, each: float) -> None:
        self.x, self.y, self.each = x, y, each

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        time.sleep(self.each)
        return self.x[i], self.y[i]


def slow(s: Set, draw: Draw, batch: float, each: float = 0.0) -> Set:
    """A batch takes so many seconds to come by, and as many more for each of its examples."""
    return s._replace(data=Slow(s.x, s.y, each, batch))


def slow_items(s: Set, draw: Draw, each: float) -> Set:
    """Each item of a torch data set takes so many seconds."""
    return s._replace(data=SlowItems(s.x, s.y, each))


FAULTS: dict[str, Callable[..., Set]] = {
    f.__name__: f
    for f in (few, nan, infinite, huge, flipped, constant, repeated, leaked, uneven, offset, rare, smaller, slow, slow_items)
}
