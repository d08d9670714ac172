"""What a step does, as PyTorch's own kernels see it: every operation of one forward and backward pass, in order.

    with Recording() as recording: ... one step ...        recording.ops: [aten.addmm, aten.relu, ..., aten.mm]

Tensors are noted by where they lie: which storage, from which element, with which strides. Views need no meaning that way, they are
other ways of reading the same storage. Everything that was made is kept until the recording goes, so that no address comes twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradlearn.program.unfit import Unfit

READERS = {  # what brings a number of a tensor into Python, where it may decide anything
    "_local_scalar_dense": "reads a number out of a tensor (.item(), float(), if)",
    "nonzero": "makes a tensor whose size depends on values (nonzero, a mask as an index)",
    "masked_select": "makes a tensor whose size depends on values (masked_select)",
    "unique2": "makes a tensor whose size depends on values (unique)",
    "equal": "compares tensors in Python (torch.equal)",
}


class Place(NamedTuple):
    """Where a tensor lies."""

    store: int
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    conjugated: bool = False


class Op(NamedTuple):
    """One operation: tensors in `args`, `kwargs` and `outs` are places."""

    name: str  # "addmm.default"
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outs: tuple[Any, ...]
    random: bool
    mutates: bool
    call: Any


def operands(value: Any) -> list[Place]:
    """Every place in a recorded argument."""
    if isinstance(value, Place):
        return [value]
    if isinstance(value, (tuple, list)):
        return [p for v in value for p in operands(v)]
    return [p for v in value.values() for p in operands(v)] if isinstance(value, dict) else []


class Kind(NamedTuple):
    """What is known of an operation, whatever it is called with."""

    name: str
    why: str  # no program can have it
    sized: bool  # the size of its result may depend on values
    mutates: bool
    random: bool


@lru_cache(maxsize=4096)
def _kind(func: Any) -> Kind:
    name = func.__name__
    base = name.partition(".")[0]
    why = READERS.get(base.removeprefix("_").removesuffix("_")) or READERS.get(base) or ""
    if not why and torch.Tag.data_dependent_output in func.tags:
        why = "makes a tensor whose size depends on values"
    sized = name.startswith("index.") or torch.Tag.dynamic_output_shape in func.tags
    return Kind(name, why, sized, func._schema.is_mutable, torch.Tag.nondeterministic_seeded in func.tags)


def _sized_by_values(func: Any, args: Any) -> bool:
    """Whether the size of a result depends on the values of tensors: all such operations, but an index without a mask."""
    if func.__name__.startswith("index."):
        return any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    return torch.Tag.dynamic_output_shape in func.tags


class Recording(TorchDispatchMode):
    """Listens to one step.

    Attributes:
        ops: what was done, in order.
        tensors: for each store, a tensor that lies in it.
        made: stores that did not exist before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ops: list[Op] = []
        self.tensors: list[Tensor] = []
        self.made: set[int] = set()
        self.before: dict[int, tuple[Tensor, Tensor]] = {}  # what was changed: as it was
        self._stores: dict[int, int] = {}
        self._kept: list[Any] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # asking torch's compiler to look away would load it: 2 s

    def place(self, tensor: Tensor) -> Place:
        """Where a tensor lies; the first of a storage names the store."""
        if tensor.layout is not torch.strided or type(tensor) not in (Tensor, torch.nn.Parameter):
            raise Unfit(f"makes a {type(tensor).__name__} of layout {tensor.layout}")
        if tensor._is_zerotensor():
            raise Unfit("has a gradient that PyTorch keeps as a zero without memory")
        if tensor.is_neg():
            raise Unfit("reads a number with its sign turned (the imaginary part of a conjugate)")
        if tensor.device.type != "cpu":
            raise Unfit(f"computes on {tensor.device}; programs are for the processor")
        key = tensor.untyped_storage()._cdata
        if key not in self._stores:
            self._stores[key] = len(self.tensors)
            self.tensors.append(tensor)
            self._kept.append(tensor)
        return Place(
            self._stores[key],
            tensor.dtype,
            int(tensor.storage_offset()),
            tuple(tensor.shape),
            tensor.stride(),
            tensor.is_conj(),
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = _kind(func)
        if kind.why:
            raise Unfit(kind.why)
        if kind.sized and _sized_by_values(func, args):
            raise Unfit("makes a tensor whose size depends on values")
        if kind.mutates:
            self._keep(func, args, kwargs)
        noted, named = self._noted(args), {k: self._noted(v) for k, v in kwargs.items()}
        known = len(self.tensors)
        result = func(*args, **kwargs)
        outs = self._noted(result if isinstance(result, (tuple, list)) else (result,))
        self.made.update(range(known, len(self.tensors)))
        self._kept.append(result)
        self.ops.append(Op(kind.name, noted, named, outs, kind.random, kind.mutates, func))
        return result

    def _keep(self, func: Any, args: Any, kwargs: Any) -> None:
        """What an operation is about to change and was there before: as it is now."""
        for i, a in enumerate(func._schema.arguments):
            value = args[i] if i < len(args) else kwargs.get(a.name)
            if a.alias_info is None or not a.alias_info.is_write:
                continue
            for t in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(t, Tensor):
                    store = self.place(t).store
                    if store not in self.made and store not in self.before:
                        whole = t.detach().new_empty(0).set_(t.untyped_storage())
                        self.before[store] = (whole, whole.clone())

    def put_back(self) -> None:
        """Everything that was there before is as it was."""
        for whole, value in self.before.values():
            whole.copy_(value)

    def _noted(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.place(value)
        if isinstance(value, (tuple, list)):
            return tuple(self._noted(v) for v in value)
        return value


@contextmanager
def plain_kernels(model: nn.Module) -> Iterator[None]:
    """Inside, recurrent layers and attention are made of ordinary operations, not of one that nobody can look into."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kept = torch._C._get_mkldnn_enabled()  # pyright: ignore[reportAttributeAccessIssue]
    if any(isinstance(m, nn.RNNBase) for m in model.modules()):
        torch._C._set_mkldnn_enabled(False)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch._C._set_mkldnn_enabled(kept)  # pyright: ignore[reportAttributeAccessIssue]
