"""Line search: the step is tried before it is taken, and shortened until the loss of the same batch falls enough (Armijo).

    eta <- min(1, growth eta);   while L_B(theta - eta lr g) > L_B(theta) - c eta lr |g|^2:  eta <- shrink eta
    theta <- theta - eta lr g

Vaswani et al., "Painless stochastic gradient: interpolation, line-search, and convergence rates", NeurIPS 2019. No rate to tune:
`lr` is only the longest step. For models that can fit their data, and for exact losses; a try costs an evaluation of the batch, one
to two in most steps: needs `step(closure)`. Greedy steps let the curvature grow, so a tuned momentum update ends lower in long
runs. No state but eta; theta and g are copied for the time of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.optimizer import Light, number

if TYPE_CHECKING:
    from gradlearn.symbols import Estimate

__all__ = ["LineSearch"]


class LineSearch(Light):
    """Gradient descent whose every step is tried.

    Args:
        params: tensors or groups of them.
        lr: the longest step, above 0.
        c: share of the fall that the slope promises which must come true, in (0, 1).
        shrink: factor on a step that was too long, in (0, 1).
        growth: factor on the length between two steps, at least 1.
        tries: evaluations in a step; where none is good, theta stays.
        weight_decay: pull towards zero, as a share of the step.
    """

    needs_closure = True
    schedule = ("constant",)
    trial: ClassVar[dict[str, float]] = {"lr": 1.0}

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        c: float = 0.1,
        shrink: float = 0.9,
        growth: float = 1.02,
        tries: int = 100,
        weight_decay: float = 0.0,
    ) -> None:
        if not (0.0 < c < 1.0 and 0.0 < shrink < 1.0 and growth >= 1.0):
            raise InputTrouble(f"--line_search.c {c}, shrink {shrink}, growth {growth}: must be in (0, 1), in (0, 1), at least 1")
        self._told: float | None = None
        super().__init__(
            params, {"lr": lr, "c": c, "shrink": shrink, "growth": growth, "tries": tries, "weight_decay": weight_decay}
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A group of parameters; the length is the same in all."""
        super().add_param_group(param_group)
        self.param_groups[-1]["eta"] = self.param_groups[0].get("eta", 1.0)

    def observe(self, estimate: Estimate) -> None:
        """The loss of this step is known: one evaluation less."""
        self._told = estimate.loss

    @torch.no_grad()
    def bare_step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; `closure` evaluates the loss of the same batch, and its gradient, at the parameters as they are then."""
        loss, self._told = self._told, None
        if closure is None:
            raise InputTrouble("line_search: tries its steps; call step(closure), which returns the loss")
        again = torch.enable_grad()(lambda: number(closure()))
        told, eta = loss, self.param_groups[0]["eta"]
        if told is not None and self._search(told, eta, again):
            return told
        with torch.enable_grad():
            value = closure()
        loss = number(value)
        if loss - loss == 0.0 and (told is None or abs(loss - told) > 1e-6 * abs(loss)):  # told another loss than it evaluates
            self._search(loss, eta, again)
        return value

    def _directions(self) -> list[tuple[dict[str, Any], Tensor, Tensor, Tensor]]:
        self.require_dense()
        return [
            (group, p, p.detach().clone(), p.grad.detach().clone())
            for group in self.param_groups
            for p in self.moving(group)
            if p.grad is not None
        ]

    def _go(self, ways: list[tuple[dict[str, Any], Tensor, Tensor, Tensor]], eta: float, decay: bool = True) -> None:
        for group, p, x, g in ways:
            length = eta * group["lr"]
            p.copy_(x).sub_(g, alpha=length).sub_(x, alpha=length * group["weight_decay"] if decay else 0.0)

    def _search(self, loss: float, eta: float, again: Callable[[], float]) -> bool:
        """Find eta and go, or stay; whether a step was good."""
        ways, first = self._directions(), self.param_groups[0]
        slope = sum(group["lr"] * torch.sum(g * g, dtype=torch.float64).item() for group, _, _, g in ways)
        eta = min(1.0, first["growth"] * eta)
        good = slope == 0.0
        for _ in range(0 if good else first["tries"]):
            self._go(ways, eta, decay=False)
            if good := again() <= loss - first["c"] * eta * slope:
                break
            eta *= first["shrink"]
        if good:
            self._go(ways, eta)
        else:
            for _, p, x, _ in ways:
                p.copy_(x)
        for group in self.param_groups:
            group["eta"] = eta
        return good
