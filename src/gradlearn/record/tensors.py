"""Tensors to bytes and back, in the safetensors format: 8 bytes length N, N bytes JSON header, the numbers row by row.

The same tensors give the same bytes. The format notices no flipped bit of its data: who stores it adds a hash. Our own
reader, because every claim of the header is checked before memory is taken: https://github.com/huggingface/safetensors.
Little-endian machines only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gradlearn.errors import InputTrouble, printable
from gradlearn.record import strict
from gradlearn.record.strict import Malformed

if TYPE_CHECKING:
    from torch import Tensor

HEADER = 1 << 20  # bytes
COUNT = 100_000  # tensors
NAME = 256  # characters
_BLOCK = 1 << 20  # tensors smaller than this share a write

_KINDS = {  # name in the file: (torch's name, bytes of a number)
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "U16": ("uint16", 2),
    "I16": ("int16", 2),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "U32": ("uint32", 4),
    "I32": ("int32", 4),
    "F32": ("float32", 4),
    "U64": ("uint64", 8),
    "I64": ("int64", 8),
    "F64": ("float64", 8),
    "C64": ("complex64", 8),
}
_NAMES = {torchs: name for name, (torchs, _) in _KINDS.items()}


class Packed:
    """Tensors about to be written: `size` bytes, handed out by `chunks()` as often as wanted."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Names: 1 to 256 printable characters. Raises InputTrouble for what the format cannot hold."""
        kinds = {name: _kind(name, tensor) for name, tensor in tensors.items()}
        self.order = sorted(tensors, key=lambda name: (-_KINDS[kinds[name]][1], name))
        self.tensors = tensors
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        start = 0
        for name in self.order:
            end = start + tensors[name].numel() * _KINDS[kinds[name]][1]
            header[name] = {"dtype": kinds[name], "shape": list(tensors[name].shape), "data_offsets": [start, end]}
            start = end
        text = json.dumps(header, separators=(",", ":")).encode("ascii")
        text += b" " * (-len(text) % 8)
        if len(text) > HEADER or len(tensors) > COUNT:
            what = f"names and shapes take {len(text)} bytes, at most {HEADER}"
            raise InputTrouble(f"{len(tensors)} tensors: {what}; use shorter names or fewer tensors")
        self.head = len(text).to_bytes(8, "little") + text
        self.size = len(self.head) + start

    def chunks(self) -> Iterator[bytes | bytearray | memoryview]:
        """The bytes, small tensors gathered."""
        block = bytearray(self.head)
        for name in self.order:
            data = _bytes(self.tensors[name])
            if len(data) >= _BLOCK:
                yield block
                yield data
                block = bytearray()
            else:
                block += data
                if len(block) >= _BLOCK:
                    yield block
                    block = bytearray()
        yield block


def unpack(data: bytearray) -> dict[str, Tensor]:
    """The tensors in the bytes of a file, each with storage of its own. Raises Malformed."""
    import torch

    entries, start = gate(data)
    raw = torch.frombuffer(data, dtype=torch.uint8)[start:]
    tensors = {}
    for name, kind, shape, begin, end in entries:
        piece = raw[begin:end].clone()
        if kind == "BOOL" and piece.numel() and int(piece.max()) > 1:
            raise Malformed(f"tensor '{name}' has bytes that are neither true nor false; damaged")
        tensors[name] = piece.view(getattr(torch, _KINDS[kind][0])).reshape(shape)
    return tensors


def gate(data: bytearray) -> tuple[list[tuple[str, str, list[int], int, int]], int]:
    """Check every claim of the header before believing any: [(name, dtype, shape, begin, end)], where data begin."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8 or data[8:9] != b"{":
        raise Malformed(_foreign(data, size))
    if size > HEADER:
        raise Malformed(f"header of {size} bytes exceeds {HEADER}; damaged or hostile")
    header = strict.parse(data[8 : 8 + size], nodes=8 * COUNT)
    note = header.pop("__metadata__", {})
    if type(note) is not dict or not all(type(value) is str for value in note.values()):
        raise Malformed("header has metadata that is not text; damaged or hostile")
    if len(header) > COUNT:
        raise Malformed(f"{len(header)} tensors exceed {COUNT}; damaged or hostile")
    entries = sorted((_entry(name, item) for name, item in header.items()), key=lambda entry: entry[3:])
    reach = 0
    for name, _, _, begin, end in entries:
        if begin != reach:
            raise Malformed(f"tensor '{name}' begins at byte {begin}, not {reach}; damaged or hostile")
        reach = end
    if len(data) != 8 + size + reach:
        raise Malformed(f"{len(data)} bytes, header declares {8 + size + reach}; truncated or damaged")
    return entries, 8 + size


def infinities(tensors: Mapping[str, Tensor]) -> set[str]:
    """Names of the tensors that hold an infinity, as a causal mask does on purpose."""
    return {name for name, tensor in tensors.items() if _worst(tensor) == "an infinity"}


def fault(tensors: Mapping[str, Tensor], infinite: Callable[[str], bool]) -> str:
    """What is not finite and ought to be: "'bn.mean' holds NaN", or "". `infinite` names the tensors that may be so."""
    for name, tensor in tensors.items():
        worst = _worst(tensor)
        if worst == "NaN" or (worst and not infinite(name)):
            return f"'{name}' holds {worst}"
    return ""


def _worst(tensor: Tensor) -> str:
    import torch

    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if not tensor.is_floating_point() or not tensor.numel():
        return ""
    low, high = torch.aminmax(tensor.detach().float() if tensor.element_size() == 1 else tensor.detach())
    spread = float(low) - float(high)
    if spread - spread == 0.0:
        return ""
    return "NaN" if math.isnan(low) else "an infinity" if math.isinf(low) or math.isinf(high) else ""


def _kind(name: str, tensor: Tensor) -> str:
    import torch

    if type(name) is not str or not 0 < len(name) <= NAME or not name.isprintable() or name == "__metadata__":
        raise InputTrouble(f"tensor '{printable(name)}': cannot be a name; use 1 to {NAME} printable characters")
    if tensor.layout != torch.strided or tensor.is_meta:
        raise InputTrouble(f"tensor '{name}': is sparse or has no numbers; only dense tensors can be stored")
    kind = str(tensor.dtype).removeprefix("torch.")
    if kind not in _NAMES:
        raise InputTrouble(f"tensor '{name}': {kind} cannot be stored; use one of {', '.join(_NAMES)}")
    return _NAMES[kind]


def _bytes(tensor: Tensor) -> memoryview:
    import torch

    flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def _entry(name: str, item: Any) -> tuple[str, str, list[int], int, int]:
    if not 0 < len(name) <= NAME or not name.isprintable():
        raise Malformed("header has a tensor name of control characters or none; damaged or hostile")
    if type(item) is not dict or set(item) != {"dtype", "shape", "data_offsets"}:
        raise Malformed(f"tensor '{name}' is not described by dtype, shape and data_offsets; damaged or hostile")
    kind, shape, place = item["dtype"], item["shape"], item["data_offsets"]
    if type(kind) is not str or kind not in _KINDS:
        raise Malformed(f"tensor '{name}' has an unknown dtype; damaged or hostile")
    lists = type(shape) is list and type(place) is list and len(place) == 2 and len(shape) <= 64
    if not lists or not all(type(n) is int and 0 <= n < 1 << 62 for n in shape + place):
        raise Malformed(f"tensor '{name}' has a shape or place that is none; damaged or hostile")
    if math.prod(shape) * _KINDS[kind][1] != place[1] - place[0]:
        raise Malformed(f"tensor '{name}' has {place[1] - place[0]} bytes, which is not its shape; damaged or hostile")
    return name, kind, shape, place[0], place[1]


def _foreign(data: bytearray, size: int) -> str:
    if data[:4] == b"PK\x03\x04":
        return "pickle-based weights are not loaded; convert them to safetensors in the program that made them"
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "starts like a pickle, not safetensors; refused"
    if len(data) < 8:
        return f"{len(data)} bytes are too few for a header; truncated"
    if size > len(data) - 8:
        return f"header declares {size} bytes, file has {len(data)}; damaged or hostile"
    return "has no header of safetensors; damaged or another format"
