"""MoMo: momentum whose step is no longer than the losses so far allow, on a model of them that never lies below a bound.

    m <- b m + (1 - b) g;   f <- b f + (1 - b) loss;   c <- b c + (1 - b) <g, theta>
    theta <- (theta - min(lr, (h - bound)_+ / |m|^2) m) / (1 + lr weight_decay),   h = f + <m, theta> - c

(with decay, f - bound and c are taken (1 + lr weight_decay) times). Schaipp, Ohana, Eickenberg, Defazio, Gower, "MoMo: momentum
models for adaptive learning rates", ICML 2024; Polyak's step and ALI-G are the case b = 0. Protects against an lr that is too
large, where a lower bound of the loss is known: 0 where the data can be fitted; with label smoothing it is above 0, and `estimate`
follows it. Needs the loss: of `observe`, or of the closure given to `step`. One number of state for each parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from gradlearn.errors import InputTrouble
from gradlearn.optimizer import Elementwise, number
from gradlearn.sweep import lerp

if TYPE_CHECKING:
    from gradlearn.symbols import Estimate

__all__ = ["Momo"]


def look(m: Any, g: Any, p: Any, new: float) -> tuple[Any, ...]:
    """One coordinate of the momentum; for the sums <g, p>, <m, p> and |m|^2."""
    m = lerp(m, g, new)
    return m, g * p, m * p, m * m


def go(p: Any, m: Any, tau: float, shrink: float) -> tuple[Any, ...]:
    """One coordinate of theta, once the step is known."""
    return ((p - tau * m) * shrink,)


class Momo(Elementwise):
    """One number of state for each parameter.

    Args:
        params: tensors or groups of them; the step is one for all, the first group's `lr` bounds it.
        lr: the largest step, above 0; 1 is usual.
        beta: memory of gradients and losses, in [0, 1).
        bound: what the loss cannot fall below; where it begins, with `estimate`.
        estimate: follow the bound upwards, where the loss shows that it cannot be reached.
        bias_correction: begin the means at 0 and correct them, in place of beginning at the first loss and gradient.
        weight_decay: pull towards zero, as a share of `lr` a step.
    """

    states = ("grad_avg",)
    schedule = ("constant",)
    trial: ClassVar[dict[str, float]] = {"lr": 1.0}
    needs_loss = True

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        beta: float = 0.9,
        bound: float = 0.0,
        estimate: bool = False,
        bias_correction: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        if not 0.0 <= beta < 1.0:
            raise InputTrouble(f"--momo.beta {beta}: must be in [0, 1)")
        self.beta, self.least, self.estimate, self.bias_correction = beta, bound, estimate, bias_correction
        self.loss: float | None = None
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "bound": bound, "loss": 0.0, "dots": 0.0})

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
            raise InputTrouble("momo: needs the loss; call step(closure), or observe(estimate) before step()")
        loss, self.loss = self.loss, None
        book = self.param_groups[0]
        t = max(group["step"] for _, group, _ in moving) + 1
        beta = 0.0 if t == 1 and not self.bias_correction else self.beta
        rho = 1.0 - self.beta**t if self.bias_correction else 1.0
        sums = [0.0, 0.0, 0.0]
        for i, _, pairs in moving:
            params = [p for p, _ in pairs]
            more = self.walk(look, i, self.columns(params, "grad_avg"), [[g for _, g in pairs], params], (1.0 - beta,))
            sums = [a + b for a, b in zip(sums, more, strict=True)]
        book["loss"] = beta * book["loss"] + (1.0 - beta) * loss
        book["dots"] = beta * book["dots"] + (1.0 - beta) * sums[0]
        bound = book["bound"]
        for i, group, pairs in moving:
            grown = 1.0 + group["lr"] * group["weight_decay"]
            tau, bound = step_length(group["lr"], grown, book, sums[1], sums[2], rho, bound, self.least if self.estimate else None)
            self.walk(go, i, [[p for p, _ in pairs]], self.columns([p for p, _ in pairs], "grad_avg"), (tau, 1.0 / grown))
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
