"""torch's optimizers as they are, less one import.

The first use of a `torch.optim.Optimizer` loads `torch._dynamo`, 835 modules and about 2 s on a CPU, so that a compiler may leave
the method alone. Eager training does not need it.

torch keeps the plain function behind each decorated method (`functools.wraps`); `Light` calls that one. Hooks, profiling, groups
and state dicts are torch's own code. Under torch.compile use torch's classes themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks as _after_any
from torch.optim.optimizer import _global_optimizer_pre_hooks as _before_any

from gradlearn.errors import InputTrouble
from gradlearn.sweep import Formula, Sweep

if TYPE_CHECKING:
    from gradlearn.symbols import Estimate

_DENSE = {torch.strided}
_ONE = torch.ones(())
_enable = torch._C._set_grad_enabled  # pyright: ignore[reportPrivateImportUsage]
_dense = torch.ops.aten.is_non_overlapping_and_dense


def count(steps: list[Tensor]) -> None:
    """One step more for each of these counters, (), in place."""
    if steps and steps[0].device.type != "cpu":
        torch._foreach_add_(steps, 1)  # pyright: ignore[reportPrivateImportUsage]  # one launch for all
        return
    for step in steps:
        step.add_(_ONE)  # a Python 1 is made into a tensor each time, in three times the time


def number(loss: Any) -> float:
    """A loss that a closure returned, tensor or number, as a number."""
    return loss.item() if isinstance(loss, Tensor) else float(loss)


class Light(Optimizer):
    """Mixed in before a torch optimizer: `class AdamW(Light, torch.optim.AdamW)`."""

    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)

    def __init__(self, params: Any, *defaults: Any, **options: Any) -> None:
        _refuse_numbers(self, options)  # before torch does, in its words
        super().__init__(params, *defaults, **options)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle keeps: torch's, and what a class of ours has set; no hooks, nothing that only saves time."""
        kept = {k: v for k, v in vars(self).items() if not k.startswith("_") or k == "_step_supports_amp_scaling"}
        return super().__getstate__() | kept

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """torch's own; its fused kernels go over memory in one order and are left out for tensors with gaps.

        Raises:
            InputTrouble: sparse or complex parameters, or a number out of its range.
        """
        inspect.unwrap(Optimizer.add_param_group)(self, param_group)
        group = self.param_groups[-1]
        _refuse(self, group)
        if group.get("fused") and not all(p.numel() == 0 or _dense(p.detach()) for p in group["params"]):
            group["fused"] = False

    def moving(self, group: dict[str, Any]) -> list[Tensor]:
        """The parameters of a group that have a gradient, each gradient in the strides of its parameter."""
        params = [p for p in group["params"] if p.grad is not None]
        if group.get("fused"):
            for p in params:
                if (g := p.grad) is not None and g.stride() != p.stride():
                    p.grad = torch.empty_like(p).copy_(g)
        return params

    def pairs(self, group: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
        """The parameters of a group that have a gradient, with it."""
        return [(p, g) for p in group["params"] if (g := p.grad) is not None]

    def require_dense(self) -> None:
        """Raise InputTrouble for a sparse gradient in any group: asked before the first of them moves."""
        found = {g.layout for group in self.param_groups for p in group["params"] if (g := p.grad) is not None}
        if found - _DENSE:
            raise InputTrouble(f"--update {_name(self)}: takes no sparse gradients; make the layer with sparse=False")

    def observe(self, estimate: Estimate) -> None:
        """Told of loss and gradient norm before each step; torch's own updates have no use for it."""

    def writable(self) -> bool:
        """Whether a program can do this step by itself: whether there is a `write` for it as it is set."""
        return False

    def write(self, pen: Any) -> None:
        """A step, with the pen of a program (`program/pen.py`). Only where it is `writable`."""
        raise NotImplementedError

    def update(self) -> None:
        """u, and theta <- theta - lr * u, for every parameter with a `.grad`: torch's own step, undecorated."""
        _plain_step(type(self))(self, None)

    def bare_step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step without looking for hooks."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        mode = torch.is_grad_enabled()
        _enable(False)  # torch.no_grad() less 8 us
        try:
            self.require_dense()
            self.update()
        finally:
            _enable(mode)
        return loss

    def _any_step(self, closure: Callable[[], float] | None = None) -> float | None:
        return self.bare_step(closure)

    hooked_step = Optimizer.profile_hook_step(_any_step)

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

    `group["step"]` counts the steps of a group, `group["missed"]` for each of its tensors those in which it had no gradient, so
    that what depends on the count is right for a tensor that joins later.
    """

    formula: Formula
    states: tuple[str, ...] = ()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A group of parameters, its state complete from the start: zeros, and `step` 0."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group.setdefault("step", 0)
        group.setdefault("missed", ())
        for p in group["params"]:
            self.begin(p)

    def begin(self, p: Tensor) -> dict[str, Tensor]:
        """The state of one parameter before its first step."""
        self.state[p] = {name: torch.zeros_like(p, memory_format=torch.preserve_format) for name in self.states}
        return self.state[p]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A state dict of this class; or of torch's, which counts steps tensor by tensor and calls its tensors the same."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            counts = [self.state[p].pop("step", None) for p in group["params"]]
            if any(n is not None for n in counts):
                steps = [int(n or 0) for n in counts]
                group["step"] = max(steps)
                group["missed"] = tuple(max(steps) - n for n in steps)
            group.setdefault("step", 0)
            group.setdefault("missed", ())

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """What the formula takes after the tensors; `group["step"]` counts from 1 here. Each class of this kind says its own."""
        raise NotImplementedError

    def writable(self) -> bool:
        """Whether a step is the formula and nothing else, so that a program can do it by itself."""
        own = type(self)
        plain = own.update is Elementwise.update and own.moved is Elementwise.moved and own.observe is Light.observe
        return plain and not any(any(group["missed"]) for group in self.param_groups)

    def write(self, pen: Any) -> None:
        """A step, with the pen of a program."""
        for i, own in enumerate(self.param_groups):
            given = pen.numbers(
                lambda i=i: self.param_groups[i],
                lambda group, t, lr: self.numbers(group | {"step": t, "lr": lr}),
                lambda i=i: self.param_groups[i]["step"],
            )
            for p in own["params"]:
                pen.walk(self.formula, p, [lambda p=p, name=name: self.state[p][name] for name in self.states], given)
            pen.after.append(lambda steps, i=i: self.param_groups[i].update(step=self.param_groups[i]["step"] + steps))

    def update(self) -> None:
        """One pass over memory for each group."""
        for index, group in enumerate(self.param_groups):
            for late, params, grads in self.moved(group):
                numbers = self.numbers(group | {"step": group["step"] - late} if late else group)
                self.walk(self.formula, (index, late), [params, *self.columns(params, *self.states)], [grads], numbers)

    def moved(self, group: dict[str, Any]) -> Iterator[tuple[int, list[Tensor], list[Tensor]]]:
        """Count a step of this group; (steps they missed, parameters, gradients), one for each number of missed steps."""
        pairs = self.pairs(group)
        if not pairs:
            return
        group["step"] += 1
        params, grads = [p for p, _ in pairs], [g for _, g in pairs]
        if len(pairs) == len(group["params"]) and not any(group["missed"]):
            yield 0, params, grads
            return
        missed = group["missed"] or (0,) * len(group["params"])
        group["missed"] = tuple(n + (p.grad is None) for n, p in zip(missed, group["params"], strict=True))
        for late in sorted(set(missed)):
            some = [p for n, p in zip(missed, group["params"], strict=True) if n == late and p.grad is not None]
            if some:
                yield late, some, [p.grad for p in some if p.grad is not None]

    def columns(self, params: list[Tensor], *names: str) -> list[list[Tensor]]:
        """State of these parameters by name, as columns of a sweep."""
        states = [self.state[p] or self.begin(p) for p in params]
        return [[state[name] for state in states] for name in names]

    def walk(
        self, formula: Formula, key: Any, written: list[list[Tensor]], read: list[list[Tensor]], numbers: tuple[float, ...]
    ) -> list[float]:
        """One pass of a formula; `key` tells apart the groups of tensors that it walks."""
        sweeps = self.__dict__.setdefault("_sweeps", {})  # a copy of an optimizer comes without
        if (formula, key) not in sweeps:
            sweeps[formula, key] = Sweep(formula)
        return sweeps[formula, key](written, read, numbers)

    @contextmanager
    def swapped(self, value: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Inside, every parameter is `value` of it; afterwards it is bitwise as it was."""
        params = [p for group in self.param_groups for p in group["params"]]
        kept = [p.detach().clone() for p in params]
        try:
            with torch.no_grad():
                for p in params:
                    p.copy_(value(p))
            yield
        finally:
            with torch.no_grad():
                for p, old in zip(params, kept, strict=True):
                    p.copy_(old)


_RANGES: dict[str, Callable[[Any], bool]] = {
    "betas": lambda betas: all(0.0 <= b < 1.0 for b in betas),
    "eps": lambda eps: eps >= 0.0,
    "weight_decay": lambda decay: decay >= 0.0,
    "momentum": lambda momentum: 0.0 <= momentum < 1.0,
}
_SAID = {"betas": "each must be in [0, 1)", "momentum": "must be in [0, 1)"}


def _name(update: Any) -> str:
    """The name of an update's file."""
    return type(update).__module__.rpartition(".")[2]


def _refuse(update: Any, group: dict[str, Any]) -> None:
    """Raise InputTrouble for tensors that no update takes, and numbers out of their ranges."""
    for p in group["params"]:
        if p.layout is not torch.strided or p.is_complex():
            kind = "complex" if p.is_complex() else "sparse"
            where = f"--update {_name(update)}"
            raise InputTrouble(f"{where}: takes no {kind} parameters (one is {tuple(p.shape)}); use dense real ones")
    _refuse_numbers(update, group)


def _refuse_numbers(update: Any, group: dict[str, Any]) -> None:
    name = _name(update)
    if not group.get("lr", 0.0) >= 0.0:
        raise InputTrouble(f"--lr {group['lr']}: a learning rate must be at least 0")
    for option, fits in _RANGES.items():
        if option in group and not fits(group[option]):
            raise InputTrouble(f"--{name}.{option} {group[option]}: {_SAID.get(option, 'must be at least 0')}")


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
            loaded = update.state[params[index]].get(key)
            if isinstance(loaded, torch.Tensor) and loaded.dtype != tensor.dtype:
                update.state[params[index]][key] = tensor.to(params[index].device)
