"""The folder is the registry: a plug-in's file name is its name, its class's keyword arguments are its options.

    names("update") -> ("adamw", "nadam", "sgd");   find("update", "adamw") -> the class AdamW

Names, options and help are read from the source text without importing it, so listing them needs no torch and a plug-in whose
extra is not installed is listed like any other. Only names of files in these folders are ever imported; a name read from a file
that is not among them is an error, whatever it says.
"""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from gradlearn.errors import InputTrouble, nearest

KINDS = ("batches", "objective", "gradient", "update", "rate", "average", "watch", "remedy", "search", "tasks", "models")
_ROOT = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Option:
    """One keyword argument of a plug-in."""

    name: str
    annotation: str
    default: Any  # a plain value; None also where the default is no literal
    help: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What is known of a plug-in without importing it."""

    kind: str
    name: str
    public: str  # the class
    summary: str  # first sentence of the module's docstring
    doc: str
    options: tuple[Option, ...]


def names(kind: str) -> tuple[str, ...]:
    """The plug-ins of a folder, sorted. Raises InputTrouble for an unknown folder."""
    if kind not in KINDS:
        raise InputTrouble(f"{kind!r} is not a kind of plug-in{nearest(kind, KINDS)}")
    return tuple(sorted(p.stem for p in (_ROOT / kind).glob("*.py") if not p.stem.startswith("_")))


def find(kind: str, name: str) -> Any:
    """The public class of a plug-in, imported. Raises InputTrouble for an unknown name or a missing extra."""
    listing = describe(kind, name)
    return getattr(module(kind, name), listing.public)


def module(kind: str, name: str) -> ModuleType:
    """The file of a plug-in, imported. Raises as `find`."""
    if name not in names(kind):
        raise InputTrouble(f"{kind} has no {name!r}{nearest(name, names(kind))}")
    try:
        return importlib.import_module(f"gradlearn.{kind}.{name}")
    except ModuleNotFoundError as missing:
        if missing.name and missing.name.startswith("gradlearn"):
            raise
        raise InputTrouble(f"{kind} {name!r} needs {missing.name!r}; install it with: pip install 'gradlearn[all]'") from missing


@lru_cache(maxsize=256)
def describe(kind: str, name: str) -> Listing:
    """Name, help and options of a plug-in from its source text."""
    if name not in names(kind):
        raise InputTrouble(f"{kind} has no {name!r}{nearest(name, names(kind))}")
    tree = ast.parse((_ROOT / kind / f"{name}.py").read_text(encoding="utf-8"))
    doc = ast.get_docstring(tree) or ""
    exported = next(n for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__")
    public = ast.literal_eval(exported.value)[0]
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == public)
    init = next((n for n in body.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    helps = _argument_help((ast.get_docstring(body) or "") + "\n" + ((init and ast.get_docstring(init)) or ""))
    options = tuple(_option(a, d, helps) for a, d in _defaulted(init.args)) if init else ()
    summary = " ".join(doc.split("\n\n")[0].split())
    return Listing(kind, name, public, summary, doc, options)


def default(kind: str, name: str, option: str) -> Any:
    """The default of one option of a plug-in; None where it has no such option."""
    return next((o.default for o in describe(kind, name).options if o.name == option), None)


def wrapped(kind: str, name: str) -> tuple[str, ...]:
    """The options of a plug-in that name another one of its folder: its class attribute `wraps`."""
    return tuple(attribute(kind, name, "wraps") or ())


def is_penalty(name: str) -> bool:
    """Whether a file of `objective/` is a penalty that is added to a loss, not a loss."""
    return bool(attribute("objective", name, "penalty"))


@lru_cache(maxsize=256)
def attribute(kind: str, name: str, wanted: str) -> Any:
    """A class attribute of a plug-in that is a plain value, read from the source; None where there is none."""
    listing = describe(kind, name)
    tree = ast.parse((_ROOT / kind / f"{name}.py").read_text(encoding="utf-8"))
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == listing.public)
    found = [n.value for n in body.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == wanted]
    return ast.literal_eval(found[0]) if found else None


def _defaulted(arguments: ast.arguments) -> list[tuple[ast.arg, ast.expr | None]]:
    """Every argument that has a default, and every keyword-only one."""
    plain = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    return [
        *zip(plain, arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]


def _option(argument: ast.arg, default: ast.expr | None, helps: dict[str, str]) -> Option:
    try:
        value = ast.literal_eval(default) if default is not None else None
    except ValueError:
        value = None
    annotation = ast.unparse(argument.annotation) if argument.annotation else ""
    return Option(argument.arg, annotation, value, helps.get(argument.arg, ""))


def _argument_help(doc: str) -> dict[str, str]:
    """{argument: help} from an Args section."""
    helps: dict[str, str] = {}
    inside, current = False, ""
    for line in doc.splitlines():
        text = line.strip()
        if text == "Args:":
            inside = True
        elif inside and (not text or not line.startswith(" ")):
            inside = False
        elif inside and line.startswith("    ") and not line.startswith("     ") and ":" in text:
            current, _, rest = text.partition(":")
            helps[current] = rest.strip()
        elif inside and current:
            helps[current] += " " + text
    return helps
