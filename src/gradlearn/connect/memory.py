"""What is kept of a model and an optimizer that somebody else owns, and how it is put back.

    memory = (theta, buffers, state of the optimizer);   put back in place: x.copy_(kept x) for every tensor x

Whoever holds one of these tensors (a compiled model, a captured graph, a reducer of gradients) still holds the right one
afterwards. Learning rates and whatever else a schedule turns are never put back: they are not ours, and time goes on.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradlearn.connect.foreign import Foreign, norm_of

SCHEDULED = {"params", "lr", "initial_lr", "max_lr", "min_lr", "betas", "momentum", "max_momentum", "base_momentum", "weight_decay"}
FEW = 100_000  # numbers in buffers that are copied each step; more than a tenth of theta are not


@dataclass(slots=True)
class Memory:
    """A point to come back to."""

    t: int
    tensors: list[tuple[Tensor, Tensor]]  # what is there, and what it was
    state: dict[Any, Any]
    groups: list[dict[str, Any]]
    whole: dict[str, Any] | None  # the state dict of an optimizer that keeps its state in a way of its own
    also: list[tuple[Any, Any]]  # what else was to be kept, and its state dict

    def finite(self, buffers: bool = True) -> bool:
        """Whether all of it is finite numbers; `buffers`: those as well, which the model's author may have made infinite."""
        kept = [v for x, v in self.tensors if buffers or isinstance(x, nn.Parameter)]
        return bool(torch.isfinite(norm_of([*kept, *(t for own in self.state.values() for t in _tensors(own))])))

    def restore(self, optimizer: Optimizer, whole: bool = True) -> None:
        """Put everything back in place, or, not `whole`, the optimizer's state; groups that have come since stay as they are."""
        with torch.no_grad():
            for place, value in self.tensors if whole else ():
                place.copy_(value)
            if self.whole is not None:
                rates = [{k: v for k, v in g.items() if k in SCHEDULED and k != "params"} for g in optimizer.param_groups]
                optimizer.load_state_dict(copy.deepcopy(self.whole))
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group.update(rate)
            for key in list(optimizer.state):
                optimizer.state[key] = _into(optimizer.state[key], self.state.get(key, {}))
                if key not in self.state:
                    del optimizer.state[key]
            for key in self.state.keys() - optimizer.state.keys():
                optimizer.state[key] = _copied(self.state[key])
            for group, options in zip(optimizer.param_groups, self.groups, strict=False):
                group.update(_copied(options))
        for one, state in self.also if whole else ():
            one.load_state_dict(copy.deepcopy(state))


def remember(t: int, theta: Foreign, buffers: Sequence[tuple[Tensor, Tensor]] | None = None, also: Sequence[Any] = ()) -> Memory:
    """Copies of it all, as it is after t steps; `buffers`: as they were, where a forward pass has been at them since."""
    optimizer = theta.optimizer
    with torch.no_grad():
        tensors = [(p, p.detach().clone()) for p in theta.params()]
        tensors += [(b, b.clone()) for b in theta.buffers()] if buffers is None else [(b, v.clone()) for b, v in buffers]
        state = {key: _copied(own) for key, own in optimizer.state.items()}
        groups = [{k: _copied(v) for k, v in group.items() if k not in SCHEDULED} for group in optimizer.param_groups]
    whole = copy.deepcopy(optimizer.state_dict()) if _has_its_own_way(optimizer) else None
    return Memory(t, tensors, state, groups, whole, [(one, copy.deepcopy(one.state_dict())) for one in also])


class Buffers:
    """Buffers as they were after the last step that was taken: a forward pass over a bad batch spoils running statistics."""

    def __init__(self, theta: Foreign) -> None:
        self.theta = theta
        self.kept = [(b, b.clone()) for b in theta.buffers()]
        self.versions = [p._version for p in theta.params()]  # nobody has loaded other weights since the Pilot was made
        self.first = True

    def note(self, again: bool = False) -> None:
        """Copy them, where they are few enough to be copied each step; `again`: list them anew, the model may have others now."""
        if self.first or again:
            self.first, buffers = False, self.theta.buffers()
            few = sum(b.numel() for b in buffers) <= max(FEW, len(self.theta) // 10)
            self.kept = [(b, b.clone()) for b in buffers] if few else []
        for b, kept in self.kept:
            kept.copy_(b)

    def before(self) -> list[tuple[Tensor, Tensor]] | None:
        """As they were before this step's forward pass; None where that is not known."""
        return None if self.first else self.kept or None

    def mend(self, ring: Sequence[Memory]) -> None:
        """Put them back after a step that was blocked; those that were not copied only where they are not finite."""
        known = not self.first or self.versions == [p._version for p in self.theta.params()]
        older = {id(b): v for memory in ring[-1:] for b, v in memory.tensors}
        kept = older | {id(b): v for b, v in self.kept}
        exact = {id(b) for b, _ in self.kept} if known else set()
        for b in self.theta.buffers():
            if id(b) in exact or (id(b) in kept and b.is_floating_point() and not torch.isfinite(b).all()):
                b.copy_(kept[id(b)])


def _has_its_own_way(optimizer: Optimizer) -> bool:
    kind = type(optimizer)
    known = kind.__module__.startswith(("torch.", "gradlearn."))
    return not known and inspect.unwrap(kind.state_dict) is not inspect.unwrap(Optimizer.state_dict)


def _copied(value: Any) -> Any:
    """A copy of state: tensors cloned, containers walked."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(_copied(v) for v in value)
    return copy.deepcopy(value)


def _into(place: Any, kept: Any) -> Any:
    """What was kept, in the tensors and dicts that are there, where they still fit."""
    if isinstance(place, Tensor) and isinstance(kept, Tensor) and place.shape == kept.shape and place.dtype == kept.dtype:
        return place.copy_(kept)
    if isinstance(place, dict) and isinstance(kept, dict):
        for key in place.keys() - kept.keys():
            del place[key]
        for key, value in kept.items():
            place[key] = _into(place.get(key), value)
        return place
    return _copied(kept)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for v in value.values() if isinstance(value, dict) else value:
            yield from _tensors(v)
