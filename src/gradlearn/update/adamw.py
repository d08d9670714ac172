"""AdamW: steps of about `lr` in every coordinate, whatever the gradient's scale, with weight decay that is not adapted.

    m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2;   u = mhat / (sqrt(vhat) + eps)
    theta <- theta - lr * (u + weight_decay * theta)

Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019. The reference that others are measured against; for
hidden matrices Muon and SOAP usually need fewer steps. Three options change u or the decay; sums are taken over a group of
parameters, in a run: over all that decays, and over the rest.

    cautious   u where u g > 0, else 0, times n / (how many)              Liang et al., "Cautious optimizers", 2024
    stable     lr / max(1, sqrt(mean(g^2 / max(vhat, eps^2))))            Wortsman et al., StableAdamW, 2023: no clipping needed
    decay      "cautious": only where u theta > 0                         modded-nanogpt
               "corrected": weight_decay * lr / (peak lr)                 Defazio, "Why gradients rapidly increase", 2025

Two numbers of state for each parameter.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble, nearest
from gradlearn.matrix import write_adamw
from gradlearn.optimizer import Light, count
from gradlearn.sweep import Sweep, lerp, maximum, sqrt, where

__all__ = ["AdamW"]

DECAYS = ("plain", "cautious", "corrected")


def moments(m: Any, v: Any, g: Any, a1: float, a2: float, bias2: float, tiny: float, zero: float, one: float) -> tuple[Any, ...]:
    """One coordinate of mean and square; for the sums: whether the step goes downhill, and how far g^2 outran the square."""
    m, v = lerp(m, g, a1), lerp(v, g * g, a2)
    return m, v, where(m * g > zero, one, zero), g * g / maximum(v * bias2, tiny)


def go(
    p: Any,
    m: Any,
    v: Any,
    g: Any,
    step: float,
    root: float,
    eps: float,
    keep: float,
    other: float,
    with_g: float,
    against: float,
    zero: float,
) -> tuple[Any, ...]:
    """One coordinate of theta; `keep` is what decay leaves where the step goes towards zero, `other` elsewhere."""
    u = m / (sqrt(v) * root + eps)
    u = where(m * g > zero, u * with_g, u * against)
    return (where(u * p > zero, p * keep, p * other) - step * u,)


class AdamW(Light, torch.optim.AdamW):
    """torch's own AdamW: its fused kernel, called without the 60 us of checks and sorting that a step of torch's class spends.

    Args:
        params: tensors or groups of them.
        lr: peak learning rate, above 0.
        betas: memory of the mean and of the square, each in [0, 1).
        eps: added to the root of the square, above 0.
        weight_decay: pull towards zero, as a share of `lr` a step.
        cautious: step only where the mean agrees with the gradient.
        stable: shorten the step where gradients outrun their squares.
        decay: "plain", "cautious" (only where the step goes towards zero too) or "corrected" (falls with the square of the rate).
    """

    adaptive = True  # steps of about lr in every coordinate: the plan has a rule for it

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.05,
        cautious: bool = False,
        stable: bool = False,
        decay: str = "plain",
    ) -> None:
        if decay not in DECAYS:
            raise InputTrouble(f"--adamw.decay: no {decay!r}{nearest(decay, DECAYS)}")
        self.cautious, self.stable, self.decay = cautious, stable, decay
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)
        self._step_supports_amp_scaling = False  # a GradScaler shall undo its scale itself
        for group in self.param_groups:
            for p in group["params"]:
                self._begin(p)

    def _begin(self, p: Tensor) -> dict[str, Tensor]:
        self.state[p] = {
            "step": torch.zeros((), dtype=torch.float32, device=p.device),
            "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
            "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
        }
        return self.state[p]

    def writable(self) -> bool:
        """Without the options that need sums, and where all tensors of a group have taken equally many steps."""
        plain = not (self.cautious or self.stable or self.decay == "cautious")
        return plain and all(len({int(self.state[p]["step"]) for p in group["params"]}) <= 1 for group in self.param_groups)

    def write(self, pen: Any) -> None:
        """A step, with the pen of a program."""
        for index, group in enumerate(self.param_groups):
            write_adamw(pen, self, index, group["params"], self._decay)

    def update(self) -> None:
        """One fused pass for each group; two passes where an option needs sums."""
        own = self.cautious or self.stable or self.decay == "cautious"
        if not own and all(group["fused"] for group in self.param_groups):
            self._fused()
        elif not own and self.decay == "plain":
            super().update()
        else:
            self._by_options()

    def _decay(self, group: dict[str, Any], lr: float) -> float:
        """Weight decay of a step at this rate."""
        if self.decay != "corrected":
            return group["weight_decay"]
        peak = group.get("initial_lr", self.defaults["lr"])
        return group["weight_decay"] * (lr / peak if peak > 0.0 else 1.0)

    def _moving(self, group: dict[str, Any]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        """The parameters of a group that have a gradient, with their state; a step of theirs is counted."""
        params = self.moving(group)
        own = [self.state[p] or self._begin(p) for p in params]  # a group may have come later
        count([state["step"] for state in own])
        return params, own

    def _fused(self) -> None:
        for group in self.param_groups:
            params, own = self._moving(group)
            if not params:
                continue
            torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage]
                params,
                [p.grad for p in params if p.grad is not None],
                [s["exp_avg"] for s in own],
                [s["exp_avg_sq"] for s in own],
                [],
                [s["step"] for s in own],
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=self._decay(group, group["lr"]),
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    def _by_options(self) -> None:
        for index, group in enumerate(self.param_groups):
            params, own = self._moving(group)
            steps = torch.stack([s["step"] for s in own]).tolist() if own else []
            for t in set(steps):  # tensors that missed steps have biases of their own
                some = [(p, s) for p, s, n in zip(params, own, steps, strict=True) if n == t]
                self._step(group, (index, t == max(steps)), int(t), some)

    def _step(self, group: dict[str, Any], key: Any, t: int, some: list[tuple[Tensor, dict[str, Tensor]]]) -> None:
        (b1, b2), eps, lr = group["betas"], group["eps"], group["lr"]
        params, grads = [p for p, _ in some], [p.grad for p, _ in some if p.grad is not None]
        m, v = ([s[name] for _, s in some] for name in ("exp_avg", "exp_avg_sq"))
        bias2 = 1.0 / (1.0 - b2**t)
        sweeps = self.__dict__.setdefault("_sweeps", {})  # a copy of an optimizer comes without
        look, last = sweeps.setdefault(key, (Sweep(moments), Sweep(go)))
        agree, outrun = look([m, v], [grads], (1.0 - b1, 1.0 - b2, bias2, eps * eps, 0.0, 1.0))
        n = sum(p.numel() for p in params)
        step = lr / (1.0 - b1**t)
        if self.stable and n:
            step /= max(1.0, (outrun / n) ** 0.5)
        with_g, against = (n / max(agree, 1e-3 * n), 0.0) if self.cautious and n else (1.0, 1.0)
        keep = 1.0 - lr * self._decay(group, lr)
        other = 1.0 if self.decay == "cautious" else keep
        last([params], [m, v, grads], (step, bias2**0.5, eps, keep, other, with_g, against, 0.0))
