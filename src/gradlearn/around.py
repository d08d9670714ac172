"""Updates made of other updates: one list of groups, one state, one step, whatever is inside.

    groups = [groups of the first | groups of the second | ...],   state = all of theirs in one dictionary

So schedules, checkpoints and torch's own tools see one optimizer. What is inside is given as something that makes an update,
`inner(params, lr=...)`: a class, or a function; a string is the name of an update of ours, else of a class of torch.optim. For
updates that wrap; they import no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch.optim.optimizer import Optimizer

from gradlearn.errors import InputTrouble, nearest
from gradlearn.find import find, names
from gradlearn.matrix import Kept
from gradlearn.optimizer import Light

Maker = Callable[..., Optimizer]


class Around(Kept):
    """An update that sends each group of parameters to one of the updates inside it.

    Args:
        params: tensors or groups of them.
        lr: of groups that say none.
        makers: by name, what makes each of them.
    """

    def __init__(self, params: Any, lr: float, makers: Mapping[str, Maker | str]) -> None:
        self._makers: dict[str, Any] = {name: named(maker) if isinstance(maker, str) else maker for name, maker in makers.items()}
        self._inside: dict[str, Optimizer] = {}
        self._places: list[str] = []  # of each group
        super().__init__(params, {"lr": lr})

    def share(self, group: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Which update gets the group, or the parts of it."""
        return [(next(iter(self._makers)), group)]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A group of parameters, for the update it belongs to."""
        super().add_param_group(param_group)
        for name, part in self.share(self.param_groups.pop()):
            if name in self._inside:
                self._inside[name].add_param_group(part)
            else:
                self._inside[name] = self._make(name, part)
            inner = self._inside[name]
            if inner.state is not self.state:
                self.state.update(inner.state)
                inner.state = self.state
            self.param_groups.append(inner.param_groups[-1])
            self._places.append(name)

    def _make(self, name: str, group: dict[str, Any]) -> Optimizer:
        inner = self._makers[name]([group], lr=group["lr"])
        for trait, why in (("needs_closure", "evaluates the loss again"), ("shown", "averages by itself")):
            if getattr(inner, trait, False):
                raise InputTrouble(
                    f"{type(self).__name__}: {type(inner).__name__} {why} and cannot be inside another; use it alone"
                )
        return inner

    def observe(self, estimate: Any) -> None:
        """Every update inside is told."""
        for inner in self._inside.values():
            if hasattr(inner, "observe"):
                inner.observe(estimate)  # pyright: ignore[reportAttributeAccessIssue]

    def writable(self) -> bool:
        """Whether every update inside is, and a step is theirs and nothing else."""
        own = type(self)
        plain = own.update is Around.update and own.observe is Around.observe
        return plain and all(isinstance(inner, Light) and inner.writable() for inner in self._inside.values())

    def write(self, pen: Any) -> None:
        """A step of each update inside, with the pen of a program."""
        for inner in self._inside.values():
            if isinstance(inner, Light):
                inner.write(pen)

    def update(self) -> None:
        """A step of each update inside, without the hooks, which are the whole's."""
        for inner in self._inside.values():
            if isinstance(inner, Light):
                inner.bare_step()
            else:
                inner.step()

    def __getstate__(self) -> dict[str, Any]:
        own = {name: self.__dict__[name] for name in ("_makers", "_inside", "_places")}
        return super().__getstate__() | own  # pyright: ignore[reportAttributeAccessIssue]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name, inner in self._inside.items():
            groups = [group for group, place in zip(self.param_groups, self._places, strict=True) if place == name]
            inner.__setstate__({"state": self.state, "param_groups": groups})


@lru_cache(maxsize=64)
def named(name: str) -> type[Optimizer]:
    """Our update of this name, else torch's optimizer, in lower case too, without the import of a compiler. Raises InputTrouble."""
    if name in names("update"):
        return find("update", name)
    known = {
        each.lower(): each for each in torch.optim.__all__ if each != "Optimizer" and isinstance(getattr(torch.optim, each), type)
    }
    if name.lower() not in known:
        raise InputTrouble(
            f"{name!r} is no update, ours or torch's{nearest(name.lower(), {*known, *names('update')})}; give the class itself"
        )
    kind = getattr(torch.optim, known[name.lower()])
    return type(kind.__name__, (Light, kind), {"__module__": __name__})
