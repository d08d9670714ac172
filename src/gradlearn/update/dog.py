"""DoG: plain descent whose rate is the distance come over the gradients met.

    eta = lr * max_i |theta_i - theta_0| / sqrt(sum_i |g_i|^2 + eps);   theta <- theta - eta * g
    mean <- mean + 9 / (t + 8) * (theta - mean)        (it is what should be scored: `shown`)

Ivgi, Hinder, Carmon, "DoG is SGD's best friend", ICML 2023. No rate to choose: `lr` stays 1 and has no schedule; tuning-free by
proof on convex problems. One number, `far`, says how far the first step goes: 1e-4 with BatchNorm; change it by a hundred where it
diverges or does not set off. Adam's per-coordinate scales are not there: for transformers AdamW or Prodigy. `layers` is L-DoG, a
rate for each tensor that it is given: on the flat vector of a run that is one for what decays and one for the rest. Two numbers of
state for each parameter (the start and the mean).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch

from gradlearn.errors import InputTrouble
from gradlearn.optimizer import Elementwise
from gradlearn.sweep import lerp

__all__ = ["DoG"]


def square(g: Any, p: Any, decay: float) -> tuple[Any, ...]:
    """For the sum |g + decay p|^2."""
    g = g + decay * p
    return (g * g,)


def plain_square(g: Any) -> tuple[Any, ...]:
    """For the sum |g|^2."""
    return (g * g,)


def dog(p: Any, mean: Any, g: Any, p0: Any, decay: float, eta: float, share: float) -> tuple[Any, ...]:
    """One coordinate of theta and of its mean; for the sum |p - p0|^2."""
    p = p - eta * (g + decay * p)
    far = p - p0
    return p, lerp(mean, p, share), far * far


class DoG(Elementwise):
    """Two numbers of state for each parameter; `shown` lends one more.

    Args:
        params: tensors or groups of them; a group has a rate of its own only with `layers`.
        lr: factor on the rate that is found, above 0; 1 is the method.
        far: length of the first step, relative to 1 + |theta_0|, above 0.
        layers: a rate for each tensor (L-DoG); far 1e-8 suits large pretrained networks.
        power: how much the mean forgets its beginning; 8 is the authors'.
        eps: added to the sum of squares, above 0.
        weight_decay: added to the gradient as weight_decay * theta.
    """

    states = ("p0", "mean")
    schedule = ("constant",)
    trial: ClassVar[dict[str, float]] = {"lr": 1.0, "far": 1e-2}

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        far: float = 1e-6,
        layers: bool = False,
        power: float = 8.0,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not far > 0.0:
            raise InputTrouble(f"--dog.far {far}: must be above 0; 1e-6, or 1e-4 with BatchNorm")
        self.layers, self.power = layers, power
        found = {"reached": (), "met": ()}  # for each rate: the largest distance, the sum of squared gradients
        super().__init__(params, {"lr": lr, "far": far, "eps": eps, "weight_decay": weight_decay} | found)

    def update(self) -> None:
        """A pass over the gradients, then the step; the distance comes out of the step before."""
        moving = [(group, self._begun(group)) for group in self.param_groups]
        moving = [(group, pairs) for group, pairs in moving if pairs]
        for group, _ in moving:
            group["step"] += 1
        if self.layers:
            for group, pairs in moving:
                place = {p: i for i, p in enumerate(group["params"])}
                for p, g in pairs:
                    self._step([(group, [p], [g])], group, place[p], len(group["params"]))
        elif moving:
            self._step(
                [(group, [p for p, _ in pairs], [g for _, g in pairs]) for group, pairs in moving], self.param_groups[0], 0, 1
            )

    def _begun(self, group: dict[str, Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Pairs of parameters and gradients; the start is where the parameters are at the first step."""
        pairs = self.pairs(group)
        if pairs and group["step"] == 0:
            for p in group["params"]:
                state = self.state[p] or self.begin(p)
                state["p0"].copy_(p.detach())
                state["mean"].copy_(p.detach())
        return pairs

    def _step(self, parts: list[tuple[dict[str, Any], list[Any], list[Any]]], book: dict[str, Any], i: int, n: int) -> None:
        """One step with one rate; what is known of it stands at place i of n in `book`."""
        reached, met = list(book["reached"] or (0.0,) * n), list(book["met"] or (0.0,) * n)
        if not reached[i]:
            size = sum(torch.linalg.vector_norm(p.detach(), dtype=_wide(p)).item() ** 2 for _, params, _ in parts for p in params)
            reached[i], met[i] = book["far"] * (1.0 + size**0.5), book["eps"]
        for k, (group, params, grads) in enumerate(parts):
            key, decay = (i, k, id(group)), group["weight_decay"]
            found = (
                self.walk(square, key, [], [grads, params], (decay,)) if decay else self.walk(plain_square, key, [], [grads], ())
            )
            met[i] += found[0]
        come = 0.0
        for k, (group, params, grads) in enumerate(parts):
            share = (1.0 + self.power) / (group["step"] + self.power)
            numbers = (group["weight_decay"], group["lr"] * reached[i] / met[i] ** 0.5, share)
            p0, mean = self.columns(params, "p0", "mean")
            come += self.walk(dog, (i, k, id(group)), [params, mean], [grads, p0], numbers)[0]
        reached[i] = max(reached[i], come**0.5)
        book["reached"], book["met"] = tuple(reached), tuple(met)

    def shown(self) -> AbstractContextManager[None]:
        """Inside, the parameters are their mean; afterwards bitwise as before."""
        begun = {p for group in self.param_groups if group["step"] for p in group["params"]}
        return self.swapped(lambda p: self.state[p]["mean"] if p in begun else p)


def _wide(p: torch.Tensor) -> torch.dtype:
    return torch.float64 if p.dtype == torch.float64 else torch.float32
