"""How a function wants to be called, found out by calling it: in double precision or not, with tensors or arrays, in rows or not.

    calls, flat = prepare(f, start)          the first call that works wins; its gradient is autograd's where there is one
    calls = with_rows(calls, ...)            rows are used only where two sizes of them give what single calls give

A value that went through `float()`, `.item()` or numpy on its way has no gradient, or worse, a part of one: torch warns of
some, `slope_agrees` finds the others. What cannot be shown to be safe is not used: one call for each point is always right.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.errors import InputTrouble, printable
from gradlearn.minimum.function import Calls
from gradlearn.minimum.structure import Make, Structure, as_array, as_float64, as_given

PLAIN: dict[str, Make] = {"double": as_float64, "given": as_given, "array": as_array}
SAME = 1e-9  # relative difference up to which two ways of computing a value are the same


class Prepared:
    """A function and how it is called.

    Attributes:
        structure: of the start.
        how: "double", "given", "array" or "module".
        calls: value, gradient and (after `find_rows`) rows.
        rows: "rows", "columns", "vmap" or "" where points go one by one.
        doubtful: whether torch warned that a part of the value was taken out of the graph: its gradient may be none of the whole.
        noisy: whether two calls with one argument gave two values.
    """

    def __init__(self, f: Callable[..., Any], start: Any) -> None:
        if not callable(f):
            raise InputTrouble(f"function: expected something to call, {type(f).__name__} came; give a function of the start")
        self.f, self.structure = f, Structure(start)
        self.flat = self.structure.flat()
        if not bool(torch.isfinite(self.flat).all()):
            raise InputTrouble("start: not finite; give finite numbers")
        self.rows, self.noisy, self.doubtful = "", False, False
        self.how, self.calls, self.value, self.gradient = self._first()

    def look_for_noise(self) -> bool:
        """Whether a second call with the start gives another value: one evaluation."""
        self.noisy = self.calls.value(self.flat) != self.value
        return self.noisy

    def _first(self) -> tuple[str, Calls, float, Tensor | None]:
        """The first way of calling that gives a number; one with a gradient goes before one without."""
        plain: tuple[str, Calls, float, Tensor | None] | None = None
        trouble: Exception | None = None
        for how in self._ways():
            try:
                calls = self._calls(how)
                value, g = self._try(calls)
            except InputTrouble:
                raise
            except Exception as error:
                trouble = trouble or error
                continue
            if g is not None:
                return how, calls, value, g
            if plain is None or how == "array":
                plain = (how, Calls(calls.value, None), value, None)
        if plain is None:
            assert trouble is not None
            said = printable(str(trouble).strip().split("\n")[0], 160)
            raise InputTrouble(f"function: {type(trouble).__name__} at the start ({said}); it must take what start is") from trouble
        return plain

    def _ways(self) -> list[str]:
        if self.structure.module is not None:
            return ["module"]
        if self.structure.has_arrays:
            return ["array", "double"]
        narrow = any(leaf.dtype is not torch.float64 for leaf in self.structure.leaves)
        return ["double", *(["given"] if narrow else []), "array"]

    def _try(self, calls: Calls) -> tuple[float, Tensor | None]:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            value, g = math.nan, None
            if calls.gradient is not None:
                try:
                    value, g = calls.gradient(self.flat)
                except _NoGradient:
                    g = None
            if g is None:
                value = calls.value(self.flat)
        self.doubtful = any("requires_grad" in str(w.message) for w in said)
        return value, g

    def _calls(self, how: str) -> Calls:
        if how == "module":
            return Calls(*_module_calls(self.f, self.structure))
        make, build, f = PLAIN[how], self.structure.build, self.f

        def value(x: Tensor) -> float:
            with torch.no_grad():
                return number(f(build(x.clone(), make)))

        def gradient(x: Tensor) -> tuple[float, Tensor]:
            x = x.detach().clone().requires_grad_()
            with torch.enable_grad():
                result = scalar(f(build(x, make)))
                if not (isinstance(result, Tensor) and result.requires_grad):
                    raise _NoGradient
                (g,) = torch.autograd.grad(result, x, allow_unused=True)
            if g is None:
                raise _NoGradient
            return result.item(), g

        return Calls(value, None if how == "array" else gradient)

    def without_gradient(self) -> None:
        """From now on f is a black box."""
        self.calls = Calls(self.calls.value, None, self.calls.rows)

    def find_rows(self, points: Callable[[int], Tensor]) -> int:
        """Find out whether rows (k, n) may go in one call; `points(k)` draws them. Returns how many evaluations it took."""
        sizes = [3, 6] if self.structure.n not in (3, 6) else [4, 7]
        trials = [points(k) for k in sizes]
        single = [torch.tensor([self.calls.value(x) for x in rows], dtype=torch.float64) for rows in trials]
        spent = sum(sizes)
        for name, rows in self._candidates():
            spent += sum(sizes)
            if all(_agree(rows, x, v) for x, v in zip(trials, single, strict=True)):
                if self.calls.gradient is not None and not self._gradients_agree(rows, trials[0]):
                    continue
                self.rows, self.calls = name, self.calls._replace(rows=rows)
                break
        return spent

    def _candidates(self) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
        f, how = self.f, self.how
        if how == "module" or self.noisy:
            return
        make, build = PLAIN[how], self.structure.build
        if self.structure.is_vector:
            leaf = self.structure.leaves[0]
            scalar_start = not leaf.shape

            def rows(x: Tensor) -> Tensor:
                return _tensor(f(make(x[:, 0] if scalar_start else x, leaf)))

            def columns(x: Tensor) -> Tensor:
                return _tensor(f(make(x.T, leaf)))

            yield "rows", rows
            if not scalar_start:
                yield "columns", columns
        if how != "array":
            mapped = torch.func.vmap(lambda x: scalar(f(build(x, make))), randomness="error")
            yield "vmap", lambda x: mapped(x)

    def _gradients_agree(self, rows: Callable[[Tensor], Tensor], x: Tensor) -> bool:
        """Whether the gradient of the sum over rows is each row's own."""
        assert self.calls.gradient is not None
        x = x.detach().requires_grad_()
        try:
            with torch.enable_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (g,) = torch.autograd.grad(rows(x).sum(), x)
            own = torch.stack([self.calls.gradient(row)[1] for row in x.detach()[:2]])
        except Exception:  # whatever a foreign function raises: it is then not called in rows
            return False
        return torch.allclose(g[:2], own, rtol=1e-6, atol=1e-9 * float(own.abs().max() + 1e-300), equal_nan=True)

    def slope_agrees(self, x: Tensor, f: float, g: Tensor, low: Tensor, high: Tensor) -> bool:
        """Whether the gradient is the slope of f along a random direction, as far as curvature lets one see: two evaluations."""
        d = torch.from_numpy(chance.uniform(0, "slope", np.arange(x.shape[0]))) - 0.5
        h = 1e-5 * max(float(x.norm()), 1.0) / float(d.norm())
        ahead, behind = torch.clamp(x + h * d, low, high), torch.clamp(x - h * d, low, high)
        up, down = self.calls.value(ahead), self.calls.value(behind)
        seen, said, bend = up - down, float(g @ (ahead - behind)), abs(up - 2.0 * f + down)
        if not math.isfinite(bend):
            return True
        return abs(seen - said) <= 0.01 * max(abs(said), abs(seen)) + 4.0 * bend + 1e-13 * max(abs(f), 1.0)


class _NoGradient(Exception):
    """The result does not depend on the argument in a way that autograd knows."""


def scalar(result: Any) -> Any:
    """The one number of a result, a tensor still a tensor. Raises InputTrouble for anything else."""
    if isinstance(result, Tensor):
        if result.is_complex() or result.numel() != 1:
            what = "a complex number" if result.is_complex() else f"shape {tuple(result.shape)}"
            raise InputTrouble(f"function: returned {what}, expected one real number; reduce it, as with .sum()")
        return result.reshape(())
    if isinstance(result, (float, int, np.generic)) and not isinstance(result, np.complexfloating):
        return float(result)
    if isinstance(result, np.ndarray) and result.size == 1 and result.dtype.kind in "fiu":
        return float(result.reshape(()))
    what = f"shape {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
    raise InputTrouble(f"function: returned {what}, expected one real number; return a number or a 0-d tensor")


def number(result: Any) -> float:
    """The result as a float."""
    value = scalar(result)
    return value.item() if isinstance(value, Tensor) else value


def _tensor(result: Any) -> Tensor:
    return result if isinstance(result, Tensor) else torch.as_tensor(np.asarray(result))


def _agree(rows: Callable[[Tensor], Tensor], x: Tensor, single: Tensor) -> bool:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = rows(x.clone())
    except Exception:  # whatever a foreign function raises: it is then not called in rows
        return False
    if values.shape != single.shape or values.is_complex():
        return False
    return torch.allclose(values.double(), single, rtol=SAME, atol=SAME, equal_nan=True)


def _module_calls(
    f: Callable[..., Any], structure: Structure
) -> tuple[Callable[[Tensor], float], Callable[[Tensor], tuple[float, Tensor]]]:
    """f(module), or f() where it takes no argument: the parameters hold the point while it is called."""
    call = (lambda: f(structure.module)) if _takes_argument(f) else f
    params = list(structure.parameters())

    def value(x: Tensor) -> float:
        structure.put(x)
        with torch.no_grad():
            return number(call())

    def gradient(x: Tensor) -> tuple[float, Tensor]:
        structure.put(x)
        with torch.enable_grad():
            result = scalar(call())
            if not (isinstance(result, Tensor) and result.requires_grad):
                raise _NoGradient
            parts = torch.autograd.grad(result, params, allow_unused=True)
        pieces = [torch.zeros(p.numel()) if g is None else g.detach().reshape(-1).cpu() for p, g in zip(params, parts, strict=True)]
        return result.item(), torch.cat([piece.double() for piece in pieces])

    return value, gradient


def _takes_argument(f: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return True
    needed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    return bool(needed) or any(p.kind is p.VAR_POSITIONAL for p in parameters)
