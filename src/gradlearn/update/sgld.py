"""SGLD: gradient descent with just so much noise that theta wanders through all that the data allow, instead of to one point.

    theta <- theta - lr * (g + weight_decay * theta) + sqrt(2 lr temperature / n) * xi,        xi ~ N(0, 1)

Welling, Teh, "Bayesian learning via stochastic gradient Langevin dynamics", ICML 2011. With g the gradient of the mean loss over n
examples, small lr and temperature 1, theta is distributed as exp(-n loss): of a bowl of curvature k, with variance temperature /
(n k). To sample weights, or to explore with a temperature that falls with lr. xi is a function of `seed` and the step. No state.
"""

from __future__ import annotations

from typing import Any, ClassVar

from gradlearn import chance
from gradlearn.errors import InputTrouble
from gradlearn.matrix import Kept, normal

__all__ = ["SGLD"]


class SGLD(Kept):
    """Langevin's walk.

    Args:
        params: tensors or groups of them.
        lr: learning rate, above 0, small against 1 / the largest curvature.
        temperature: 1 samples, 0 is plain gradient descent.
        n: examples in the data, at least 1.
        weight_decay: precision of a Gaussian prior, over n; added to the gradient.
        seed: of the noise.
    """

    trial: ClassVar[dict[str, float]] = {"lr": 0.5, "temperature": 0.0}

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-2,
        temperature: float = 1.0,
        n: int = 10_000,
        weight_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        if temperature < 0.0 or n < 1:
            raise InputTrouble(f"--sgld.temperature {temperature}, --sgld.n {n}: must be at least 0 and at least 1")
        super().__init__(params, {"lr": lr, "temperature": temperature, "n": n, "weight_decay": weight_decay, "seed": seed})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A group of parameters, and its count of steps."""
        super().add_param_group(param_group)
        self.param_groups[-1].setdefault("step", 0)

    def update(self) -> None:
        """One step for each tensor that has a gradient."""
        index = 0
        for group in self.param_groups:
            moving = {p for p, _ in self.pairs(group)}
            group["step"] += bool(moving)
            spread = (2.0 * group["lr"] * group["temperature"] / group["n"]) ** 0.5
            for i, p in enumerate(group["params"], start=index):
                if p.grad is None:
                    continue
                xi = normal(p.shape, p, chance.key(group["seed"], "sgld", group["step"], i)) if spread else None
                new = p.to(xi.dtype if xi is not None else p.dtype) * (1.0 - group["lr"] * group["weight_decay"])
                new.sub_(p.grad, alpha=group["lr"])
                p.copy_(new if xi is None else new.add_(xi, alpha=spread))
            index += len(group["params"])
