"""JSON without surprises: what is written can be read again, and what is read has one meaning.

Python's own reader accepts NaN, 1e999, a key twice and any depth; this one refuses them (RFC 8259 leaves them open).
Floats are written by repr, so they come back bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from gradlearn.errors import CheckpointTrouble, Trouble, printable
from gradlearn.record import disk

DEPTH = 32
NODES = 100_000
_SEAL = "sha256_of_rest"
LIMIT = 4 << 20  # bytes of a JSON or TOML file


class Malformed(ValueError):
    """Bytes that are not what they should be; the text says how, for the middle of an error line."""


def parse(text: bytes | bytearray | str, *, depth: int = DEPTH, nodes: int = NODES) -> Any:
    """The value of a JSON text. Raises Malformed."""
    try:
        if not isinstance(text, str):
            text = text.decode("utf-8")
        value = _READER.decode(text)
    except Malformed:
        raise
    except RecursionError:
        raise Malformed(f"not valid JSON (deeper than {depth})") from None
    except json.JSONDecodeError as error:
        what = f"{error.msg} at line {error.lineno} column {error.colno}"
        raise Malformed(f"not valid JSON ({printable(what)})") from None
    except UnicodeDecodeError as error:
        raise Malformed(f"not valid JSON (byte {error.start} is not UTF-8)") from None
    except ValueError as error:  # an integer of thousands of digits
        raise Malformed(f"not valid JSON ({printable(error)})") from None
    if text.count("[") + text.count("{") > depth or len(text) > nodes:
        measure(value, depth, nodes)
    return value


def read(path: Path, *, limit: int = LIMIT, nodes: int = NODES, trouble: type[Trouble] = CheckpointTrouble) -> Any:
    """The value of a JSON file. Raises `trouble` with one line; FileNotFoundError where there is no such file."""
    try:
        return parse(disk.read(path, limit), nodes=nodes)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise trouble(f"{path}: cannot be read ({disk.why(error)}); restore a copy") from None
    except Malformed as error:
        raise trouble(f"{path}: {error}; restore a copy") from None


def measure(value: Any, depth: int = DEPTH, nodes: int = NODES) -> None:
    """Raise Malformed if a parsed value is nested too deep or has too many parts."""
    level, count = [value], 0
    for _ in range(depth + 1):
        count += len(level)
        if count > nodes:
            raise Malformed(f"more than {nodes} values")
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise Malformed(f"not valid JSON (deeper than {depth})")


def document(value: Any, *, indent: int | None = None) -> bytes:
    """The one text of a value, keys sorted. Raises ValueError, TypeError for non-finite and for what JSON has not."""
    _exact(value, "value")
    text = json.dumps(value, sort_keys=True, allow_nan=False, indent=indent) + "\n"
    if len(text) > LIMIT:
        raise ValueError(f"{len(text)} bytes of JSON exceed {LIMIT}")
    parse(text)
    return text.encode("ascii")


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """The value with the SHA-256 of its own text in it. This rule holds for every format, present and future."""
    if _SEAL in value:
        raise ValueError(f"key {_SEAL!r} is written by us")
    return value | {_SEAL: hashlib.sha256(document(value)).hexdigest()}


def intact(value: Any, text: bytes | bytearray) -> bool:
    """Whether a parsed text is a sealed document to the last byte: any bit flipped, even of a space, is seen."""
    if type(value) is not dict or type(value.get("format")) is not int:
        return False
    try:
        return document(value, indent=1) == text and sealed(opened(value)) == value
    except ValueError:
        return False


def opened(value: dict[str, Any]) -> dict[str, Any]:
    """A sealed value without its seal."""
    return {key: item for key, item in value.items() if key != _SEAL}


def text(value: Any) -> bytes:
    """A JSON text for people and programs, in the order of its keys: non-finite numbers as null, arrays as lists."""
    return (json.dumps(plain(value), allow_nan=False, separators=(",", ":")) + "\n").encode("ascii")


def line(row: Mapping[str, Any]) -> str:
    """A row of a log, in the order of its keys: non-finite numbers as null, arrays as lists."""
    try:
        text = _LINE.encode(row)
    except (TypeError, ValueError):
        text = _LINE.encode(plain(row))
    if len(text) > 1 << 16 or text.count("[") + text.count("{") > DEPTH:
        parse(text)  # never write what cannot be read
    return text + "\n"


def plain(value: Any, depth: int = DEPTH) -> Any:
    """The value in the types that JSON has: numpy and tensors as numbers and lists, non-finite numbers as None."""
    if depth < 0:
        raise ValueError(f"nested deeper than {DEPTH}")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth - 1) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist(), depth - 1)
    raise TypeError(f"a {type(value).__name__} has no place in a log")


def _exact(value: Any, where: str, depth: int = DEPTH) -> None:
    if depth < 0:
        raise ValueError(f"{where}: nested deeper than {DEPTH}")
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{where}: key {key!r} is not a string")
            _exact(item, f"{where}.{key}", depth - 1)
    elif type(value) in (list, tuple):
        for i, item in enumerate(value):
            _exact(item, f"{where}[{i}]", depth - 1)
    elif type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"{where}: {value} is not finite")
    elif value is not None and type(value) not in (bool, int, str):
        raise TypeError(f"{where}: a {type(value).__name__} cannot be stored exactly")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        for key, _ in pairs:
            if found.pop(key, pairs) is pairs:
                raise Malformed(f"not valid JSON (duplicate key '{printable(key)}')")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Malformed(f"not valid JSON (number {printable(text, 40)} is too large)")
    return value


def _refuse(text: str) -> NoReturn:
    raise Malformed(f"not valid JSON ({text} is not a number)")


_READER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)
_LINE = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
