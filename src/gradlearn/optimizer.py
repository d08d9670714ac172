"""torch's optimizers as they are, less one import.

The first use of a `torch.optim.Optimizer` loads `torch._dynamo`, 835 modules and about 2 s on a CPU, so that a compiler may leave
the method alone. Eager training does not need it.

torch keeps the plain function behind each decorated method (`functools.wraps`); `Light` calls that one. Hooks, profiling, groups
and state dicts are torch's own code. Under torch.compile use torch's classes themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.optim.optimizer import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks as _after_any
from torch.optim.optimizer import _global_optimizer_pre_hooks as _before_any

from gradlearn.sweep import sweep

if TYPE_CHECKING:
    from gradlearn.symbols import Estimate

_dense = torch.ops.aten.is_non_overlapping_and_dense


class Light(Optimizer):
    """Mixed in before a torch optimizer: `class AdamW(Light, torch.optim.AdamW)`."""

    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """torch's own; its fused kernels go over memory in one order and are left out for tensors with gaps."""
        inspect.unwrap(Optimizer.add_param_group)(self, param_group)
        group = self.param_groups[-1]
        if group.get("fused") and not all(p.numel() == 0 or _dense(p.detach()) for p in group["params"]):
            group["fused"] = False

    def moving(self, group: dict[str, Any]) -> list[torch.Tensor]:
        """The parameters of a group that have a gradient, each gradient in the strides of its parameter."""
        params = [p for p in group["params"] if p.grad is not None]
        for p in params:
            if p.grad.stride() != p.stride() and group.get("fused", True):
                p.grad = torch.empty_like(p).copy_(p.grad)
        return params

    def observe(self, estimate: Estimate) -> None:
        """Told of loss and gradient norm before each step; torch's own updates have no use for it."""

    def update(self) -> None:
        """u, and theta <- theta - lr * u, for every parameter with a `.grad`: torch's own step, undecorated."""
        _plain_step(type(self))(self, None)

    @torch.no_grad()
    def bare_step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step without looking for hooks."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.update()
        return loss

    hooked_step = Optimizer.profile_hook_step(bare_step)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter from its `.grad`; `closure` evaluates loss and gradient again.

        The profiler's record and the hooks around a step cost 15 us; they are entered only where somebody has asked for them.
        """
        if self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks or _before_any or _after_any:
            return self.hooked_step(closure)
        return self.bare_step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch wraps a step that does not say so in its own hook


class Elementwise(Light):
    """An update that is a formula of one coordinate: `formula(p, *states, g, *numbers)` -> the new p and states.

    A class of this kind names its `formula` and `states` and says what `numbers` are; the rest is one `sweep` for each group.
    """

    formula: ClassVar[Callable[..., tuple[Any, ...]]]
    states: ClassVar[tuple[str, ...]] = ()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A group of parameters, its state complete from the start: zeros, and `step` 0."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group.setdefault("step", 0)
        for p in group["params"]:
            for name in self.states:
                self.state[p][name] = torch.zeros_like(p, memory_format=torch.preserve_format)

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """What the formula takes after the tensors; `group["step"]` counts from 1 here."""
        raise NotImplementedError

    def update(self) -> None:
        """One pass over memory for each group."""
        for group in self.param_groups:
            params = self.moving(group)
            if params:
                group["step"] += 1
                columns = [params, *([self.state[p][name] for p in params] for name in self.states)]
                grads = [p.grad for p in params if p.grad is not None]
                sweep(type(self).formula, columns, [grads], self.numbers(group))


_plain: dict[type, Callable[..., Any]] = {}


def _plain_step(kind: type) -> Callable[..., Any]:
    """The undecorated `step` of the first torch optimizer behind `Light`."""
    if kind not in _plain:
        torch_kind = next(c for c in kind.__mro__ if c is not Light and "step" in vars(c) and not issubclass(c, Light))
        _plain[kind] = inspect.unwrap(vars(torch_kind)["step"])
    return _plain[kind]


def pack(update: Any) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """The state of any torch optimizer as named tensors ("0.exp_avg") and plain numbers per group; nothing is copied."""
    packed = update.state_dict()
    tensors = {
        f"{index}.{name}": value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=torch.float64)
        for index, state in packed["state"].items()
        for name, value in state.items()
        if value is not None
    }
    return tensors, [{k: v for k, v in group.items() if k != "params"} for group in packed["param_groups"]]


def unpack(update: Any, tensors: dict[str, torch.Tensor], groups: list[dict[str, Any]]) -> None:
    """The inverse of `pack`: state and group options become those that were packed; the tensors are copied in."""
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor.clone()
    packed = update.state_dict()["param_groups"]
    for own, saved in zip(packed, groups, strict=True):
        own.update({k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()})
    update.load_state_dict({"state": state, "param_groups": packed})
    params = [p for group in update.param_groups for p in group["params"]]
    for index, own in state.items():  # torch brings state into the dtype of its parameter, which loses bits
        for key, tensor in own.items():
            if update.state[params[index]][key].dtype != tensor.dtype:
                update.state[params[index]][key] = tensor.to(params[index].device)
