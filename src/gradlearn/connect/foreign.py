"""A model and an optimizer that somebody else owns: what is read of them, and how their learning rates are turned for one step.

    lr <- lr * factor;   step;   lr <- what it was

So a schedule of the loop's own finds the rate that it set, and does not compound the factor. Nothing is
flattened, replaced or moved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradlearn.layout import Block, Member

WIDE = (torch.float64, torch.complex128)
NARROW = (torch.float16, torch.bfloat16)


class Foreign:
    """Stands where checks expect theta: the parameters that an optimizer moves, by name, with their gradients.

    Args:
        model: whose names, buffers and other parameters these are.
        optimizer: whose parameters they are; groups may be added later.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model = model
        self.optimizer = optimizer
        self.untouched: list[Member] = []
        self._named: dict[int, str] = {}
        self._sizes: list[int] = []  # of the groups when their parameters were listed
        self._params: list[Tensor] = []

    def params(self) -> list[Tensor]:
        """Every parameter of the optimizer once, in its order."""
        groups = self.optimizer.param_groups
        if self._sizes != [len(group["params"]) for group in groups]:
            self._sizes = [len(group["params"]) for group in groups]
            self._params = list({id(p): p for group in groups for p in group["params"]}.values())
        return self._params

    def grads(self) -> list[Tensor]:
        """The gradients that are there."""
        return [g for p in self.params() if (g := p.grad) is not None]

    def name(self, param: Tensor) -> str:
        """What the model calls a parameter."""
        if id(param) not in self._named:
            self._named = {id(p): plain(name) for name, p in self.model.named_parameters()}
        return self._named.get(id(param), f"a parameter of the optimizer {tuple(param.shape)}")

    @property
    def members(self) -> list[Member]:
        """The dense, real parameters with `name`, `param`, `view`, `grad` (zeros where there is none), role and decay."""
        kinds = {id(p): module for module in self.model.modules() for p in module._parameters.values() if p is not None}
        found = []
        for p in self.params():
            if p.is_complex() or p.is_sparse or (p.grad is not None and p.grad.is_sparse):
                continue
            embedding = isinstance(kinds.get(id(p)), nn.Embedding)
            role = "embedding" if embedding else "matrix" if p.ndim >= 2 else "rest"
            m = Member(self.name(p), p, [], role, p.ndim >= 2)  # pyright: ignore[reportArgumentType]
            m.view, m.grad = p.detach(), torch.zeros_like(p) if p.grad is None else p.grad.detach()
            found.append(m)
        last = next((m for m in reversed(found) if m.role == "matrix"), None)
        if last is not None and sum(m.role == "matrix" for m in found) > 1:
            last.role = "head"
        return found

    @property
    def blocks(self) -> list[Block]:
        """Each dense parameter as a vector of its own, the very memory; its gradient likewise, or a copy in the same order."""
        found = []
        for m in self.members:
            if m.view.is_contiguous() or torch.ops.aten.is_non_overlapping_and_dense(m.view):
                grad = m.grad if m.grad.stride() == m.view.stride() else torch.empty_like(m.view).copy_(m.grad)
                flat = [t.as_strided((t.numel(),), (1,)) for t in (m.view, grad)]
                found.append(Block(flat[0], flat[1], [m], [(m.role, m.decay, 0, m.view.numel())]))
        return found

    def __len__(self) -> int:
        return sum(p.numel() for p in self.params())

    def norm(self) -> float:
        """||g||_2 over all gradients."""
        return norm_of(self.grads()).item()

    def first_nonfinite(self) -> tuple[str, str] | None:
        """(name, "gradient" or "value") of the first tensor that holds a NaN or an infinity; None if all are finite."""
        for p in self.params():
            if p.grad is not None and not torch.isfinite(values(p.grad)).all():
                return self.name(p), "gradient"
            if not torch.isfinite(p).all():
                return self.name(p), "value"
        return None

    def buffers(self) -> list[Tensor]:
        """What a forward pass may change."""
        return list(self.model.buffers())


class Told:
    """Stands where checks expect the objective, and keeps in `missed` what a check asked for and nobody gave.

    Args:
        model: the module that is trained.
        data: the training data, if they were given.
        losses: (batch) -> losses of its examples, if the loss was given.
        steps: in the whole run, 0: not known.
    """

    def __init__(self, model: nn.Module, data: Any, losses: Callable[[Any], Any] | None, steps: int) -> None:
        self.model, self.losses, self.steps = model, losses, steps
        self.given, self.missed = data, ""

    @property
    def data(self) -> Any:
        """The training data."""
        self.missed = self.missed or ("" if self.given is not None else "it needs the data")
        return self.given

    @property
    def valid(self) -> Any:
        """The validation data, which nobody gives."""
        self.missed = self.missed or "it needs validation data"
        return None

    def __call__(self, batch: Any) -> Any:
        """The losses of a batch. Raises NotImplementedError without the loss."""
        if self.losses is None:
            self.missed = "it needs the loss"
            raise NotImplementedError(self.missed)
        return self.losses(batch)


def told(model: nn.Module, data: Any, loss: Any, steps: int) -> Told:
    """What checks may ask of the loss, as far as it was told."""
    if data is None:
        return Told(model, None, None, steps)
    from gradlearn.adapt import to_data
    from gradlearn.supervised import Supervised

    examples = to_data(data)
    if loss is None:
        return Told(model, examples, None, steps)
    task = Supervised(model, loss, {"train": examples, "valid": None, "test": None})
    return Told(model, examples, lambda batch: task.losses(model, batch), steps)


def values(grad: Tensor) -> Tensor:
    """The numbers in a gradient, dense or sparse."""
    return grad.coalesce().values() if grad.is_sparse else grad


@torch.no_grad()
def norm_of(tensors: Sequence[Tensor]) -> Tensor:
    """The 2-norm of them all together, (), on the first one's device; 0 of none. No transfer to the processor."""
    if {t.dtype for t in tensors} == {torch.float32} and {t.layout for t in tensors} == {torch.strided}:
        norms = torch._foreach_norm(list(tensors))  # pyright: ignore[reportPrivateImportUsage]
    else:
        dense = [values(t) for t in tensors if t.is_floating_point() or t.is_complex()]
        wide = torch.float64 if any(t.dtype in WIDE for t in dense) else torch.float32
        dense = [t.to(wide) if t.dtype in NARROW else t for t in dense]
        norms = [n.to(wide) for n in torch._foreach_norm(dense)] if dense else [torch.zeros(())]  # pyright: ignore[reportPrivateImportUsage]
    if len({n.device for n in norms}) > 1:
        norms = [n.to(norms[0].device) for n in norms]
    return torch.linalg.vector_norm(torch.stack(list(norms)))


def rate_of(optimizer: Optimizer) -> float:
    """The learning rate of the first group; NaN where there is none, or looking at it would cost a transfer."""
    lr = optimizer.param_groups[0].get("lr")
    if isinstance(lr, Tensor):
        return lr.item() if lr.device.type == "cpu" else float("nan")
    return float("nan") if lr is None else float(lr)


def turn(optimizer: Optimizer, factor: float) -> list[tuple[dict[str, Any], Any, Any]]:
    """Every learning rate times the factor; (group, what it is now, what it was) of each. Nothing at 1."""
    turned: list[tuple[dict[str, Any], Any, Any]] = []
    for group in optimizer.param_groups if factor != 1.0 else ():
        lr = group.get("lr")
        if isinstance(lr, Tensor):
            turned.append((group, lr, lr.clone()))
            lr.mul_(factor)
        elif isinstance(lr, (int, float)):
            group["lr"] = lr * factor
            turned.append((group, group["lr"], lr))
    return turned


def turn_back(turned: Sequence[tuple[dict[str, Any], Any, Any]]) -> None:
    """The rates as they were; one that was set during the step stays as it was set."""
    for group, during, before in turned:
        if isinstance(during, Tensor):
            during.copy_(before)
        elif group["lr"] == during:
            group["lr"] = before


def plain(name: str) -> str:
    """A parameter's name without what wrappers put before it."""
    while name.startswith(("_orig_mod.", "module.")):
        name = name.partition(".")[2]
    return name


def inner(optimizer: Any) -> Any:
    """The optimizer whose own step runs, inside the wrappers of accelerate, Lightning and others."""
    seen = 0
    while isinstance(getattr(optimizer, "optimizer", None), Optimizer) and seen < 8:
        optimizer, seen = optimizer.optimizer, seen + 1
    return optimizer


def torchs(optimizer: Optimizer) -> bool:
    """Whether it is one of torch's own, which pass over a parameter without a gradient."""
    return type(optimizer).__module__.startswith("torch.optim")


def numbers(values: Sequence[Any]) -> list[float]:
    """As numbers of Python, in one transfer; None is NaN."""
    tensors = [v for v in values if isinstance(v, Tensor) and not v.is_cpu]
    if tensors:
        place = tensors[0].device
        moved = iter(torch.stack([v.detach().reshape(()).to(place, torch.float32) for v in tensors]).tolist())
        values = [next(moved) if any(v is one for one in tensors) else v for v in values]
    return [float("nan") if v is None else v.item() if isinstance(v, Tensor) else v for v in values]
