"""`gradlearn minimize NAME|module:function`: a function with a name, or one of the user's own; what was found, in words or JSON.

`module:function` imports the module that the user typed, from the folder in which the command is given or from where Python
looks; it is the one place where a name is imported, since a person asked for it. `start`, `bounds` and `dim` are read from the
module where it has them: `function.bounds = (-5, 5)`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gradlearn.errors import InputTrouble, nearest, printable


class Asked(NamedTuple):
    """What shall be minimised."""

    title: str
    function: Callable[..., Any]
    n: int
    bounds: Any
    least: float | None  # the lowest value there is, where it is known


def minimize(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn minimize NAME|module:function --dim N`."""
    import torch

    from gradlearn import descend

    asked = _asked(options)
    start = _start(options, asked)
    budget = {"time": options.time, "max_evals": options.max_evals, "target": options.target, "tol": options.tol}
    search = options.search or "auto"
    wanted = search if search in ("auto", "none") else search.split(",")
    result = descend.minimize(asked.function, start, asked.bounds, seed=options.seed, search=wanted, **budget)
    picture = None
    if options.picture is not None:
        picture = _picture(options.picture, asked, result)
    if options.json:
        print(json.dumps(_document(asked, result, picture)))
        return 0
    x = torch.as_tensor(result.x).flatten()
    shown = ", ".join(f"{v:.6g}" for v in x[:10].tolist()) + (f", ... ({len(x)} numbers)" if len(x) > 10 else "")
    print(f"f({shown}) = {result.fun:.10g}")
    if asked.least is not None:
        print(f"the lowest value there is: {asked.least:.10g}")
    print(f"\n{result.explain()}")
    if picture is not None:
        print(f"\npicture {picture}")
    return 0


def _asked(options: argparse.Namespace) -> Asked:
    if ":" not in options.function:
        from gradlearn.minimum.problems import named

        found, n = named(options.function, options.dim)
        bounds = _bounds(options.bounds, n) or (found.low, found.high)
        return Asked(f"{options.function}, {n} dimensions", found.value, n, bounds, found.least)
    function = _imported(options.function)
    n = options.dim or getattr(function, "dim", None)
    if not isinstance(n, int) or n < 1:
        raise InputTrouble(f"minimize {printable(options.function)}: how many numbers does it take? give --dim N")
    return Asked(options.function, function, n, _bounds(options.bounds, n) or getattr(function, "bounds", None), None)


def _imported(where: str) -> Callable[..., Any]:
    """module:function, as typed."""
    place, _, name = where.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(place)
    except Exception as error:  # whatever a user's module raises while it is imported
        what = printable(str(error) or type(error).__name__, 160)
        raise InputTrouble(
            f"minimize {printable(where)}: cannot import {printable(place)} ({what}); give module:function"
        ) from error
    finally:
        if added:
            sys.path.remove(here)
    function = getattr(module, name, None)
    if not callable(function):
        known = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")]
        raise InputTrouble(f"minimize {printable(where)}: no function {printable(name)!r} there{nearest(name, known)}")
    return function


def _bounds(text: str | None, n: int) -> Any:
    """ "-5,5", one pair for all, or a pair for each coordinate: "-5,5;0,1". An empty side or `none` has no bound."""
    if text is None:
        return None
    try:
        pairs = [tuple(_side(part) for part in pair.split(",")) for pair in text.split(";")]
    except ValueError:
        pairs = []
    if not pairs or any(len(pair) != 2 for pair in pairs) or len(pairs) not in (1, n):
        raise InputTrouble(
            f"--bounds {printable(text)}: expected low,high or one such pair for each of {n} coordinates; give such as -5,5"
        )
    return pairs * n if len(pairs) == 1 else pairs


def _side(text: str) -> float | None:
    return None if text.strip().lower() in ("", "none") else float(text)


def _start(options: argparse.Namespace, asked: Asked) -> Any:
    """--start, or drawn from the seed within the bounds (zero, where there are none)."""
    import torch

    from gradlearn import chance
    from gradlearn.minimum.bounds import sides
    from gradlearn.minimum.structure import Structure

    n = asked.n
    if options.start is not None:
        try:
            numbers = [float(v) for v in options.start.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, n):
            raise InputTrouble(f"--start {printable(options.start)}: expected 1 or {n} numbers; give such as 0.5 or 1,2")
        return torch.tensor(numbers * n if len(numbers) == 1 else numbers, dtype=torch.float64)
    middle = torch.zeros(n, dtype=torch.float64)
    if asked.bounds is None:
        return middle
    low, high = sides(asked.bounds, Structure(middle))
    low = torch.where(torch.isfinite(low), low, high.clamp_max(0.0) - 1.0)
    high = torch.where(torch.isfinite(high), high, low.clamp_min(0.0) + 1.0)
    return low + (high - low) * torch.from_numpy(chance.uniform(options.seed, "start", torch.arange(n).numpy()))


def _picture(path: Path, asked: Asked, result: Any) -> str:
    import torch

    from gradlearn.minimum.picture import draw

    def values(rows: Any) -> Any:
        if ":" not in asked.title:
            return asked.function(rows)
        as_array = result.how["precision"] == "array"
        with torch.no_grad():
            return torch.tensor([float(asked.function(row.numpy() if as_array else row)) for row in rows], dtype=torch.float64)

    low, high = _frame(asked, result)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(draw(result, asked.title, values, low, high), encoding="utf-8")
    except OSError as error:
        raise InputTrouble(f"--picture {path}: {error.strerror}; give a file that can be written, such as path.svg") from error
    return str(path)


def _frame(asked: Asked, result: Any) -> tuple[list[float], list[float]]:
    """What a map shows: the bounds where they are finite, else the path and some room."""
    import torch

    from gradlearn.minimum.bounds import sides
    from gradlearn.minimum.structure import Structure

    if result.path is None:
        return [0.0, 0.0], [1.0, 1.0]
    least, most = result.path.min(0).values, result.path.max(0).values
    room = 0.3 * (most - least).max().clamp_min(1e-3)
    low, high = least - room, most + room
    if asked.bounds is not None:
        own_low, own_high = sides(asked.bounds, Structure(torch.zeros(asked.n)))
        low, high = torch.where(torch.isfinite(own_low), own_low, low), torch.where(torch.isfinite(own_high), own_high, high)
    return low.tolist(), torch.maximum(high, low + 1e-9).tolist()


def _document(asked: Asked, result: Any, picture: str | None) -> dict[str, Any]:
    import torch

    certificate = result.certificate
    judged = None
    if certificate is not None:
        judged = {
            "verdict": certificate.verdict,
            "gradient": certificate.gradient,
            "smallest": certificate.smallest,
            "largest": certificate.largest,
            "why": certificate.why,
        }
    return {
        "function": asked.title,
        "x": torch.as_tensor(result.x).flatten().tolist(),
        "fun": result.fun,
        "known": asked.least,
        "nfev": result.nfev,
        "njev": result.njev,
        "success": result.success,
        "message": result.message,
        "seconds": round(result.seconds, 4),
        "certificate": judged,
        "how": result.how,
        "shares": {k: round(v, 4) for k, v in result.shares.items()},
        "found": [[f.evaluations, round(f.seconds, 5), f.value] for f in result.found],
        "picture": picture,
    }
