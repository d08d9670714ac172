"""What a person types, as values: sizes, shares, times, and the options of plug-ins. Each refuses in one line what it cannot be."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradlearn import find
from gradlearn.errors import InputTrouble, nearest


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} must be a finite number above 0")
    return value


def amount(text: str) -> float:
    """A finite number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text} must be a finite number of at least 0")
    return value


def whole(text: str) -> int:
    """A whole number above 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number above 0")
    return value


def share(text: str) -> float:
    """1% or 0.01."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; give such as 1% or 0.01") from None


def share_or_path(text: str) -> float | Path:
    """A number is a share, anything else a path."""
    try:
        return share(text)
    except argparse.ArgumentTypeError:
        return Path(text)


def bytes_of(text: str) -> int:
    """500MB, 2GB, 1000000."""
    for unit, size in (("KB", 10**3), ("MB", 10**6), ("GB", 10**9), ("TB", 10**12), ("B", 1), ("", 1)):
        if text.upper().endswith(unit):
            try:
                value = float(text[: len(text) - len(unit)]) * size
            except ValueError:
                break
            if value >= 1:
                return int(value)
            break
    raise argparse.ArgumentTypeError(f"{text!r} is no size; give such as 500MB")


def batch(text: str) -> int | str:
    """A number, full, or auto."""
    if text in ("full", "auto"):
        return text
    try:
        return whole(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of examples, full or auto") from None


def dynamic_or_whole(text: str) -> int | None:
    """None for `dynamic`, else a whole number above 0."""
    return None if text == "dynamic" else whole(text)


def yes_or_no(text: str) -> bool:
    """yes, no, true, false."""
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r}: expected yes or no")
    return known[text.lower()]


def separated(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What argparse knows, and the options of plug-ins with their values: argparse would take such a value for a path."""
    plain: list[str] = []
    plugged: list[str] = []
    items = iter(arguments)
    for item in items:
        name, equals, _ = item.partition("=")
        if not (item.startswith("--") and "." in name):
            plain.append(item)
            continue
        plugged.append(item)
        if not equals:
            plugged += [value for value in (next(items, None),) if value is not None]
    return plain, plugged


def plugin_options(rest: Sequence[str], known: Sequence[str] = ()) -> dict[str, Any]:
    """--adamw.weight_decay 0.1 --ema.decay=0.99 as {"adamw.weight_decay": 0.1, ...}; checked against the plan later."""
    options: dict[str, Any] = {}
    items = iter(rest)
    for item in items:
        if not item.startswith("--"):
            raise InputTrouble(f"unexpected argument {item!r}; see: gradlearn train --help")
        name, equals, text = item[2:].partition("=")
        if "." not in name:
            raise InputTrouble(f"unknown option --{name}{nearest('--' + name, known) if known else ''}")
        value = text if equals else next(items, None)
        if value is None:
            raise InputTrouble(f"--{name}: expected a value")
        options[name.replace("-", "_")] = typed(name.replace("-", "_"), value)
    return options


def typed(name: str, text: str) -> Any:
    """The value of a plug-in's option, in the type of its default."""
    plugin, _, option = name.partition(".")
    default = next(
        (
            o.default
            for kind in find.KINDS
            if plugin in find.names(kind)
            for o in find.describe(kind, plugin).options
            if o.name == option
        ),
        None,
    )
    try:
        if isinstance(default, bool):
            return yes_or_no(text)
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            value = float(text)
            if not math.isfinite(value):
                raise ValueError
            return value
        if isinstance(default, tuple):
            return [float(part) for part in text.strip("()[]").split(",")]
    except (ValueError, argparse.ArgumentTypeError):
        raise InputTrouble(f"--{name} {text}: expected a value like {default!r}") from None
    return text
