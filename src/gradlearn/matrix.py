"""Updates of whole tensors: a tensor seen as matrices, tensors of equal shape as one batch, and the algebra on such batches.

    linear (o, i) -> (1, o, i);   convolution (o, i, kh, kw) -> (kh kw, o, i);   LSTM weight (4 h, i), parts=4 -> 4 x (1, h, i)

What Muon, SOAP, Shampoo and Kron share. On one core a matrix of 512 x 512 is work; five hundred of 25 x 40 are waiting, a call of
the library each. So all tensors of one shape are one batch: their state is kept stacked, and each operation is one call for all.

All arithmetic is float32 (float64 for float64 parameters), never bfloat16: processors without instructions for it need 50 times
as long. What is no matrix (biases, norms; embeddings and the head where an update leaves them) is stepped by AdamW, fused.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.optimizer import Light, count

_dense = torch.ops.aten.is_non_overlapping_and_dense

LARGE = 256  # rows from which half a product is worth four calls


class Kept(Light):
    """Whose state keeps its own type of number when it is loaded; torch brings it into that of the parameter, which loses bits."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """torch's own, and each number as exact as it was."""
        params = [p for group in self.param_groups for p in group["params"]]
        kinds = [
            {name: t.dtype for name, t in self.state[p].items() if isinstance(t, Tensor)} if p in self.state else {} for p in params
        ]
        super().load_state_dict(state_dict)
        for index, saved in state_dict["state"].items():
            for name, kind in kinds[index].items():
                if isinstance(saved.get(name), Tensor) and self.state[params[index]][name].dtype != kind:
                    self.state[params[index]][name] = saved[name].to(device=params[index].device, dtype=kind, copy=True)


class Whole(Kept):
    """An update whose unit is the tensor. A class of this kind says which tensors it takes, what their state is, and the turn.

    Groups may say `role` ("matrix", "embedding", "head", "rest"; absent where nobody knows) and `parts`: of how many matrices,
    one below the other, each tensor of the group consists (3 for GRU weights and for attention's joint projection, 4 for LSTM).
    """

    elementwise = False
    dimensions = 2  # at least so many, where `takes` is asked at all

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self._stacks: dict[tuple[int, str], tuple[Tensor, tuple[Tensor, ...]]] = {}
        super().__init__(params, defaults)

    def takes(self, p: Tensor, group: dict[str, Any]) -> bool:
        """Whether this tensor is one of those the update is made for; AdamW steps the others."""
        raise NotImplementedError

    def begin(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """The state of such a tensor before the first step."""
        raise NotImplementedError

    def turn(self, params: list[Tensor], group: dict[str, Any], step: int) -> None:
        """One step for tensors of one shape, of which this is number `step`, from 1."""
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A group of parameters, its state complete from the start."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group.setdefault("parts", 1)
        for p in group["params"]:
            self.state[p] = self._born(p, group)

    def _born(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        if self._mine(p, group):
            if p.ndim >= 2 and p.shape[0] % group["parts"]:
                raise InputTrouble(f"parts={group['parts']}: {tuple(p.shape)} is not that many equal matrices; give another number")
            return {"step": torch.zeros(())} | self.begin(p, group)
        zeros = {name: torch.zeros_like(p, memory_format=torch.preserve_format) for name in ("exp_avg", "exp_avg_sq")}
        return {"step": torch.zeros((), device=p.device)} | zeros

    def _mine(self, p: Tensor, group: dict[str, Any]) -> bool:
        return p.ndim >= self.dimensions and p.numel() > 0 and self.takes(p, group)

    def update(self) -> None:
        """AdamW for what is no matrix, and one turn for each shape."""
        for group, pairs in [(group, self.pairs(group)) for group in self.param_groups]:
            others: list[Tensor] = []
            batches: dict[tuple[Any, ...], list[Tensor]] = {}
            for p, _ in pairs:
                if self._mine(p, group):
                    key = (p.shape, p.dtype, p.device, self.state[p]["step"].item())
                    batches.setdefault(key, []).append(p)
                elif p.numel():
                    others.append(p)
            adamw(others, [self.state[p] for p in others], group)
            for key, params in batches.items():
                count([self.state[p]["step"] for p in params])
                self.turn(params, group, int(key[-1]) + 1)

    def stack(self, params: list[Tensor], name: str) -> Tensor:
        """One state of several tensors as one, (n, ...): their own entries are views of it, now and in the next steps."""
        own = [self.state[p][name] for p in params]
        kept = self._stacks.get((id(params[0]), name))
        if kept is not None and len(own) == len(kept[1]) and all(map(_same, own, kept[1])):
            return kept[0]
        whole = torch.stack(own)
        views = whole.unbind()
        for p, view in zip(params, views, strict=True):
            self.state[p][name] = view
        self._stacks[id(params[0]), name] = (whole, views)
        return whole

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._stacks = {}


def _same(a: Any, b: Any) -> bool:
    return a is b


def adamw(params: list[Tensor], states: list[dict[str, Tensor]], group: dict[str, Any]) -> None:
    """One fused step of AdamW for tensors of any shape; of a tensor with gaps in memory by way of a copy."""
    if not params:
        return
    places = [p if p.numel() == 0 or bool(_dense(p.detach())) else p.detach().contiguous() for p in params]
    steps = [s["step"] for s in states]
    count(steps)
    torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage]
        places,
        [_like(p.grad, place) for p, place in zip(params, places, strict=True) if p.grad is not None],
        [s["exp_avg"] for s in states],
        [s["exp_avg_sq"] for s in states],
        [],
        steps,
        lr=group["lr"],
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )
    for p, place in zip(params, places, strict=True):
        if place is not p:
            p.copy_(place)


def parts_of(p: Tensor, group: dict[str, Any]) -> int:
    """Of how many matrices a tensor consists."""
    return group["parts"] if p.ndim >= 2 else 1


def _like(g: Tensor, p: Tensor) -> Tensor:
    return g if g.stride() == p.stride() else torch.empty_like(p).copy_(g)


def exact(p: Tensor) -> torch.dtype:
    """The type of number to compute in."""
    return torch.float64 if p.dtype == torch.float64 else torch.float32


def sides(batch: Tensor, parts: int = 1) -> Tensor:
    """Tensors (n, parts o, i, ...) as (n parts, k, o, i): a matrix for each place of a kernel. A vector is one row of a matrix."""
    if batch.ndim < 3:
        return batch.reshape(batch.shape[0], 1, 1, -1)
    n, rows, columns = batch.shape[:3]
    return batch.reshape(n * parts, rows // parts, columns, -1).permute(0, 3, 1, 2)


def unfold(x: Tensor, params: Sequence[Tensor]) -> Sequence[Tensor]:
    """The inverse of `sides`: (n parts, k, o, i) as one tensor in the shape of each parameter."""
    return x.permute(0, 2, 3, 1).reshape(len(params), *params[0].shape).unbind()


def gradients(params: Sequence[Tensor]) -> Tensor:
    """The gradients of tensors of one shape as one: (n, *shape), a copy."""
    return torch.stack([p.grad for p in params if p.grad is not None]).to(exact(params[0]))


def move(params: list[Tensor], u: Sequence[Tensor], lr: float, decay: float) -> None:
    """theta <- (1 - lr decay) theta - lr u; of a half-precision theta in float32, rounded once."""
    if params[0].dtype == u[0].dtype:
        if decay:
            torch._foreach_mul_(params, 1.0 - lr * decay)  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_add_(params, list(u), alpha=-lr)  # pyright: ignore[reportPrivateImportUsage]
        return
    for p, each in zip(params, u, strict=True):
        p.copy_(p.to(each.dtype).mul_(1.0 - lr * decay).sub_(each, alpha=lr))


def shape_of(p: Tensor, group: dict[str, Any]) -> tuple[int, ...]:
    """(parts, k, o, i) of one parameter."""
    parts = parts_of(p, group)
    return (parts, *sides(torch.empty(1, *p.shape, device="meta"), parts).shape[1:])


def active(shape: Sequence[int], cap: int) -> tuple[int, ...]:
    """Which sides (0: k, 1: o, 2: i) of (..., k, o, i) get a matrix: those longer than 1 and no longer than `cap`."""
    return tuple(side for side, n in enumerate(shape[-3:]) if 1 < n <= cap)


def act(m: Tensor, x: Tensor, side: int) -> Tensor:
    """y[.. a ..] = sum_b m[a, b] x[.. b ..] on one side: m (n, s, s), x (n, k, o, i)."""
    if side == 0:
        return torch.bmm(m, x.flatten(2)).view(x.shape)
    if side == 1:
        return torch.matmul(m.unsqueeze(1), x) if x.shape[1] > 1 else torch.bmm(m, x.squeeze(1)).unsqueeze(1)
    return torch.bmm(x.flatten(1, 2), m.mT).view(x.shape)


def gram_(into: Tensor, x: Tensor, side: int, keep: float, add: float, half: bool = False) -> Tensor:
    """into <- keep into + add x x^T over all other sides: (n, s, s). With `half`, below the diagonal anything: see `whole`."""
    flat = x.flatten(1, 2).mT if side == 2 else (x if side == 0 else x.transpose(1, 2)).flatten(2)
    rows = flat.shape[1]
    cuts = [rows * i // 4 for i in range(5)] if half and rows >= LARGE else [0, rows]
    for a, b in pairwise(cuts):  # a symmetric product: ten sixteenths of the work
        into[:, a:b, a:].baddbmm_(flat[:, a:b], flat[:, a:].mT, beta=keep, alpha=add)
    return into


def whole(gram: Tensor) -> Tensor:
    """A symmetric matrix of which `gram_` has kept the upper half."""
    return gram if gram.shape[1] < LARGE else gram.triu() + gram.triu(1).mT


def normal(shape: Sequence[int], like: Tensor, key: int) -> Tensor:
    """Standard normal numbers, a pure function of the key on every device; no generator but one of its own is touched."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(key), dtype=exact(like)).to(like.device)
