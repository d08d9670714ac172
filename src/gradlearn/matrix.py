"""Updates of whole tensors: a tensor seen as matrices, tensors of equal shape as one batch, and the algebra on such batches.

    linear (o, i) -> (1, o, i);   convolution (o, i, kh, kw) -> (kh kw, o, i);   LSTM weight (4 h, i), parts=4 -> 4 x (1, h, i)

What Muon, SOAP, Shampoo and Kron share. On one core a matrix of 512 x 512 is work; five hundred of 25 x 40 are waiting, a call of
the library each. So all tensors of one shape are one batch: their state is kept stacked, and each operation is one call for all.

All arithmetic is float32 (float64 for float64 parameters), never bfloat16: processors without instructions for it need 50 times
as long. What is no matrix (biases, norms; embeddings and the head where an update leaves them) is stepped by AdamW, fused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import attrgetter, is_, itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.optimizer import Light, count
from gradlearn.sweep import lerp, sqrt

_dense = torch.ops.aten.is_non_overlapping_and_dense
_fused = torch._fused_adamw_  # pyright: ignore[reportPrivateImportUsage]
_dtype = attrgetter("dtype")

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


class Family:
    """Parameters of one shape, kind, device and age, stepped as one batch: their states stacked, and the entries views of that.

    Attributes:
        params: its parameters, n of them.
        shape: (n parts, k, o, i): all their matrices.
    """

    def __init__(self, params: list[Tensor], states: list[dict[str, Tensor]], group: dict[str, Any]) -> None:
        self.params, self.states = params, states
        parts, *rest = shape_of(params[0], group)
        self.parts, self.shape = parts, (len(params) * parts, *rest)
        self._stacks: dict[str, tuple[Tensor, tuple[Tensor, ...]]] = {}

    def stack(self, name: str) -> Tensor:
        """One state of them all, (n parts, ...); a change of it is one of theirs, now and in the next steps. Counters: (n,)."""
        own = list(map(itemgetter(name), self.states))
        kept = self._stacks.get(name)
        if kept is not None and all(map(is_, own, kept[1])):
            return kept[0]
        stacked = torch.stack(own)
        views = stacked.unbind()
        for state, view in zip(self.states, views, strict=True):
            state[name] = view
        together = stacked.flatten(0, 1) if stacked.ndim > 2 else stacked
        self._stacks[name] = (together, views)
        return together

    def gradients(self) -> Tensor:
        """Their gradients, a copy, (n parts, k, o, i) in the type of number of `exact`."""
        g = torch.stack([g for p in self.params if (g := p.grad) is not None])
        g = g if g.dtype == torch.float32 else g.to(exact(self.params[0]))
        return g.reshape(self.shape) if self.shape[1] == 1 else sides(g, self.parts).contiguous()

    def unfold(self, u: Tensor) -> list[Tensor]:
        """The inverse: (n parts, k, o, i) as one tensor in the shape of each parameter."""
        if self.shape[1] == 1:
            return list(u.reshape(len(self.params), *self.params[0].shape).unbind())
        return list(unfold(u, self.params))

    def age(self) -> int | None:
        """Steps taken; None if it is no longer one number for all."""
        first, *others = self.stack("step").tolist()
        return int(first) if all(n == first for n in others) else None


class Sorted(NamedTuple):
    """The parameters of a group that have gradients, in families; and those that AdamW steps."""

    params: list[Tensor]
    states: list[dict[str, Tensor]]
    dtypes: list[torch.dtype]
    families: list[Family]
    others: list[Tensor]

    def fits(self, params: list[Tensor], states: list[dict[str, Tensor]], dtypes: list[torch.dtype]) -> bool:
        """Whether it is of these very parameters, states and kinds."""
        return dtypes == self.dtypes and all(map(is_, params, self.params)) and all(map(is_, states, self.states))


class Whole(Kept):
    """An update whose unit is the tensor. A class of this kind says which tensors it takes, what their state is, and the turn.

    Groups may say `role` ("matrix", "embedding", "head", "rest"; absent where nobody knows) and `parts`: of how many matrices,
    one below the other, each tensor of the group consists (3 for GRU weights and for attention's joint projection, 4 for LSTM).
    """

    elementwise = False
    dimensions = 2  # at least so many, where `takes` is asked at all

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self._sorted: dict[int, Sorted] = {}
        super().__init__(params, defaults)

    def takes(self, p: Tensor, group: dict[str, Any]) -> bool:
        """Whether this tensor is one of those the update is made for; AdamW steps the others."""
        raise NotImplementedError

    def begin(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """The state of such a tensor before the first step."""
        raise NotImplementedError

    def turn(self, families: list[Family], group: dict[str, Any], step: int) -> None:
        """One step for these families of a group, of one type of number and device, of which this is number `step`, from 1."""
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
        """AdamW for what is no matrix, and one turn for all families of one age, kind and device."""
        for index, group in enumerate(self.param_groups):
            known = self._sort(index, group)
            ages = [family.age() for family in known.families]
            if None in ages:  # somebody has changed the counters
                del self._sorted[index]
                known = self._sort(index, group)
                ages = [family.age() for family in known.families]
            adamw(known.others, [self.state[p] for p in known.others], group)
            together: dict[tuple[Any, ...], list[Family]] = {}
            for age, family in zip(ages, known.families, strict=True):
                together.setdefault((age, family.params[0].dtype, family.params[0].device), []).append(family)
            for (age, *_), families in together.items():
                for family in families:
                    family.stack("step").add_(1.0)
                self.turn(families, group, age + 1)

    def of_one_age(self) -> bool:
        """Whether the tensors of each group have taken equally many steps."""
        return all(len({int(self.state[p]["step"]) for p in group["params"]}) <= 1 for group in self.param_groups)

    def _sort(self, index: int, group: dict[str, Any]) -> Sorted:
        """The group in families; as it was, where the same parameters, states and kinds are there as in the step before."""
        params = [p for p in group["params"] if p.grad is not None]
        states, dtypes = list(map(self.state.__getitem__, params)), list(map(_dtype, params))
        known = self._sorted.get(index)
        if known is not None and known.fits(params, states, dtypes):
            return known
        batches: dict[tuple[Any, ...], list[Tensor]] = {}
        for p, state in zip(params, states, strict=True):
            if self._mine(p, group):
                batches.setdefault((p.shape, p.dtype, p.device, state["step"].item()), []).append(p)
        families = [Family(batch, [self.state[p] for p in batch], group) for batch in batches.values()]
        others = [p for p in params if p.numel() and not self._mine(p, group)]
        self._sorted[index] = Sorted(params, states, dtypes, families, others)
        return self._sorted[index]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._sorted = {}


def adamw(params: list[Tensor], states: list[dict[str, Tensor]], group: dict[str, Any]) -> None:
    """One fused step of AdamW for tensors of any shape; of a tensor with gaps in memory by way of a copy."""
    if not params:
        return
    places = [p if p.is_contiguous() or bool(_dense(p.detach())) else p.detach().contiguous() for p in params]
    steps = [s["step"] for s in states]
    count(steps)
    _fused(
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


def adamw_formula(
    p: Any, m: Any, v: Any, g: Any, keep: float, a1: float, a2: float, root: float, eps: float, step: float
) -> tuple[Any, ...]:
    """One coordinate of theta, mean and square: what the fused kernel does."""
    m, v = lerp(m, g, a1), lerp(v, g * g, a2)
    return p * keep - step * m / (sqrt(v) * root + eps), m, v


def write_adamw(
    pen: Any,
    update: Any,
    index: int,
    params: Sequence[Tensor],
    decay: Callable[[dict[str, Any], float], float] | None = None,
) -> None:
    """A step of AdamW for some parameters of a group, with the pen of a program; they have taken equally many steps."""
    if not params:
        return

    def numbers(group: dict[str, Any], t: int, lr: float) -> tuple[float, ...]:
        b1, b2 = group["betas"]
        pull = group["weight_decay"] if decay is None else decay(group, lr)
        return 1.0 - lr * pull, 1.0 - b1, 1.0 - b2, (1.0 - b2**t) ** -0.5, group["eps"], lr / (1.0 - b1**t)

    given = pen.numbers(lambda: update.param_groups[index], numbers, lambda: int(update.state[params[0]]["step"]))
    for p in params:
        pen.walk(adamw_formula, p, [lambda p=p, name=name: update.state[p][name] for name in ("exp_avg", "exp_avg_sq")], given)
    pen.after.append(lambda steps: [update.state[p]["step"].add_(steps) for p in params])


def adam(m: list[Tensor], v: list[Tensor], g: list[Tensor], betas: tuple[float, float], eps: float, step: int) -> list[Tensor]:
    """m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, where this is number `step`; returns mhat / (sqrt(vhat) + eps) of all.

    That is a fused step of AdamW from nought at a rate of -1: one pass over memory, one call for all.
    """
    u = [torch.zeros_like(x) for x in g]
    steps = [torch.full((), float(step), device=g[0].device)] * len(u)
    b1, b2 = betas
    _fused(u, g, m, v, [], steps, lr=-1.0, beta1=b1, beta2=b2, weight_decay=0.0, eps=eps, amsgrad=False, maximize=False)
    return u


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
    """y[.. a ..] = sum_b m[a, b] x[.. b ..] on one side: m (n, s, s), x (n, k, o, i), or (n, o, i) where k is 1."""
    if x.ndim == 3:
        return torch.bmm(m, x) if side == 1 else torch.bmm(x, m.mT)
    if side == 0:
        return torch.bmm(m, x.flatten(2)).view(x.shape)
    if side == 1:
        return torch.matmul(m.unsqueeze(1), x) if x.shape[1] > 1 else torch.bmm(m, x.squeeze(1)).unsqueeze(1)
    return torch.bmm(x.flatten(1, 2), m.mT).view(x.shape)


def gram_(into: Tensor, x: Tensor, side: int, keep: float, add: float, half: bool = False) -> Tensor:
    """into <- keep into + add x x^T over all other sides: (n, s, s). With `half`, below the diagonal anything: see `whole`."""
    if x.ndim == 3:
        flat = x.mT if side == 2 else x
    else:
        flat = x.flatten(1, 2).mT if side == 2 else (x if side == 0 else x.transpose(1, 2)).flatten(2)
    rows = flat.shape[1]
    if not half or rows < LARGE:
        return into.baddbmm_(flat, flat.mT, beta=keep, alpha=add)
    cuts = [rows * i // 4 for i in range(5)]
    for a, b in pairwise(cuts):  # a symmetric product: ten sixteenths of the work
        into[:, a:b, a:].baddbmm_(flat[:, a:b], flat[:, a:].mT, beta=keep, alpha=add)
    return into


def whole(gram: Tensor) -> Tensor:
    """A symmetric matrix of which `gram_` has kept the upper half."""
    return gram if gram.shape[1] < LARGE else gram.triu() + gram.triu(1).mT


def normal(shape: Sequence[int], like: Tensor, key: int) -> Tensor:
    """Standard normal numbers, a pure function of the key on every device; no generator but one of its own is touched."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(key), dtype=exact(like)).to(like.device)
