"""Prodigy: AdamW that finds its learning rate by itself, from how far the gradients say the goal is.

    r <- b3 r + (d/d0) d lr <g, theta_0 - theta>;   s <- b3 s + (d/d0) d lr g;   d <- max(d, coef * r / |s|_1)
    m <- b1 m + (1 - b1) d g;   v <- b2 v + (1 - b2) d^2 g^2
    theta <- theta - d lr * (m / (sqrt(v) + d eps) + weight_decay * theta)

Mishchenko, Defazio, "Prodigy: an expeditiously adaptive parameter-free learner", ICML 2024; it finds D-Adaptation's d, faster. For
a new problem whose rate nobody knows: `lr` stays 1, with a cosine or no schedule. d never falls, so that noise makes it creep up
in long runs: `freeze` it after a tenth of the run or a quarter. No clipping from outside: it spoils the estimate. Where a warm-up
is used, `safeguard_warmup`. Where d stays at d0, raise that to 1e-5 or 1e-4. Four numbers of state for each parameter.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch

from gradlearn.errors import InputTrouble
from gradlearn.optimizer import Elementwise
from gradlearn.sweep import absolute, sqrt

__all__ = ["Prodigy"]


def look(
    m: Any, v: Any, s: Any, g: Any, p: Any, p0: Any, b1: float, b2: float, b3: float, a1: float, a2: float, a3: float
) -> tuple[Any, ...]:
    """One coordinate of both means and of the sum of gradients; for the sums <g, p0 - p> and |s|_1."""
    m, v, s = b1 * m + a1 * g, b2 * v + a2 * (g * g), b3 * s + a3 * g
    return m, v, s, g * (p0 - p), absolute(s)


def go(p: Any, m: Any, v: Any, keep: float, dlr: float, eps: float) -> tuple[Any, ...]:
    """One coordinate of theta, once d is known."""
    return (p * keep - (dlr * m) / (sqrt(v) + eps),)


def frozen(
    p: Any, m: Any, v: Any, g: Any, b1: float, b2: float, a1: float, a2: float, keep: float, dlr: float, eps: float
) -> tuple[Any, ...]:
    """Both in one pass, where d stays."""
    m, v = b1 * m + a1 * g, b2 * v + a2 * (g * g)
    return p * keep - (dlr * m) / (sqrt(v) + eps), m, v


class Prodigy(Elementwise):
    """Four numbers of state for each parameter; d is one for all groups.

    Args:
        params: tensors or groups of them; all with the same `lr`, or 0 (such a group rests).
        lr: factor on the rate that is found, above 0; 1 is the method.
        betas: memory of the mean and of the square, each in [0, 1).
        beta3: memory of the estimate of d, in [0, 1); -1 is the root of the second of betas.
        eps: added to the root of the square, above 0.
        weight_decay: pull towards zero, as a share of d lr a step.
        d0: what d begins with, above 0, well below the rate that will be found.
        d_coef: factor on the estimate of d, above 0; 0.5 and 2 often work too.
        growth: d grows by this factor a step at most, above 1; 1.02 is like a warm-up; 0 = no bound.
        bias_correction: correct the means as Adam does; the first steps are then larger.
        safeguard_warmup: keep a warm-up of the rate out of the estimate's denominator.
        freeze: from so many steps on d stays as it is, and a step costs what AdamW's does; 0 = never.
    """

    states = ("exp_avg", "exp_avg_sq", "s", "p0")
    schedule = ("linear",)
    trial: ClassVar[dict[str, float]] = {"lr": 1.0, "d0": 1e-3}

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        beta3: float = -1.0,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        d0: float = 1e-6,
        d_coef: float = 1.0,
        growth: float = 0.0,
        bias_correction: bool = False,
        safeguard_warmup: bool = False,
        freeze: int = 0,
    ) -> None:
        for option, value, least in (("d0", d0, 0.0), ("d_coef", d_coef, 0.0), ("growth", growth or math.inf, 1.0)):
            if not value > least:
                raise InputTrouble(f"--prodigy.{option} {value}: must be above {least:g}")
        self.beta3, self.d0, self.d_coef, self.growth = (
            beta3 if beta3 >= 0.0 else math.sqrt(betas[1]),
            d0,
            d_coef,
            growth or math.inf,
        )
        self.bias_correction, self.safeguard, self.freeze = bias_correction, safeguard_warmup, freeze
        found = {"d": d0, "d_max": d0, "numerator": 0.0}
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay} | found)

    def update(self) -> None:
        """Look at all groups for d, then go."""
        first, lr = self.param_groups[0], max(group["lr"] for group in self.param_groups)
        if any(group["lr"] not in (lr, 0.0) for group in self.param_groups):
            raise InputTrouble("prodigy: groups with different learning rates; give all the same one, or 0 to let a group rest")
        todo = [(i, group, self._begun(group)) for i, group in enumerate(self.param_groups) if group["lr"] > 0.0]
        todo = [(i, group, pairs) for i, group, pairs in todo if pairs]
        if not todo:
            return
        t = max(group["step"] for _, group, _ in todo) + 1
        bias = 1.0
        if self.bias_correction:
            bias = (1.0 - first["betas"][1] ** t) ** 0.5 / (1.0 - first["betas"][0] ** t)
        dlr = first["d"] * lr * bias
        if 0 < self.freeze < t:
            for i, group, pairs in todo:
                self._frozen(i, group, pairs, dlr)
            return
        if not self._look(todo, dlr):
            return  # every gradient so far was zero
        for i, group, pairs in todo:
            params = [p for p, _ in pairs]
            numbers = (1.0 - dlr * group["weight_decay"], dlr, first["d"] * group["eps"])
            self.walk(go, i, [params], self.columns(params, "exp_avg", "exp_avg_sq"), numbers)
            group["step"] += 1

    def _begun(self, group: dict[str, Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        pairs = self.pairs(group)
        if group["step"] == 0:
            for p in group["params"]:
                (self.state[p] or self.begin(p))["p0"].copy_(p.detach())
        return pairs

    def _look(self, todo: list[Any], dlr: float) -> bool:
        """Take the gradients in and find d; False where there is nothing to find."""
        first = self.param_groups[0]
        d, over, under = first["d"], first["numerator"] * self.beta3, 0.0
        for i, group, pairs in todo:
            (b1, b2), params, grads = group["betas"], [p for p, _ in pairs], [g for _, g in pairs]
            part = d / self.d0 * (d if self.safeguard else dlr)
            numbers = (b1, b2, self.beta3, d * (1.0 - b1), d * d * (1.0 - b2), part)
            m, v, s, p0 = self.columns(params, *self.states)
            dot, size = self.walk(look, i, [m, v, s], [grads, params, p0], numbers)
            over, under = over + d / self.d0 * dlr * dot, under + size
        if under == 0.0:
            return False
        guess = self.d_coef * over / under
        if d == self.d0:
            d = max(d, guess)
        largest = max(first["d_max"], guess)
        d = min(largest, d * self.growth)
        for group in self.param_groups:
            group.update(d=d, d_max=largest, numerator=over)
        return True

    def _frozen(self, i: int, group: dict[str, Any], pairs: list[tuple[torch.Tensor, torch.Tensor]], dlr: float) -> None:
        (b1, b2), d, params = group["betas"], group["d"], [p for p, _ in pairs]
        numbers = (b1, b2, d * (1.0 - b1), d * d * (1.0 - b2), 1.0 - dlr * group["weight_decay"], dlr, d * group["eps"])
        self.walk(frozen, i, [params, *self.columns(params, "exp_avg", "exp_avg_sq")], [[g for _, g in pairs]], numbers)
        group["step"] += 1
