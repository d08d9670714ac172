"""Perturbed descent: where the gradient has vanished, a small random step, so that a saddle or a plateau is left.

    if |g| <= threshold and no such step for `wait` steps:   theta <- theta + xi,   xi uniform in the ball of `radius`
    theta <- theta - lr * u(g)

Jin et al., "How to escape saddle points efficiently", ICML 2017: gradient descent then reaches a point without a direction of
descent in nearly as many steps as a point without slope. For exact or nearly exact gradients, around any update; the noise of
mini-batches does the same by itself. The draw is a function of `seed` and the step. State: that of the update inside.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from gradlearn import chance
from gradlearn.around import Around
from gradlearn.errors import InputTrouble
from gradlearn.matrix import normal

__all__ = ["Perturbed"]


class Perturbed(Around):
    """Any update, with a push where nothing moves.

    Args:
        params: tensors or groups of them.
        lr: peak learning rate, above 0, of the update inside.
        inner: the update; in direct use a class, a function, or a name, ours or torch's.
        threshold: norm of the gradient, over all parameters, up to which it counts as vanished.
        radius: of the ball from which the push is drawn, above 0.
        wait: steps between two pushes, and before the first, at least 1.
        seed: of the pushes.
    """

    wraps = ("inner",)
    trial: ClassVar[dict[str, float]] = {"lr": 0.5}

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.05,
        inner: Any = "sgd",
        threshold: float = 1e-3,
        radius: float = 1e-2,
        wait: int = 50,
        seed: int = 0,
    ) -> None:
        if radius <= 0.0 or wait < 1:
            raise InputTrouble(f"--perturbed.radius {radius}, --perturbed.wait {wait}: must be above 0 and at least 1")
        self._options = {"threshold": threshold, "radius": radius, "wait": wait, "seed": seed}
        super().__init__(params, lr, {"inner": inner})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A group of parameters; the counts are the same in all."""
        super().add_param_group(param_group)
        first = self.param_groups[0]
        self.param_groups[-1].update({"taken": first.get("taken", 0), "pushed": first.get("pushed", 0)})

    def update(self) -> None:
        """A push where it is due, and a step of the update inside."""
        params = [p for group in self.param_groups for p, _ in self.pairs(group)]
        if not params:
            return
        taken, pushed = self.param_groups[0]["taken"] + 1, self.param_groups[0]["pushed"]
        if taken - pushed > self._options["wait"]:
            g2 = sum(torch.sum(p.grad * p.grad, dtype=torch.float64).item() for p in params if p.grad is not None)
            if g2**0.5 <= self._options["threshold"]:
                self._push(params, taken)
                pushed = taken
        for group in self.param_groups:
            group.update({"taken": taken, "pushed": pushed})
        super().update()

    def _push(self, params: list[torch.Tensor], taken: int) -> None:
        seed, size = self._options["seed"], sum(p.numel() for p in params)
        xi = [normal(p.shape, p, chance.key(seed, "perturbed", taken, i)) for i, p in enumerate(params)]
        length = sum(x.double().square().sum().item() for x in xi) ** 0.5
        reach = self._options["radius"] * float(chance.uniform(seed, "perturbed reach", taken)[0]) ** (1.0 / max(size, 1))
        for p, x in zip(params, xi, strict=True):
            p.copy_(p.to(x.dtype).add_(x, alpha=reach / max(length, 1e-30)))

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_options": self._options}
