"""MoMo-Adam: Adam whose step is no longer than the losses so far allow, on a model of them that never lies below a bound.

    m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2;   f <- b1 f + (1 - b1) loss;   c <- b1 c + (1 - b1) <g, theta>
    theta <- (theta - min(lr / (1 - b1^t), (h - bound)_+ / |m|_D^2) m / D) / (1 + lr weight_decay)
    D = sqrt(vhat) + eps,   h = f + <m, theta> - c,   |m|_D^2 = <m, m / D>

(with decay, f and c are taken (1 + lr weight_decay) times; the bound (1 - b1^t) times). Schaipp, Ohana, Eickenberg, Defazio,
Gower, "MoMo: momentum models for adaptive learning rates", ICML 2024. Protects Adam against an lr that is too large, where a lower
bound of the loss is known: 0 where the data can be fitted; with label smoothing it is above 0, and `estimate` follows it. Needs
the loss: of `observe`, or of the closure given to `step`. Two numbers of state for each parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from gradlearn.errors import InputTrouble
from gradlearn.optimizer import Elementwise, number
from gradlearn.sweep import lerp, sqrt

if TYPE_CHECKING:
    from gradlearn.symbols import Estimate

__all__ = ["MomoAdam"]


def look(m: Any, v: Any, g: Any, p: Any, a1: float, a2: float, root: float, eps: float) -> tuple[Any, ...]:
    """One coordinate of the mean and of the square; for the sums <g, p>, <m, p> and <m, m / D>."""
    m, v = lerp(m, g, a1), lerp(v, g * g, a2)
    return m, v, g * p, m * p, m * m / (sqrt(v) * root + eps)


def go(p: Any, m: Any, v: Any, tau: float, keep: float, shrink: float, root: float, eps: float) -> tuple[Any, ...]:
    """One coordinate of theta, once the step is known."""
    return ((p * keep - (tau * m) / (sqrt(v) * root + eps)) * shrink,)


class MomoAdam(Elementwise):
    """Two numbers of state for each parameter.

    Args:
        params: tensors or groups of them; the step is one for all.
        lr: the largest rate, above 0; 1e-2 is usual.
        betas: memory of gradients and losses, and of the squares, each in [0, 1).
        bound: what the loss cannot fall below; where it begins, with `estimate`.
        estimate: follow the bound upwards, where the loss shows that it cannot be reached.
        proximal: decay by dividing after the step; else as AdamW, before it.
        eps: added to the root of the square, above 0.
        weight_decay: pull towards zero, as a share of `lr` a step.
    """

    states = ("grad_avg", "grad_avg_sq")
    schedule = ("constant",)
    needs_loss = True

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        bound: float = 0.0,
        estimate: bool = False,
        proximal: bool = True,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.least, self.estimate, self.proximal = bound, estimate, proximal
        self.loss: float | None = None
        known = {"bound": bound, "loss": 0.0, "dots": 0.0}
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay} | known)

    def observe(self, estimate: Estimate) -> None:
        """The loss of this batch."""
        self.loss = estimate.loss

    @torch.no_grad()
    def bare_step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; the closure's loss is the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
            self.loss = number(loss)
        self.require_dense()
        self.update()
        return loss

    def update(self) -> None:
        """Look at all groups for the step, then go."""
        moving = [(i, group, self.pairs(group)) for i, group in enumerate(self.param_groups)]
        moving = [(i, group, pairs) for i, group, pairs in moving if pairs]
        if not moving:
            return
        if self.loss is None:
            raise InputTrouble("momo_adam: needs the loss; call step(closure), or observe(estimate) before step()")
        loss, self.loss = self.loss, None
        book = self.param_groups[0]
        t = max(group["step"] for _, group, _ in moving) + 1
        b1 = book["betas"][0]
        rho, sums = 1.0 - b1**t, [0.0, 0.0, 0.0]
        for i, group, pairs in moving:
            params, b2 = [p for p, _ in pairs], group["betas"][1]
            numbers = (1.0 - b1, 1.0 - b2, (1.0 - b2**t) ** -0.5, group["eps"])
            more = self.walk(look, i, self.columns(params, *self.states), [[g for _, g in pairs], params], numbers)
            sums = [a + b for a, b in zip(sums, more, strict=True)]
        book["loss"] = b1 * book["loss"] + (1.0 - b1) * loss
        book["dots"] = b1 * book["dots"] + (1.0 - b1) * sums[0]
        bound = book["bound"]
        for i, group, pairs in moving:
            params, b2, grown = [p for p, _ in pairs], group["betas"][1], 1.0 + group["lr"] * group["weight_decay"]
            tau, bound = step_length(group["lr"], grown, book, sums[1], sums[2], rho, bound, self.least if self.estimate else None)
            keep, shrink = (1.0, 1.0 / grown) if self.proximal else (2.0 - grown, 1.0)
            self.walk(go, i, [params], self.columns(params, *self.states), (tau, keep, shrink, (1.0 - b2**t) ** -0.5, group["eps"]))
            group["step"] += 1
        book["bound"] = bound


def step_length(
    lr: float, grown: float, book: dict[str, Any], dot: float, square: float, rho: float, bound: float, least: float | None
) -> tuple[float, float]:
    """The step, and the bound for the next one; `least` is where an estimated bound began, None if it was given."""
    model = grown * book["loss"] + dot - grown * book["dots"]
    if least is not None and model < grown * rho * bound:
        bound = max(model / (2.0 * grown * rho), least)
    wanted = max(model - grown * rho * bound, 0.0) / square if square > 0.0 else 0.0
    tau = min(lr / rho, wanted)
    if least is not None:
        bound = max((book["loss"] + dot - book["dots"] - 0.5 * tau * square) / rho, least)
    return tau, bound
