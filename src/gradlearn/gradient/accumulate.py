"""Accumulate: the exact gradient of a batch of any size, in pieces that fit the memory.

    g = sum_pieces sum_i grad total_i / sum_i count_i

What a piece keeps for its backward pass is measured on the first few examples (bytes, not seconds: the same on every machine),
and pieces are made so large that it stays within `memory`. Sums are divided once, by the count of the whole batch, so uneven tails
and token counts weigh what they weigh in the big batch. (A BatchNorm still sees the pieces.) Use it for full batches and for
batches that one backward pass cannot hold; where a piece is all of the batch, `backprop` is the same with less to do.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.curvature import depending, still, told
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Batch, Estimate, Objective
from gradlearn.theta import Theta

__all__ = ["Accumulate"]
_FIRST = 8  # examples of the piece that is measured


class Accumulate:
    """Reverse-mode gradient of one batch in pieces.

    Args:
        part: examples in a piece; 0 = as many as `memory` holds.
        memory: MiB that a piece may keep for its backward pass.
    """

    def __init__(self, *, part: int = 0, memory: int = 256) -> None:
        if part < 0:
            raise InputTrouble(f"--accumulate.part {part}: must be 0 (found out) or a number of examples")
        if memory < 1:
            raise InputTrouble(f"--accumulate.memory {memory}: must be at least 1 (MiB)")
        self.part, self.memory = part, memory
        self._kept: dict[tuple, float] = {}  # bytes per example, by the shape of an example

    def __call__(self, objective: Objective, theta: Theta, batch: Batch) -> Estimate:
        """Leave g in `.grad`; return the loss of the whole batch and ||g||."""
        theta.zero()
        total = count = 0.0
        totals: list[Tensor] = []
        with chance.preserved():
            for k, piece in enumerate(batch.pieces(self.part or self._fitting(objective, theta, batch))):
                chance.reseed(batch.draw, k)
                losses = depending(objective(piece))
                losses.total.sum().backward()
                totals.append(losses.total.detach())
                total += totals[-1].double().sum().item()
                count += losses.count.double().sum().item()
        theta.gather()
        count = count or math.nan
        theta.scale_grad(1.0 / count)
        return told(theta, batch, total / count, torch.cat(totals))

    def _fitting(self, objective: Objective, theta: Theta, batch: Batch) -> int:
        """How many examples keep at most `memory` for their backward pass."""
        first = next(iter(batch.pieces(min(_FIRST, batch.n))))
        shape = (type(objective), *(t.shape[1:] for t in leaves(first.x)))
        if shape not in self._kept:
            self._kept[shape] = kept(objective, theta, first) / first.n
        return max(1, int(self.memory * 2**20 / max(self._kept[shape], 1.0)))


def kept(objective: Objective, theta: Theta, batch: Batch) -> int:
    """Bytes that the graph of a batch's losses keeps for the backward pass, less theta and the batch, which are there anyway."""
    held: dict[int, int] = {}
    alive: list[Tensor] = []  # a storage that is let go may be handed out again: it would count once

    def pack(t: Tensor) -> Tensor:
        held[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        alive.append(t.detach())
        return t

    chance.reseed(batch.draw)
    with still(objective.model), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        objective(batch)
    own = {t.untyped_storage().data_ptr() for t in (*(b.flat for b in theta.blocks), *leaves((batch.x, batch.y)))}
    return sum(size for where, size in held.items() if where not in own)


def leaves(value: Any) -> list[Tensor]:
    """All tensors in a tensor, tuple, list or dict."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in leaves(v)]
    return [value] if isinstance(value, Tensor) else []
