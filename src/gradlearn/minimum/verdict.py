"""The certificate of a point that `minimize` found: what `certificate.py` says of the function as the search saw it.

Coordinates that rest at a bound are left out: there the gradient need not vanish. Outside of the bounds the function is asked for
nothing. A function without a gradient gets no certificate: differences of differences of values would decide it by their rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gradlearn.minimum.callables import PLAIN, Prepared, _takes_argument, scalar
from gradlearn.minimum.function import Function
from gradlearn.minimum.structure import Structure

DENSE = 256  # coordinates up to which the whole spectrum is computed


def certificate_of(prepared: Prepared, f: Function, x: Tensor, seed: int) -> Any:
    """A Certificate, or None where none can be had."""
    from gradlearn.curvature import certify

    free = _free(prepared, f, x)
    if not bool(free.any()):
        return None
    whole = _plain(prepared)
    if whole is None:
        return None
    index = free.nonzero()[:, 0]
    low, high = f.low[index], f.high[index]

    def part(z: Tensor) -> Tensor:
        z = torch.minimum(torch.maximum(z, low.to(z.dtype)), high.to(z.dtype)) if f.bounded else z
        return whole(x.to(z.dtype).index_copy(0, index, z) if len(index) < f.n else z)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = certify(part, x[index], seed=seed, dense=DENSE)
    except (
        Exception
    ):  # a function that cannot be differentiated twice, or not in this way: no certificate is better than a wrong one
        return None
    finally:
        if prepared.structure.module is not None:
            prepared.structure.put(x)
    if made.direction is None or len(index) == f.n:
        return made
    from dataclasses import replace

    return replace(made, direction=torch.zeros_like(x).index_copy(0, index, made.direction.to(x.dtype)))


def _free(prepared: Prepared, f: Function, x: Tensor) -> Tensor:
    """Coordinates that no bound holds: (n,) bool."""
    if not f.bounded:
        return torch.ones(f.n, dtype=torch.bool)
    return ~((x <= f.low) | (x >= f.high))


def _plain(prepared: Prepared) -> Callable[[Tensor], Tensor] | None:
    """The function of a vector that autograd can follow, uncounted."""
    structure, f = prepared.structure, prepared.f
    if prepared.calls.gradient is None:
        return None
    if structure.module is not None:
        return _module_function(f, structure, structure.module)
    make = PLAIN[prepared.how]
    return lambda z: scalar(f(structure.build(z, make)))


def _module_function(f: Callable[..., Any], structure: Structure, module: nn.Module) -> Callable[[Tensor], Tensor]:
    """f with the module's parameters replaced by pieces of the vector while it is called."""
    call = (lambda: f(module)) if _takes_argument(f) else f
    places = [(owner, name, p) for owner in module.modules() for name, p in owner._parameters.items() if p is not None]
    leaf_of = {id(p): leaf for p, leaf in zip(structure.parameters(), structure.leaves, strict=True)}

    def value(z: Tensor) -> Tensor:
        try:
            for owner, name, p in places:
                if id(p) in leaf_of:
                    owner._parameters[name] = leaf_of[id(p)].part(z).to(p.device, p.dtype)  # type: ignore[assignment]
            _refresh(module)
            return scalar(call())
        finally:
            for owner, name, p in places:
                owner._parameters[name] = p
            _refresh(module)

    return value


def _refresh(module: nn.Module) -> None:
    """A recurrent layer keeps a list of its weights of its own."""
    for part in module.modules():
        if isinstance(part, nn.RNNBase):
            part._flat_weights = [getattr(part, name) if hasattr(part, name) else None for name in part._flat_weights_names]
