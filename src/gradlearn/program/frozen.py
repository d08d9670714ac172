"""Frozen: what a module keeps in plain Python is written into a program as it is; is it still so?

    Frozen(model).holds()  <=>  the same modules, numbers, flags, strings, tensors and hooks as when it was made

Asked before every call of a program, so it must cost little: the modules are walked once, and what each holds is compared in place.
Attributes of other kinds (lists, objects) are not looked into; the check of two steps against PyTorch is for those.
"""

from __future__ import annotations

from torch import Tensor, nn

PLAIN = (int, float, str, bool, type(None), Tensor)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GONE = object()


class Frozen:
    """A module as it was."""

    def __init__(self, model: nn.Module) -> None:
        self._held = [
            (
                vars(module),
                len(vars(module)),
                [(name, value) for name, value in vars(module).items() if isinstance(value, PLAIN)],
                [(vars(module)[name], len(vars(module)[name])) for name in HOOKS if name in vars(module)],
                (module._modules, list(module._modules.values())),
            )
            for module in model.modules()
        ]

    def holds(self) -> bool:
        """Whether nothing of it has changed: tensors are the same objects, all else is equal and of the same type."""
        for own, many, plain, hooks, (children, before) in self._held:
            if len(own) != many or len(children) != len(before):
                return False
            for name, value in plain:
                now = own.get(name, _GONE)
                if now is not value and (isinstance(value, Tensor) or type(now) is not type(value) or now != value):
                    return False
            if any(len(hooked) != k for hooked, k in hooks) or any(
                a is not b for a, b in zip(children.values(), before, strict=True)
            ):
                return False
        return True
