"""Peek: what a health check may see of data and model, everything left bitwise as found.

    with untouched(model):  output = outputs(model, taken(data, index).x)

Examples are taken without augmentation; modes, buffers and the random state are put back. Data in memory can be read at will;
of other data (files, a `Dataset` that decodes) only a batch is asked, as a training step would. For checks that look at examples
of their own choice; for the numbers of a step, `History` has them already.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.adapt import Examples, InPieces, OnDevice, Subset, known_of, leaves, select
from gradlearn.supervised import outputs
from gradlearn.symbols import Batch, Data, Objective

__all__ = [
    "activity",
    "chosen",
    "classes",
    "in_memory",
    "known_of",
    "leaves",
    "of",
    "outputs",
    "read",
    "rows_within",
    "says_nothing",
    "select",
    "table",
    "taken",
    "untouched",
    "width",
]


@contextmanager
def untouched(model: nn.Module, train: bool = False) -> Iterator[None]:
    """Inside: evaluation mode (or training mode), and draws of one's own; afterwards all is bitwise as before."""
    modes = [(m, m.training) for m in model.modules()]
    kept = {name: b.clone() for name, b in model.named_buffers()}
    try:
        with chance.preserved():
            model.train(train)
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in kept:
                    buffer.copy_(kept[name])


@contextmanager
def exact(model: nn.Module) -> Iterator[None]:
    """Inside, networks of ours that compute in half precision compute in float32: small differences would drown in its rounding."""
    halves: list[Any] = [module for module in model.modules() if getattr(module, "precision", None) == "bfloat16"]
    for module in halves:
        module.precision = "float32"
    try:
        yield
    finally:
        for module in halves:
            module.precision = "bfloat16"


def of(objective: Objective, which: str) -> Data | None:
    """The training or validation data ("data", "valid") of an objective, or of the one that it adds penalties to."""
    found = getattr(objective, which, None)
    return getattr(getattr(objective, "inner", None), which, None) if found is None else found


def in_memory(data: Data | None) -> bool:
    """Whether reading many examples costs no more than copying them."""
    if isinstance(data, (Subset, InPieces, OnDevice)):
        return in_memory(data.data)
    return isinstance(data, Examples) or getattr(data, "pixels", None) is not None


def chosen(data: Data, most: int, purpose: str) -> Tensor:
    """(k,) numbers of at most so many examples, sorted: all of them, or a draw that is the same in every run."""
    n = len(data)
    if n <= most:
        return torch.arange(n)
    return torch.from_numpy(_drawn(n, most, purpose).copy())


@lru_cache(maxsize=32)
def _drawn(n: int, most: int, purpose: str) -> np.ndarray:
    """Asked for at every look; of many examples a permutation would take longer than the look."""
    if n < 8 * most:
        return np.sort(chance.permutation(n, 0, purpose)[:most])
    draws = chance.integers(n, 0, purpose, np.arange(2 * most + 32))
    return np.sort(draws[np.sort(np.unique(draws, return_index=True)[1])[:most]])


def taken(data: Data, index: Tensor) -> Batch:
    """These examples, not augmented, where the model can take them."""
    batch = data(index, -1)
    return batch if isinstance(batch, Batch) else Batch(batch.x, batch.y, index, -1)  # one in pieces, made whole


def read(data: Data, index: Tensor) -> tuple[Any, Any]:
    """x and y of these examples on the CPU, of data `in_memory`."""
    if isinstance(data, (InPieces, OnDevice)):
        return read(data.data, index)
    if isinstance(data, Subset):
        return read(data.data, data.rows[index])
    if isinstance(data, Examples):
        return (data.x, data.y) if len(index) == len(data) else (select(data.x, index), select(data.y, index))
    batch = data(index, -1)
    return batch.x, batch.y


def width(data: Data) -> int:
    """Numbers in one example's x, at least 1."""
    return max(sum(t[0].numel() for t in leaves(read(data, torch.zeros(1, dtype=torch.int64))[0])), 1)


def rows_within(data: Data, most: int, numbers: int) -> int:
    """How many examples may be looked at: so many, or those that make up so many numbers, but 100 at least."""
    return min(most, max(numbers // width(data), 100))


def says_nothing(x: Any) -> bool:
    """Whether all inputs are the same: not meant to say anything, as where the module is a function of its parameters alone."""
    return all(bool((part[:200] == part[:1]).all()) for part in leaves(x))


def table(x: Any) -> Tensor | None:
    """x as (n, d) float32 where it is one tensor of numbers (bytes of pictures too); None for words, tuples and dicts."""
    numbers = isinstance(x, Tensor) and x.ndim >= 1 and (x.is_floating_point() or x.dtype == torch.uint8)
    return x.reshape(len(x), -1).float() if numbers else None


def classes(y: Any) -> Tensor | None:
    """y as (n,) int64 where it is one class for each example, 0 and 1 in floats too; None for anything else."""
    if not isinstance(y, Tensor) or (y.ndim != 1 and not (y.ndim == 2 and y.shape[1] == 1)):
        return None
    if y.is_floating_point():
        return y.flatten().long() if bool(((y == 0) | (y == 1)).all()) else None
    return y.flatten().long() if y.ndim == 1 and y.dtype != torch.uint8 and bool((y >= 0).all()) else None


RECTIFIED = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU)  # which pass nothing, or next to nothing, on one side
BOUND = {nn.Tanh: (-1.0, 1.0), nn.Sigmoid: (0.0, 1.0), nn.Hardtanh: (-1.0, 1.0), nn.Hardsigmoid: (0.0, 1.0)}
EDGE = 0.015  # of the span between the two bounds: |tanh| > 0.97


def activity(model: nn.Module, x: Any) -> list[tuple[str, str, int, float]]:
    """(module, "dead" or "saturated", units, share) of each activation module, over these inputs.

    "dead": the share of its units (features, channels) that passed nothing for any example, at any place. "saturated": the share
    of its outputs at their bounds. Activations that are called as functions are not seen.
    """
    rows: list[tuple[str, str, int, float]] = []

    def hooked(name: str, module: nn.Module) -> Any:
        def hook(module: nn.Module, given: Any, out: Any) -> None:
            if isinstance(out, Tensor) and out.ndim > 1 and out.is_floating_point():
                what = "dead" if isinstance(module, RECTIFIED) else "saturated"
                rows.append((name, what, out.shape[1 if out.ndim == 4 else -1], (dead if what == "dead" else bound)(module, out)))

        return module.register_forward_hook(hook)

    handles = [hooked(name, m) for name, m in model.named_modules() if isinstance(m, RECTIFIED) or type(m) in BOUND]
    try:
        if handles:
            with torch.no_grad():
                outputs(model, x)
    finally:
        for handle in handles:
            handle.remove()
    return rows


def dead(module: nn.Module, out: Tensor) -> float:
    """The share of units that are zero throughout; of three axes it is not known which are units: the better case counts."""
    least = 0.0 if isinstance(module, (nn.ReLU, nn.ReLU6)) else 1e-3
    axes = {2: (1,), 3: (1, 2), 4: (1,)}.get(out.ndim, (-1,))
    return min((out.movedim(axis, 0).flatten(1).amax(1) <= least).float().mean().item() for axis in axes)


def bound(module: nn.Module, out: Tensor) -> float:
    """The share of outputs next to a bound."""
    low, high = BOUND[type(module)]
    edge = EDGE * (high - low)
    return ((out < low + edge) | (out > high - edge)).float().mean().item()
