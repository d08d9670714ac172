"""AdamW: steps of about `lr` in every coordinate, whatever the gradient's scale, with weight decay that is not adapted.

    m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
    theta <- theta - lr * (mhat / (sqrt(vhat) + eps) + weight_decay * theta)

Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019. The reference that others are measured against; for
hidden matrices Muon and SOAP usually need fewer steps. Two numbers of state for each parameter.
"""

from __future__ import annotations

from typing import Any

import torch

from gradlearn.optimizer import Light

__all__ = ["AdamW"]


class AdamW(Light, torch.optim.AdamW):
    """torch's own AdamW: its fused kernel, called without the 60 us of checks and sorting that a step of torch's class spends.

    Args:
        params: tensors or groups of them.
        lr: peak learning rate, above 0.
        betas: memory of the mean and of the square, each in [0, 1).
        eps: added to the root of the square, above 0.
        weight_decay: pull towards zero, as a share of `lr` a step.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.05,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)
        self._step_supports_amp_scaling = False  # a GradScaler shall undo its scale itself
        for group in self.param_groups:
            for p in group["params"]:
                self._begin(p)

    def _begin(self, p: torch.Tensor) -> dict[str, torch.Tensor]:
        self.state[p] = {
            "step": torch.zeros((), dtype=torch.float32, device=p.device),
            "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
            "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
        }
        return self.state[p]

    def update(self) -> None:
        """One fused pass for each group."""
        if all(group["fused"] for group in self.param_groups):
            self._fused()
        else:
            super().update()

    def _fused(self) -> None:
        moving = [self.moving(group) for group in self.param_groups]
        states = [[self.state[p] or self._begin(p) for p in params] for params in moving]  # a group may have come later
        every = [s["step"] for group in states for s in group]
        if every:
            torch._foreach_add_(every, 1)  # pyright: ignore[reportPrivateImportUsage]
        for group, params, own in zip(self.param_groups, moving, states, strict=True):
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
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )
