"""The gradient of each example: vmap where the layers allow it, else one example after another, else rows of one Jacobian.

    G[i] = d total_i / d theta,     sum_i G[i] / sum_i count_i = g

vmap runs the model once for all examples, each with parameters of its own; a GRU refuses that. Where examples meet in a layer
(BatchNorm in training mode) the gradient of an example alone is another thing: there the batch passes once, and the rows of the
Jacobian of its losses are taken one by one. For `gradient/per_example.py` and checks that want the noise of the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.curvature.derivatives import quiet
from gradlearn.curvature.landscape import LossFunction, depending, still
from gradlearn.symbols import Batch, Losses, Objective
from gradlearn.theta import Theta

_ROOM = 1 << 24  # numbers of G at once: 64 MiB in float32
Piece = tuple[Tensor, Losses]  # (k, P) rows of G in the order of theta.members, and the losses of these examples


class ExampleGrads:
    """G of one batch in pieces, by the fastest way that the layers allow.

    Attributes:
        way: "vmap", "one by one" or "rows of the Jacobian", of the last batch.
        note: why it was not vmap; "" where it was.

    Args:
        part: examples at once; 0 = as many as 64 MiB of G hold.
    """

    def __init__(self, part: int = 0) -> None:
        self.part, self.way, self.note = part, "vmap", ""
        self._tried: Objective | None = None

    def __call__(self, objective: Objective, theta: Theta, batch: Batch) -> Iterator[Piece]:
        """Pieces of G in the order of the batch. Sets torch's generator: wrap in `chance.preserved()`."""
        part = self.part or max(_ROOM // max(len(theta), 1), 1)
        if meets(objective.model):
            self.way, self.note = "rows of the Jacobian", "per-example gradients as rows of the Jacobian: BatchNorm joins examples"
            yield from _rows(objective, theta, batch, part)
            return
        if self._tried is not objective:
            self._try(objective, batch)
        if self.way == "vmap":
            try:
                yield from _mapped(objective, theta, batch, part)
                return
            except (RuntimeError, NotImplementedError, ValueError) as error:  # torch's ways to say no; nothing was yielded yet
                self.way = "one by one"
                self.note = f"per-example gradients one by one: {str(error).splitlines()[0][:120]}"
        yield from _alone(objective, theta, batch, part)

    def _try(self, objective: Objective, batch: Batch) -> None:
        """One example in plain sight: vmap would give a loss without parameters a gradient of zeros."""
        self._tried, self.way, self.note = objective, "vmap", ""
        chance.reseed(batch.draw)
        with still(objective.model):
            depending(objective(next(iter(batch.pieces(1)))))


def meets(model: nn.Module) -> bool:
    """Whether a layer joins the examples of a batch."""
    norms = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return any(m.training or m.running_mean is None for m in norms)


def _mapped(objective: Objective, theta: Theta, batch: Batch, part: int) -> Iterator[Piece]:
    f = LossFunction(objective, batch)
    names = [m.name for m in theta.members]
    parameters = {m.name: m.param.detach() for m in theta.members}

    def of_one(parameters: dict[str, Tensor], one: tuple) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        x, y, index = (_alone_in(v) for v in one)
        losses = f.losses(parameters, Batch(x, y, index, batch.draw))
        return losses.total.sum(), (losses.total, losses.count)

    def of_piece(piece: Batch) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
        one = torch.func.grad(of_one, has_aux=True)
        return torch.func.vmap(one, in_dims=(None, 0), randomness="different")(parameters, (piece.x, piece.y, piece.index))

    for k, piece in enumerate(batch.pieces(part)):
        chance.reseed(batch.draw, k)
        with quiet():
            grads, (total, count) = of_piece(piece)
        G = torch.cat([grads[name].reshape(piece.n, -1) for name in names], 1)
        yield G, Losses(total.detach().flatten(), count.detach().flatten())
    if any(True for _ in objective.model.buffers()) and objective.model.training:
        chance.reseed(batch.draw)  # buffers as one pass of the batch leaves them
        with torch.no_grad():
            objective(batch)


def _alone_in(value: Any) -> Any:
    """One example as a batch of one."""
    if isinstance(value, dict):
        return {k: _alone_in(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_alone_in(v) for v in value)
    return value[None] if isinstance(value, Tensor) else value


def _alone(objective: Objective, theta: Theta, batch: Batch, part: int) -> Iterator[Piece]:
    params = [m.param for m in theta.members]
    with torch.no_grad():
        chance.reseed(batch.draw)
        if any(True for _ in objective.model.buffers()):
            objective(batch)
    rows, totals, counts = [], [], []
    for k, one in enumerate(batch.pieces(1)):
        chance.reseed(batch.draw, k)
        with still(objective.model):
            losses = objective(one)
            grads = torch.autograd.grad(losses.total.sum(), params, materialize_grads=True, allow_unused=True)
        rows.append(torch.cat([g.flatten() for g in grads]))
        totals.append(losses.total.detach())
        counts.append(losses.count.detach())
        if len(rows) == part or k + 1 == batch.n:
            yield torch.stack(rows), Losses(torch.cat(totals), torch.cat(counts))
            rows, totals, counts = [], [], []


def _rows(objective: Objective, theta: Theta, batch: Batch, part: int) -> Iterator[Piece]:
    params = [m.param for m in theta.members]
    chance.reseed(batch.draw)
    losses = objective(batch)
    for a in range(0, batch.n, part):
        stop = min(a + part, batch.n)
        rows = []
        for i in range(a, stop):
            grads = torch.autograd.grad(losses.total[i], params, retain_graph=True, materialize_grads=True, allow_unused=True)
            rows.append(torch.cat([g.flatten() for g in grads]))
        yield torch.stack(rows), Losses(losses.total[a:stop].detach(), losses.count[a:stop].detach())
