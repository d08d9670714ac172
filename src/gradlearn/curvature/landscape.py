"""The loss of one batch as a function of theta: by values with theta moved in place, or as a function that autograd can follow.

    land(d, c) = L_B(theta + c d),       f(x) = L_B(theta = x)

The same draws and the same buffers each time (common random numbers), so that values can be subtracted. Afterwards theta and random
state are bitwise as found, and the buffers as the one pass at theta left them. For estimators of the gradient, probes and checks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gradlearn import chance
from gradlearn.curvature.derivatives import Function
from gradlearn.errors import InputTrouble
from gradlearn.layout import window
from gradlearn.symbols import Batch, Estimate, Losses, Objective
from gradlearn.theta import Theta

Moves = Sequence[Tensor]  # one vector for each block of theta


class Landscape:
    """L_B around theta, as a context.

    Attributes:
        loss: L_B(theta); nan where the batch has not a single term.
        totals: (n,) of that pass.
        evaluations: forward passes taken.
    """

    def __init__(self, objective: Objective, theta: Theta, batch: Batch) -> None:
        self.objective, self.theta, self.batch = objective, theta, batch
        self.loss, self.totals, self.evaluations = math.nan, torch.empty(0), 0

    def __enter__(self) -> Landscape:
        self.theta.zero()
        self._stack = ExitStack()
        self._stack.enter_context(chance.preserved())
        self._base = [b.flat.clone() for b in self.theta.blocks]
        self._found = _buffers(self.theta.model)
        self._after = self._found
        try:
            losses = self._losses()
        except BaseException:
            self.__exit__()
            raise
        self.loss, self.totals = mean_of(losses), losses.total
        self._after = _buffers(self.theta.model)
        return self

    def __exit__(self, *_: object) -> None:
        for block, base in zip(self.theta.blocks, self._base, strict=True):
            block.flat.copy_(base)
        _put_back(self._after)
        self._stack.close()

    def __call__(self, moves: Moves, scale: float) -> float:
        """L_B(theta + scale * moves)."""
        for block, base, move in zip(self.theta.blocks, self._base, moves, strict=True):
            torch.add(base, move, alpha=scale, out=block.flat)
        return self.here()

    def here(self) -> float:
        """L_B of theta as it stands now: for who moved `theta.blocks` by hand."""
        _put_back(self._found)
        return mean_of(self._losses())

    def _losses(self) -> Losses:
        self.evaluations += 1
        chance.reseed(self.batch.draw)
        with torch.no_grad():
            return self.objective(self.batch)

    def estimate(self, g: Moves, **known: Any) -> Estimate:
        """Leave g, one vector for each block, in `.grad`, and say what is known."""
        leave(self.theta, g)
        return self.told(**known)

    def told(self, **known: Any) -> Estimate:
        """What is known of a gradient that is in `.grad` already."""
        return told(self.theta, self.batch, self.loss, self.totals, **known)


def mean_of(losses: Losses) -> float:
    """sum(total) / sum(count), summed in float64; nan for a batch of no terms."""
    return losses.total.double().sum().item() / (losses.count.double().sum().item() or math.nan)


def reverse(objective: Objective, theta: Theta, batch: Batch) -> Estimate:
    """The exact gradient of a whole batch by one backward pass, left in `.grad`.

    Raises:
        InputTrouble: the loss does not depend on any parameter.
    """
    theta.zero()
    with chance.preserved():
        chance.reseed(batch.draw)
        losses = depending(objective(batch))
        count = losses.count.double().sum().item() or math.nan
        torch.dot(losses.total, torch.full_like(losses.total, 1.0 / count)).backward()
    theta.gather()
    total = losses.total.detach()
    return told(theta, batch, total.double().sum().item() / count, total)


def depending(losses: Losses) -> Losses:
    """These losses, if autograd can see a parameter in them. Raises InputTrouble."""
    if not losses.total.requires_grad:
        raise InputTrouble("loss: does not depend on any parameter of the model; compute it from the model's output")
    return losses


def leave(theta: Theta, g: Moves) -> None:
    """g into every parameter's `.grad`."""
    for block, vector in zip(theta.blocks, g, strict=True):
        for m in block.members:
            m.grad.copy_(window(vector, m))
    theta.gather()


def told(theta: Theta, batch: Batch, loss: float, totals: Tensor, **known: Any) -> Estimate:
    """The estimate of a gradient that is in `.grad`, with the examples to suspect where the loss is not finite."""
    suspects = None if loss - loss == 0.0 else batch.index[~torch.isfinite(totals).cpu()]
    return Estimate(loss, theta.norm(), batch.n, suspects, **known)


def directions(theta: Theta, draw: int, purpose: str, k: int = 0, *, signs: bool = False) -> list[Tensor]:
    """The k-th random direction of a draw, one vector for each block: standard normal, or `signs` of +1 and -1."""
    found = []
    for i, block in enumerate(theta.blocks):
        generator = torch.Generator().manual_seed(chance.key(draw, purpose, k, i))
        if signs:
            v = torch.randint(2, block.flat.shape, generator=generator, dtype=torch.int8).to(torch.float32).mul_(2).sub_(1)
        else:
            v = torch.randn(block.flat.shape, generator=generator, dtype=torch.promote_types(block.flat.dtype, torch.float32))
        found.append(v.to(block.flat))
    return found


Buffers = list[tuple[nn.Module, str, Tensor, Tensor]]


def _buffers(model: nn.Module) -> Buffers:
    return [(m, name, b, b.clone()) for m in model.modules() for name, b in m._buffers.items() if b is not None]


def _put_back(kept: Buffers) -> None:
    for module, name, buffer, value in kept:
        module._buffers[name] = buffer
        buffer.detach().copy_(value)


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """What happens inside leaves no trace in the module's buffers."""
    kept = _buffers(model)
    try:
        yield
    finally:
        _put_back(kept)


class _Whole(nn.Module):
    """An objective as a module around its model, so that `functional_call` can give the model other parameters."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.model = objective.model
        self._objective = [objective]  # in a list: an objective that is a module is not to be walked twice

    def forward(self, batch: Batch) -> Losses:
        return self._objective[0](batch)


class LossFunction:
    """f(x) = L_B(theta = x): a function of one flat vector that every transform of torch can follow.

    Attributes:
        start: (n,) theta as it is, in the order of `names`.
        names: of the parameters.

    Args:
        objective: its `model` is given the parameters; buffers are copies each time.
        batch: with its draw.
        dtype: computes in this one; parameters, buffers and floating inputs become it. None: as they are.
    """

    def __init__(self, objective: Objective, batch: Batch, dtype: torch.dtype | None = None) -> None:
        self.whole, self.dtype = _Whole(objective), dtype
        self.batch = batch if dtype is None else Batch(_cast(batch.x, dtype), _cast(batch.y, dtype), batch.index, batch.draw)
        held = {name: p for name, p in objective.model.named_parameters() if p.requires_grad}
        if not held:
            raise InputTrouble("model: no parameter requires a gradient; there is nothing to differentiate")
        self.names, self._like = list(held), [p.detach() for p in held.values()]
        fixed = [(name, p) for name, p in objective.model.named_parameters() if name not in held]
        self._fixed = {f"model.{name}": self._as(p.detach()) for name, p in fixed}
        self._buffers = {f"model.{name}": b for name, b in objective.model.named_buffers()}
        wide = self._like[0].dtype
        for p in self._like:
            wide = torch.promote_types(wide, p.dtype)
        self.start = torch.cat([p.flatten().to(dtype or wide) for p in self._like])

    def _as(self, t: Tensor) -> Tensor:
        return t.to(self.dtype) if self.dtype is not None and t.is_floating_point() else t

    def parameters(self, x: Tensor) -> dict[str, Tensor]:
        """x cut into the parameters of the model, by name; differentiable."""
        pieces = x.split([p.numel() for p in self._like])
        cut = zip(self.names, pieces, self._like, strict=True)
        return {name: piece.view(p.shape).to(self.dtype or p.dtype) for name, piece, p in cut}

    def losses(self, parameters: dict[str, Tensor], batch: Batch) -> Losses:
        """The objective's losses of any batch with these parameters."""
        given = {f"model.{name}": p for name, p in parameters.items()}
        scratch = {name: self._as(b).clone() for name, b in self._buffers.items()}
        return functional_call(self.whole, {**self._fixed, **scratch, **given}, (batch,))

    def __call__(self, x: Tensor) -> Tensor:
        """L_B, (). Sets torch's generator from the draw: wrap in `chance.preserved()`."""
        chance.reseed(self.batch.draw)
        losses = self.losses(self.parameters(x), self.batch)
        return losses.total.sum() / losses.count.sum()

    def spread(self, theta: Theta, g: Tensor) -> None:
        """A gradient in the order of `start`, (n,), into every parameter's `.grad`."""
        by_name = dict(zip(self.names, g.split([p.numel() for p in self._like]), strict=True))
        for m in theta.members:
            m.grad.copy_(by_name[m.name].view(m.grad.shape))
        theta.gather()


def function_of(objective: Objective, batch: Batch, *, double: bool = True) -> tuple[Function, Tensor]:
    """The loss of a batch as f and where it stands, for `certify(*function_of(objective, batch))`.

    In evaluation mode, dropout off, in float64 with `double`; random state and the model are as found after each call.
    """
    f = LossFunction(objective, batch, torch.float64 if double else None)

    def quietly(x: Tensor) -> Tensor:
        modes = [(m, m.training) for m in objective.model.modules()]
        objective.model.eval()
        try:
            with chance.preserved():
                return f(x)
        finally:
            for module, mode in modes:
                module.training = mode

    return quietly, f.start


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {k: _cast(v, dtype) for k, v in value.items()}
    return type(value)(_cast(v, dtype) for v in value) if isinstance(value, (tuple, list)) else value
