"""L-BFGS: the curvature of the last steps makes the direction, a line search the length.

    d = -H g,   H from the last `history` pairs (theta_k+1 - theta_k, g_k+1 - g_k);   theta <- theta + t d,   t by strong Wolfe

Liu, Nocedal, "On the limited memory BFGS method", 1989; line search: Nocedal, Wright, algorithm 3.5. For a loss without noise: the
whole data in one batch, fits, small problems to many digits; with mini-batches its pairs are noise. One step is up to `iterations`
iterations, each of one evaluation or a few: needs `step(closure)`. 2 `history` + 4 numbers of state for each parameter.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.optimizer import Light, number

__all__ = ["LBFGS"]

LISTS, COUNTS = ("old_dirs", "old_stps", "ro"), ("func_evals", "n_iter")


class LBFGS(Light, torch.optim.LBFGS):
    """torch's own L-BFGS over all groups at once; state is that of one vector of all parameters.

    Args:
        params: tensors or groups of them.
        lr: length of a step before the search, above 0; 1 is Newton's.
        iterations: at most so many in one step.
        history: pairs that are remembered.
        line_search: strong Wolfe; without, every step is `lr` long.
        tol: a step ends where the largest gradient is below it.
        weight_decay: the loss gets weight_decay / 2 |theta|^2 on top.
    """

    needs_closure = True
    schedule = ("constant",)
    trial: ClassVar[dict[str, float]] = {"lr": 1.0}

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        iterations: int = 20,
        history: int = 10,
        line_search: bool = True,
        tol: float = 1e-9,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "max_iter": iterations,
            "max_eval": iterations * 5 // 4,
            "tolerance_grad": tol,
            "tolerance_change": 1e-16,
            "history_size": history,
            "line_search_fn": "strong_wolfe" if line_search else None,
        }
        torch.optim.Optimizer.__init__(self, params, defaults | {"weight_decay": weight_decay})
        self._numel_cache = None

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """More parameters: what is known of the curvature is of fewer, and is forgotten."""
        super().add_param_group(param_group)
        self.state.clear()

    @property
    def _params(self) -> list[Tensor]:  # torch's class reads it
        return [p for group in self.param_groups for p in group["params"]]

    @torch.no_grad()
    def bare_step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Up to `iterations` iterations; the closure evaluates loss and gradient, and is called several times.

        Returns:
            The loss before the first of them.

        Raises:
            InputTrouble: no closure.
        """
        if closure is None:
            raise InputTrouble("lbfgs: evaluates several times a step; call step(closure), which returns the loss")
        if all(p.numel() == 0 for p in self._params):
            return closure()
        self.require_dense()
        groups, first = self.param_groups, self.param_groups[0]
        before: list[Any] = []

        def with_decay() -> float:
            with torch.enable_grad():
                loss = closure()
            self.require_dense()
            before.append(loss)
            return number(loss) + self._decay(groups)

        self._numel_cache = None
        self.param_groups = [{**first, "params": self._params}]  # torch's class takes one group
        try:
            inspect.unwrap(torch.optim.LBFGS.step)(self, with_decay)
        finally:
            self.param_groups = groups
        return before[0]

    def _decay(self, groups: list[dict[str, Any]]) -> float:
        """Add the gradient of the decay; its value."""
        value = 0.0
        for group in groups:
            if half := 0.5 * group["weight_decay"]:
                for p in group["params"]:
                    if p.grad is not None:
                        p.grad.add_(p.detach(), alpha=2.0 * half)
                        value += half * p.detach().double().square().sum().item()
        return value

    def _gather_flat_grad(self) -> Tensor:  # torch's class calls it; its own knows one order of memory only
        grads = {p: g for group in self.param_groups for p, g in self.pairs(group)}
        return torch.cat([grads.get(p, torch.zeros_like(p)).detach().reshape(-1) for p in self._params])

    def state_dict(self) -> dict[str, Any]:
        """torch's, with every list of vectors as one tensor and every number as a tensor of one."""
        packed = super().state_dict()
        return {**packed, "state": {index: _packed(state) for index, state in packed["state"].items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A state dict of this class, or of torch's."""
        super().load_state_dict({**state_dict, "state": {}})
        params = self._params
        for index, state in state_dict["state"].items():
            own = {k: _unpacked(k, v, params[index]) for k, v in state.items() if k != "al" and v is not None}
            self.state[params[index]] = ({name: [] for name in LISTS} if own.get("n_iter") else {}) | own


def _packed(state: dict[str, Any]) -> dict[str, Tensor]:
    found = {}
    for key, value in state.items():
        if key in LISTS and value:
            found[key] = torch.stack(value)
        elif key in ("d", "prev_flat_grad"):
            found[key] = value
        elif key not in LISTS and key != "al" and value is not None:
            found[key] = torch.as_tensor(value, dtype=torch.float64)
    return found


def _unpacked(key: str, value: Any, like: Tensor) -> Any:
    if key in LISTS:
        return [torch.as_tensor(v).to(like).clone() for v in value]
    if key in ("d", "prev_flat_grad"):
        return value.to(like).clone()
    return int(value) if key in COUNTS else float(value)
