"""Mechanic: how far to go is learned while training, around any update that says the direction.

    Delta <- Delta + u;   h = <g + wd |g| / |theta| sum(s) theta, Delta before;   for each memory b: m, v, r follow h
    s = (s0 m + max(0, r)) / sqrt(v);   theta <- theta_0 - sum(s) * Delta

Cutkosky, Defazio, Mehta, "Mechanic: a learning rate tuner", NeurIPS 2023, with the clipping of h of the authors' code in optax. The
update inside runs at a rate of 1 times your schedule, which is still wanted (warm-up and decay). The scale starts at a millionth
and grows by what the gradients say. Not around updates that normalise whole layers (LARS, LAMB). State: that of the update inside,
and two numbers for each parameter.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from gradlearn.around import Around
from gradlearn.errors import InputTrouble

__all__ = ["Mechanic"]


class Mechanic(Around):
    """Any update, its rate tuned by itself.

    Args:
        params: tensors or groups of them.
        lr: of the update inside: 1, times the schedule; other values are a factor on what is learned.
        inner: the update that says the direction; in direct use a class, a function, or a name, ours or torch's.
        start: the first scale, above 0.
        memories: how many memories (0.9, 0.99, ...) the scale is summed over, from 1 to 8.
        decay: pull towards zero that the tuner sees, at least 0; the update inside has its own.
        eps: added where a division could be by 0.
    """

    wraps = ("inner",)
    trial: ClassVar[dict[str, float]] = {"lr": 1.0, "start": 1e-3}

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        inner: Any = "adamw",
        start: float = 1e-6,
        memories: int = 6,
        decay: float = 1e-2,
        eps: float = 1e-8,
    ) -> None:
        if start <= 0.0:
            raise InputTrouble(f"--mechanic.start {start}: must be above 0")
        if not 1 <= memories <= 8:
            raise InputTrouble(f"--mechanic.memories {memories}: must be from 1 to 8")
        self._tuner = {"start": start, "decay": decay, "eps": eps}
        self._first = {"largest": (0.0,) * memories, "squares": (0.0,) * memories, "wealth": (0.0,) * memories}
        self._first["scales"] = (start,) * memories
        super().__init__(params, lr, {"inner": inner})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A group of parameters; the tuner's numbers are the same in all."""
        super().add_param_group(param_group)
        first = self.param_groups[0]
        self.param_groups[-1].update({name: first.get(name, value) for name, value in self._first.items()})

    @property
    def scale(self) -> float:
        """What the direction is multiplied by now."""
        return sum(self.param_groups[0]["scales"])

    def update(self) -> None:
        """A step of the update inside, from which its direction is read; then the tuner's."""
        params = [p for group in self.param_groups for p, _ in self.pairs(group)]
        if not params:
            return
        before = [p.detach().clone() for p in params]
        sums = [self.state[p].get("mechanic_sum") for p in params]
        h = self._signal(params, sums)
        super().update()
        self._tune(h)
        scale = self.scale
        for p, x, delta in zip(params, before, sums, strict=True):
            kind = torch.float64 if p.dtype == torch.float64 else torch.float32
            own = self.state[p]
            if delta is None:
                own["mechanic_start"], own["mechanic_sum"] = x.to(kind), torch.zeros_like(p, dtype=kind)
            own["mechanic_sum"].add_(x.to(kind) - p)
            p.copy_(own["mechanic_start"] - scale * own["mechanic_sum"])

    def _signal(self, params: list[Tensor], sums: list[Tensor | None]) -> float:
        """h: what the last steps' direction says of the gradient now."""
        totals = torch.zeros(4, dtype=torch.float64)  # <g, Delta>, <theta, Delta>, |g|^2, |theta|^2
        for p, delta in zip(params, sums, strict=True):
            g, x = p.grad, p.detach()
            pairs = [(g, g), (x, x)] if delta is None else [(g, delta), (x, delta), (g, g), (x, x)]
            found = [torch.sum(a.to(b.dtype) * b, dtype=torch.float64).item() for a, b in pairs if a is not None and b is not None]
            totals[4 - len(found) :] += torch.tensor(found, dtype=torch.float64)
        along, pull, g2, x2 = totals.tolist()
        return along + self._tuner["decay"] * self.scale * g2**0.5 / (x2**0.5 + self._tuner["eps"]) * pull

    def _tune(self, h: float) -> None:
        """One step of each memory."""
        old, eps, start = self.param_groups[0], self._tuner["eps"], self._tuner["start"]
        rows = []
        for k, (m, v, r, s) in enumerate(zip(old["largest"], old["squares"], old["wealth"], old["scales"], strict=True)):
            b = 1.0 - 0.1 ** (k + 1)
            r = b * r + min(max(h, -m), m) * s
            m, v = max(b * m, abs(h) + eps), b * b * v + h * h
            rows.append((m, v, r, (start / len(old["scales"]) * m + max(0.0, r)) / (v**0.5 + eps)))
        for name, values in zip(("largest", "squares", "wealth", "scales"), zip(*rows, strict=True), strict=True):
            for group in self.param_groups:
                group[name] = values

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_tuner": self._tuner, "_first": self._first}
