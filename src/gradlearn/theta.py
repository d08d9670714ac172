"""theta is one vector: per device and dtype one contiguous buffer; the module's parameters and their gradients are views into it.

    theta = [segment | segment | ...],   segment = parameters of one (role, decay), in the order of the model

So a norm, a finite check, clipping, an average, a snapshot and every elementwise update are one pass over memory instead of one
per tensor. Names, ties, strides (channels_last) and the state dict stay as the module's author gave them. What a module may do to
its parameters behind our back is found each step (`bind`) and mended, or refused with the reason. `release` gives every
parameter its own storage again.

Use it where gradlearn owns the loop. A loop of your own does not need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.layout import Block, Member, by_kind, lay_out, members_of, window

Own = Callable[[Member], dict[str, Any]]  # what more the group of a parameter has


def _nothing(m: Member) -> dict[str, Any]:
    return {}


class Theta:
    """The trainable parameters of a module as one vector.

    Args:
        model: any module; frozen parameters and buffers stay where they are.

    Raises:
        InputTrouble: nothing to train, or parameters that no vector can hold (sparse, complex, lazy).
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        members = members_of(model)
        if not members:
            raise InputTrouble("model: no parameter requires a gradient; there is nothing to train")
        self.blocks = [lay_out(group) for group in by_kind(members)]
        self.members = [m for b in self.blocks for m in b.members]
        self._places = [(owner._parameters, name, m) for m in self.members for owner, name in m.owners]
        self._registered = tuple(zip(*((registry, name, m.param) for registry, name, m in self._places), strict=True))
        self._params = [m.param for m in self.members]
        self._pointers = [m.view.data_ptr() for m in self.members]
        self._versions = [0] * len(self.members)
        self._watched = [(m.param, m.grad) for m in self.members]
        self._look_for_new()
        self._handed: list[tuple[nn.Parameter, Tensor]] = []  # what updates hold: see `groups`
        self.untouched: list[Member] = []
        self.begins: dict[str, int] = {}  # of parameters that stand still at first: the step at which they begin to move
        self.turned: set[int] = set()  # parameters (their `id`) that were laid out by channels for the training

    def __len__(self) -> int:
        """Number of parameters: entries of theta, without padding."""
        return sum(m.param.numel() for m in self.members)

    def zero(self) -> None:
        """g <- 0, and every parameter's `.grad` is its view again."""
        self.bind()
        for pairs in (self._watched, self._handed):
            for param, grad in pairs:
                if param.grad is not grad:
                    param.grad = grad
        for block in self.blocks:
            block.grad.zero_()
        self._versions = [grad._version for _, grad in self._watched]

    def gather(self) -> None:
        """After backward: gradients that autograd put elsewhere go into the vector; note who got none this step."""
        for param, grad in self._watched:
            if param.grad is not grad:
                if param.grad is not None:
                    grad.copy_(param.grad.detach())
                param.grad = grad
        before, now = self._versions, [grad._version for _, grad in self._watched]
        self.untouched = []
        if any(map(int.__eq__, before, now)):
            self.untouched = [m for m, a, b in zip(self.members, before, now, strict=True) if a == b]

    def bind(self) -> None:
        """Mend what was moved since the last step (values are kept), refuse what cannot be mended.

        Raises:
            InputTrouble: a parameter changed dtype, device or shape, was replaced, or a new one appeared.
        """
        if list(map(Tensor.data_ptr, self._params)) != self._pointers:
            for i, m in enumerate(self.members):
                if m.param.data_ptr() != self._pointers[i]:
                    self._mend(m)
        registries, names, params = self._registered
        if not all(map(is_, map(dict.get, registries, names), params)):
            for registry, name, m in self._places:
                if registry.get(name) is not m.param:
                    self._adopt(registry, name, m)
        if list(map(len, self._registries)) != self._sizes:
            self._look_for_new()

    def _mend(self, m: Member) -> None:
        _check_kind(m, m.param)
        m.view.copy_(m.param.detach())
        m.param.data = m.view
        m.grad.data = window(self._block(m).grad, m)  # what moves a parameter (`.to`) moves its gradient too

    def _adopt(self, registry: Any, name: str, m: Member) -> None:
        new = registry.get(name)
        if new is None or new.shape != m.param.shape:
            raise InputTrouble(f"model: parameter {m.name!r} was removed or replaced while training; change the model before fit")
        _check_kind(m, new)
        m.view.copy_(new.detach())
        registry[name] = m.param

    def _look_for_new(self) -> None:
        known = {id(m.param) for m in self.members}
        for name, param in self.model.named_parameters():
            if param.requires_grad and id(param) not in known:
                raise InputTrouble(f"model: parameter {name!r} appeared while training; change the model before fit")
        self._registries = [d for module in self.model.modules() for d in (module._parameters, module._modules)]
        self._sizes = list(map(len, self._registries))

    def _block(self, m: Member) -> Block:
        return next(b for b in self.blocks if any(other is m for other in b.members))

    def norm(self) -> float:
        """||g||_2 over the whole vector, in one pass."""
        if len(self.blocks) == 1:
            return torch.linalg.vector_norm(self.blocks[0].grad).item()
        return sum(torch.linalg.vector_norm(b.grad).item() ** 2 for b in self.blocks) ** 0.5

    def scale_grad(self, factor: float) -> None:
        """g <- factor * g."""
        for block in self.blocks:
            block.grad.mul_(factor)

    def groups(self, own: Own = _nothing) -> list[dict[str, Any]]:
        """Parameter groups for an elementwise update: one flat tensor for what decays, one for what does not, per block.

        Each has `role` "all" or "rest"; groups without decay carry `weight_decay` 0. `own` says what more the group of a parameter
        has, such as a rate; neighbours with the same share a group.
        """
        groups: list[dict[str, Any]] = []
        for block in self.blocks:
            for decay in (True, False):
                spans = [(a, b) for _, d, a, b in block.segments if d is decay]
                if not spans:
                    continue
                parts = [(more, next(ms).start) for more, ms in groupby((m for m in block.members if m.decay is decay), own)]
                for (more, start), stop in zip(parts, [*(a for _, a in parts[1:]), spans[-1][1]], strict=True):
                    param = nn.Parameter(block.flat[start:stop])
                    param.grad = block.grad[start:stop]
                    self._handed.append((param, param.grad))
                    group = {"params": [param], "role": "all" if decay else "rest"} | more
                    groups.append(group | ({} if decay else {"weight_decay": 0.0}))
        return groups

    def views(self, own: Own = _nothing) -> list[dict[str, Any]]:
        """Parameter groups for an update of whole tensors: the module's own, one group for each (role, decay, parts) of a block.

        Each has its `role`, and `parts`: of how many matrices a tensor is made up; groups without decay carry `weight_decay` 0.
        `own` as for `groups`.
        """
        groups: list[dict[str, Any]] = []
        for block in self.blocks:
            for role, decay, a, b in block.segments:
                members = [m for m in block.members if a <= m.start < b]
                for parts in sorted({m.parts for m in members}):
                    for more, same in groupby((m for m in members if m.parts == parts), own):
                        group = {"params": [m.param for m in same], "role": role, "parts": parts} | more
                        groups.append(group | ({} if decay else {"weight_decay": 0.0}))
        return groups

    @contextmanager
    def still(self, update: Any) -> Iterator[None]:
        """While `update` steps, parameters that got no gradient keep their value and their state, as torch would leave them."""
        kept: list[tuple[Tensor, Tensor]] = []
        for m in self.untouched:
            kept.append((m.view, m.view.clone()))
            kept += [(s, s.clone()) for s in _state_slices(update, self, m)]
        yield
        for place, value in kept:
            place.copy_(value)

    def first_nonfinite(self) -> tuple[str, str] | None:
        """(name, "gradient" or "value") of the first tensor that holds a NaN or an infinity; None if all are finite."""
        for m in self.members:
            if not torch.isfinite(m.grad).all():
                return m.name, "gradient"
            if not torch.isfinite(m.view).all():
                return m.name, "value"
        return None

    def tensors(self) -> dict[str, Tensor]:
        """The whole state of the module by name: each tied parameter once; buffers and frozen parameters too."""
        seen: dict[int, str] = {}
        out: dict[str, Tensor] = {}
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            if isinstance(tensor, Tensor) and id(tensor) not in seen:
                seen[id(tensor)] = name
                out[name] = tensor.detach()
        return out

    def transient(self) -> dict[str, Tensor]:
        """Buffers that are not in the state dict, and are state all the same."""
        saved = self.model.state_dict(keep_vars=True).keys()
        return {name: b for name, b in self.model.named_buffers() if name not in saved}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`, in place. Raises InputTrouble where names or shapes differ."""
        own = self.tensors()
        for name in sorted(own.keys() ^ tensors.keys()):
            raise InputTrouble(f"weights: {'missing' if name in own else 'unknown'} tensor {name!r}; wrong or damaged model")
        for name, place in own.items():
            if place.shape != tensors[name].shape:
                raise InputTrouble(
                    f"weights: tensor {name!r} is {list(tensors[name].shape)}, model expects {list(place.shape)}; wrong model"
                )
        for name, place in own.items():
            place.copy_(tensors[name])

    def buffers(self) -> list[Tensor]:
        """Everything that a forward pass may change: the module's persistent and other buffers."""
        return list(self.model.buffers())

    def snapshot(self) -> list[Tensor]:
        """A copy of theta and the buffers. Raises InputTrouble where the module has changed: see `bind`."""
        self.bind()
        self._look_for_new()  # also finds what was frozen and no longer is
        return [b.flat.clone() for b in self.blocks] + [t.clone() for t in self.buffers()]

    def restore(self, snapshot: list[Tensor]) -> None:
        """theta and buffers as they were at `snapshot`."""
        for place, value in zip([b.flat for b in self.blocks] + self.buffers(), snapshot, strict=True):
            place.copy_(value)

    def release(self) -> None:
        """Give each parameter a storage of its own, so that saving or returning the model saves nothing but it."""
        for m in self.members:
            order = torch.contiguous_format if id(m.param) in self.turned else torch.preserve_format
            m.param.data = m.view.clone(memory_format=order)
            m.param.grad = None


def _check_kind(m: Member, now: Tensor) -> None:
    if now.dtype != m.view.dtype or now.device != m.view.device or now.shape != m.view.shape:
        raise InputTrouble(
            f"model: parameter {m.name!r} became {now.dtype} {tuple(now.shape)} on {now.device} while training "
            f"(was {m.view.dtype} {tuple(m.view.shape)} on {m.view.device}); convert the model before fit"
        )


def _state_slices(update: Any, theta: Theta, m: Member) -> Iterator[Tensor]:
    """The part of each flat state tensor of an update that belongs to one parameter."""
    block = theta._block(m)
    size = m.param.numel()
    for group in update.param_groups:
        for param in group["params"]:
            offset = (param.data_ptr() - block.flat.data_ptr()) // block.flat.element_size()
            if param is m.param:
                yield from (s for s in update.state.get(param, {}).values() if isinstance(s, Tensor))
            elif param.ndim == 1 and offset <= m.start < offset + param.numel():
                for state in update.state.get(param, {}).values():
                    if isinstance(state, Tensor) and state.shape == param.shape:
                        yield state[m.start - offset : m.start - offset + size]
