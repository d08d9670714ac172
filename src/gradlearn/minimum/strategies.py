"""The arguments of `minimize` that are names and numbers: which strategies, with which options, and how much of what.

search="hopping", hopping__walkers=64    ->    {"hopping": {"walkers": 64}}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradlearn.errors import InputTrouble, nearest
from gradlearn.find import describe, names
from gradlearn.plan import is_number

ORDER = ("axes", "cma", "differential", "restarts", "smoothing", "hopping")  # who goes first; others follow by name


def strategies(search: str | Sequence[str], options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{name: its options}, in the order in which they go. Raises InputTrouble for names and options that are not there."""
    known = names("search")
    wanted = list(ORDER) + [n for n in known if n not in ORDER] if search in ("auto", "none") else search
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    chosen: dict[str, dict[str, Any]] = {}
    for name in wanted:
        if name not in known:
            raise InputTrouble(f"search: no strategy {name!r}{nearest(name, [*known, 'auto', 'none'])}")
        chosen[name] = {}
    arguments = ["bounds", "time", "max_evals", "tol", "seed", "target", "search"]
    for key, value in options.items():
        name, dot, option = key.partition("__")
        if not dot or name not in known:
            raise InputTrouble(f"minimize: unknown argument {key!r}{nearest(key, arguments)}")
        if name not in chosen:
            raise InputTrouble(f"minimize: {key}={value!r}, but this search has no {name!r}; add it to search=")
        possible = [o.name for o in describe("search", name).options]
        if option not in possible:
            raise InputTrouble(f"minimize: {name} has no option {option!r}{nearest(option, possible)}")
        chosen[name][option] = value
    return chosen


def check(max_evals: Any, tol: Any, target: Any, seed: Any) -> None:
    """Numbers where numbers belong. Raises InputTrouble."""
    whole = isinstance(max_evals, int) and not isinstance(max_evals, bool)
    if max_evals is not None and not (whole and max_evals >= 1):
        raise InputTrouble(f"max_evals: expected a whole number above 0, {max_evals!r} came; give such as 10000")
    if tol is not None and not (is_number(tol) and tol > 0):
        raise InputTrouble(f"tol: expected a number above 0, {tol!r} came; give such as 1e-9")
    if target is not None and not is_number(target):
        raise InputTrouble(f"target: expected a number, {target!r} came; give the value at which to stop")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise InputTrouble(f"seed: expected a whole number, {seed!r} came; give such as 0")
