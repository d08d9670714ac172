"""Any start as one vector: numbers, tensors, arrays, and lists, tuples and dicts of them, nested, or a module's parameters.

    flat (n,) float64  <->  the structure that the function is called with

`flatten` reads a start; `Structure.build` makes what the function takes from a vector. Use it where a function of anything shall be
minimised as a function of one vector; a training loop wants `theta.py`, which holds the parameters in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble

Make = Callable[[Tensor, "Leaf"], Any]


class Leaf:
    """One tensor, array or number of the start: where it lies in the vector, and what it was."""

    def __init__(self, value: Any, begin: int, where: str) -> None:
        self.kind = "module" if isinstance(value, nn.Parameter) else _kind(value, where)
        tensor = value.detach() if isinstance(value, Tensor) else _tensor(value, where)
        if tensor.layout is not torch.strided or tensor.is_complex() or tensor.dtype is torch.bool:
            what = "sparse" if tensor.layout is not torch.strided else str(tensor.dtype).removeprefix("torch.")
            raise InputTrouble(f"{where}: expected dense real numbers, {what} came; give a float tensor")
        self.where, self.shape, self.begin, self.end = where, tensor.shape, begin, begin + tensor.numel()
        self.dtype = tensor.dtype if tensor.is_floating_point() else torch.float64
        self.device = tensor.device
        self.values = tensor.reshape(-1).to("cpu", torch.float64).clone()

    def part(self, flat: Tensor) -> Tensor:
        """This leaf's piece of a vector (n,) in its shape; of rows (k, n), a row each."""
        piece = flat[..., self.begin : self.end]
        return piece.reshape((*flat.shape[:-1], *self.shape))


class Structure:
    """The start as it was given, with the numbers taken out.

    Args:
        start: a number; a tensor or array; a list, tuple or dict of them, nested; a list of numbers is one vector. Or a module.

    Raises:
        InputTrouble: nothing to move, or something that is no real number.
    """

    def __init__(self, start: Any) -> None:
        self.leaves: list[Leaf] = []
        self.module = start if isinstance(start, nn.Module) else None
        self._plan = self._read(self._parameters(start) if self.module is not None else start, "start")
        self.n = self.leaves[-1].end if self.leaves else 0
        if self.n == 0:
            raise InputTrouble("start: no number in it; give a tensor, a list of numbers, or a module with parameters")

    @staticmethod
    def _parameters(module: nn.Module) -> dict[str, nn.Parameter]:
        return {name: p for name, p in module.named_parameters() if p.requires_grad}

    def _read(self, value: Any, where: str) -> Any:
        if isinstance(value, dict):
            return {key: self._read(v, f"{where}[{key!r}]") for key, v in value.items()}
        if isinstance(value, (list, tuple)) and not (value and all(_is_number(v) for v in value)):
            parts = [self._read(v, f"{where}[{i}]") for i, v in enumerate(value)]
            if isinstance(value, tuple):
                return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
            return parts
        leaf = Leaf(value, self.leaves[-1].end if self.leaves else 0, where)
        self.leaves.append(leaf)
        return leaf

    @property
    def is_vector(self) -> bool:
        """Whether the start is one vector or one number, so that rows of them are a matrix or a vector."""
        return isinstance(self._plan, Leaf) and len(self._plan.shape) <= 1

    @property
    def has_arrays(self) -> bool:
        """Whether a numpy array is in it."""
        return any(leaf.kind == "array" for leaf in self.leaves)

    def flat(self) -> Tensor:
        """The numbers of the start: (n,) float64."""
        return torch.cat([leaf.values for leaf in self.leaves])

    def build(self, flat: Tensor, make: Make) -> Any:
        """The structure with `make(piece, leaf)` at each leaf; piece has the leaf's shape."""
        return _filled(self._plan, flat, make)

    def result(self, flat: Tensor, make: Make) -> Any:
        """What the user gets: the module itself, numbers as numbers, all else as the function took it."""
        if self.module is not None:
            return self.module
        return _filled(self._plan, flat, lambda piece, leaf: piece.item() if leaf.kind == "number" else make(piece, leaf))

    def put(self, flat: Tensor) -> None:
        """The module's parameters become these numbers, each in its own precision."""
        assert self.module is not None
        with torch.no_grad():
            for param, leaf in zip(self._parameters(self.module).values(), self.leaves, strict=True):
                param.copy_(leaf.part(flat))

    def parameters(self) -> Iterator[nn.Parameter]:
        """The module's parameters, in the order of the vector."""
        assert self.module is not None
        return iter(self._parameters(self.module).values())


def as_float64(piece: Tensor, leaf: Leaf) -> Tensor:
    """A tensor in double precision, on the leaf's device."""
    return piece if leaf.device.type == "cpu" else piece.to(leaf.device)


def as_given(piece: Tensor, leaf: Leaf) -> Tensor:
    """A tensor in the precision and on the device of the start."""
    return piece.to(leaf.device, leaf.dtype)


def as_array(piece: Tensor, leaf: Leaf) -> Any:
    """A numpy array, or a float where the start was a number."""
    return piece.item() if not piece.shape and leaf.kind == "number" else piece.detach().numpy()


def _filled(plan: Any, flat: Tensor, make: Make) -> Any:
    if isinstance(plan, Leaf):
        return make(plan.part(flat), plan)
    if isinstance(plan, dict):
        return {key: _filled(v, flat, make) for key, v in plan.items()}
    parts = [_filled(v, flat, make) for v in plan]
    if isinstance(plan, tuple):
        return type(plan)(*parts) if hasattr(plan, "_fields") else tuple(parts)
    return parts


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _kind(value: Any, where: str) -> str:
    if isinstance(value, Tensor):
        return "tensor"
    if isinstance(value, np.ndarray):
        return "array"
    if _is_number(value):
        return "number"
    if isinstance(value, (list, tuple)):
        return "list"
    kind = type(value).__name__
    raise InputTrouble(
        f"{where}: expected numbers, tensors, arrays or nests of them, {kind} came; give torch.zeros(n), or a module"
    )


def _tensor(value: Any, where: str) -> Tensor:
    try:
        return torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError) as error:
        raise InputTrouble(f"{where}: {str(error).splitlines()[0][:80]}; give an array of real numbers") from error
