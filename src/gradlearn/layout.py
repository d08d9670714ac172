"""How theta is laid out: which parameters of a module are in the vector, where, and as what.

    theta = [segment | segment | ...],   segment = parameters of one (role, decay), in the order of the model

Matrices decay, embeddings and the last matrix (head) have roles of their own; norms and biases are the rest and do not decay.
Each tensor starts on a boundary of 64 bytes and keeps the strides its author gave it. For `theta.py` only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble

ROLES = ("matrix", "embedding", "head", "rest")
_ALIGN = 64  # bytes: every tensor starts where a fresh allocation would, so kernels take the same path

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


@dataclass(slots=True)
class Member:
    """One parameter tensor and its place in the vector."""

    name: str
    param: nn.Parameter
    owners: list[tuple[nn.Module, str]]  # every module that holds it: more than one when tied
    role: str
    decay: bool
    view: Tensor = field(init=False)
    grad: Tensor = field(init=False)
    start: int = 0  # in its block
    parts: int = 1  # how many matrices lie in it one below the other: the gates of a recurrent cell


@dataclass(slots=True)
class Block:
    """All parameters of one device and dtype: the vector itself, and g beside it."""

    flat: Tensor  # (size,)
    grad: Tensor  # (size,)
    members: list[Member]
    segments: list[tuple[str, bool, int, int]]  # role, decay, start, stop


def members_of(model: nn.Module) -> list[Member]:
    """Every parameter that is trained, in the order of the model. Raises InputTrouble for what no vector can hold."""
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    kinds: dict[int, nn.Module] = {}
    for module in model.modules():
        for name, param in module._parameters.items():
            if param is not None:
                owners.setdefault(id(param), []).append((module, name))
                kinds.setdefault(id(param), module)
    members = []
    for name, param in model.named_parameters():
        if not param.requires_grad:
            continue
        if isinstance(param, nn.parameter.UninitializedParameter):
            raise InputTrouble(f"model: parameter {name!r} is not initialised yet; call the model once before fit")
        if param.is_sparse or param.is_complex():
            raise InputTrouble(f"model: parameter {name!r} is {param.dtype} {param.layout}; only dense real parameters are trained")
        module = kinds[id(param)]
        decay = param.ndim >= 2 and not isinstance(module, _NORMS)
        role = "embedding" if isinstance(module, nn.Embedding) else "matrix" if decay else "rest"
        members.append(Member(name, param, owners[id(param)], role, decay))
        members[-1].parts = _parts(module, name.rpartition(".")[2])
    last = next((m for m in reversed(members) if m.role == "matrix"), None)
    if last is not None and any(m.role == "matrix" for m in members if m is not last):
        last.role = "head"
    return members


def _parts(module: nn.Module, name: str) -> int:
    """Of how many matrices one parameter of a module is made up."""
    gates = 4 if isinstance(module, (nn.LSTM, nn.LSTMCell)) else 3 if isinstance(module, (nn.GRU, nn.GRUCell)) else 1
    if isinstance(module, nn.MultiheadAttention):
        return 3 if name == "in_proj_weight" else 1
    return gates if name.startswith(("weight_ih", "weight_hh")) else 1


def by_kind(members: list[Member]) -> list[list[Member]]:
    """Those of each device and dtype together."""
    groups: dict[tuple[torch.device, torch.dtype], list[Member]] = {}
    for m in members:
        groups.setdefault((m.param.device, m.param.dtype), []).append(m)
    return list(groups.values())


def lay_out(members: list[Member]) -> Block:
    """One buffer for these parameters, decaying segments first, each tensor 64-byte aligned; values move in, strides are kept."""
    members = sorted(members, key=lambda m: (not m.decay, ROLES.index(m.role)))  # stable: depth within a segment
    first = members[0].param
    unit = max(_ALIGN // first.element_size(), 1)
    position, segments = 0, []
    for m in members:
        if not segments or segments[-1][:2] != [m.role, m.decay]:
            segments.append([m.role, m.decay, position, position])
        m.start = position
        position += -(-m.param.numel() // unit) * unit
        segments[-1][3] = position
    flat = torch.zeros(position, dtype=first.dtype, device=first.device)
    grad = torch.zeros_like(flat)
    for m in members:
        m.view, m.grad = window(flat, m), window(grad, m)
        m.view.copy_(m.param.detach())
        m.param.data = m.view
        m.param.grad = m.grad
    return Block(flat, grad, members, [(r, d, a, b) for r, d, a, b in segments])


def window(flat: Tensor, m: Member) -> Tensor:
    """The view of one parameter with its author's strides. `.data` gives it a version counter of its own (see `gather`)."""
    p = m.param
    dense = p.numel() == 0 or torch.ops.aten.is_non_overlapping_and_dense(p.detach())
    strides = p.stride() if dense else torch.empty(p.shape, device="meta").stride()
    return flat.as_strided(p.shape, strides, m.start).data
