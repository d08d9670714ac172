"""Any callable and any start as a counted function of one float64 vector: values and gradients, of one point or of rows of them.

    value(x)                x (n,)   -> f
    value_and_gradient(x)   x (n,)   -> f, g (n,)
    values(X)               X (k, n) -> (k,)
    values_and_gradients(X) X (k, n) -> (k,), (k, n)

How f wants to be called is found out by `callables.py`. Every evaluation is counted, every improvement is kept with its time, and
when time or evaluations are spent `Spent` is raised from within: whoever searches needs no check of its own. A value that is not a
number counts as infinite. Where f has no gradient, g comes from central differences, 2 n evaluations.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

clock = time.perf_counter  # seconds; whatever is timed here is timed by it
REACH = 6.0e-6  # of a central difference, relative: the cube root of the rounding error of a double


class Spent(Exception):
    """Time, evaluations or target are used up; raised from within an evaluation."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Found(NamedTuple):
    """An improvement: after how many evaluations and seconds, and the value."""

    evaluations: int
    seconds: float
    value: float


class Calls(NamedTuple):
    """How one function is called: see `callables.py`."""

    value: Callable[[Tensor], float]  # (n,)
    gradient: Callable[[Tensor], tuple[float, Tensor]] | None  # None: a black box
    rows: Callable[[Tensor], Tensor] | None = None  # (k, n) -> (k,), differentiable where `gradient` is there; None: one by one


class Function:
    """f as a function of a vector, counted.

    Args:
        calls: how f is called.
        start: (n,) float64.
        low: (n,) lower bounds, -inf where there is none; f is asked for nothing below.
        high: (n,) upper bounds, inf where there is none.
        begun: clock() at which the counting of seconds began.

    Attributes:
        nfev: evaluations of f; a value with its gradient is one.
        njev: of these, how many came with a gradient.
        best: (n,) the best point so far, and `least`, its value.
        found: every improvement.
        path: the points that belong to `found`, kept up to two dimensions.
        deadline, max_evals, target: the limits; None or infinity where there is none.
    """

    def __init__(self, calls: Calls, start: Tensor, low: Tensor, high: Tensor, begun: float) -> None:
        self.calls, self.n, self.start, self.low, self.high, self.begun = calls, start.shape[0], start, low, high, begun
        self.bounded = bool((torch.isfinite(low) | torch.isfinite(high)).any())
        self.nfev = self.njev = 0
        self.best, self.least = start.clone(), math.inf
        self.found: list[Found] = []
        self.path: list[Tensor] = []
        self.deadline, self.max_evals, self.target = math.inf, 1 << 62, -math.inf

    @property
    def batched(self) -> bool:
        """Whether rows are evaluated in one call."""
        return self.calls.rows is not None

    @property
    def differentiable(self) -> bool:
        """Whether gradients are exact."""
        return self.calls.gradient is not None

    def value(self, x: Tensor) -> float:
        """f at one point."""
        self._afford(1)
        value = _number(self.calls.value(x))
        self._seen(x, value, 1)
        return value

    def value_and_gradient(self, x: Tensor) -> tuple[float, Tensor]:
        """f and its gradient (n,) at one point."""
        if self.calls.gradient is None:
            return self.value(x), self._difference(x)
        self._afford(1)
        value, g = self.calls.gradient(x)
        value = _number(value)
        self.njev += 1
        self._seen(x, value, 1)
        return value, g

    def values(self, rows: Tensor) -> Tensor:
        """f at each row of (k, n): (k,)."""
        if self.calls.rows is None:
            return torch.tensor([self.value(x) for x in rows], dtype=torch.float64)
        left = self._afford(rows.shape[0])
        with torch.no_grad():
            values = _numbers(self.calls.rows(rows[:left]))
        self._seen_rows(rows, values)
        if left < rows.shape[0]:
            raise Spent("evaluations")
        return values

    def values_and_gradients(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """f and its gradients at each row of (k, n): (k,) and (k, n)."""
        if self.calls.gradient is None:
            return self.values(rows), torch.stack([self._difference(x) for x in rows])
        if self.calls.rows is None:
            pairs = [self.value_and_gradient(x) for x in rows]
            return torch.tensor([v for v, _ in pairs], dtype=torch.float64), torch.stack([g for _, g in pairs])
        left = self._afford(rows.shape[0])
        x = rows[:left].detach().requires_grad_()
        with torch.enable_grad():
            raw = self.calls.rows(x)
            (g,) = torch.autograd.grad(raw.sum(), x)
        values = _numbers(raw.detach())
        self.njev += left
        self._seen_rows(rows, values)
        if left < rows.shape[0]:
            raise Spent("evaluations")
        return values, g

    def _difference(self, x: Tensor) -> Tensor:
        """Central differences, one-sided at a bound: (n,)."""
        h = REACH * x.abs().clamp_min(1.0)
        ahead, behind = torch.minimum(x + h, self.high), torch.maximum(x - h, self.low)
        rows = x.repeat(2 * self.n, 1)
        index = torch.arange(self.n)
        rows[index, index], rows[self.n + index, index] = ahead, behind
        values = self.values(rows)
        return (values[: self.n] - values[self.n :]) / (ahead - behind)

    def _afford(self, wanted: int) -> int:
        """How many of the evaluations wanted are left. Raises Spent where none is."""
        if clock() >= self.deadline:
            raise Spent("time")
        if self.nfev >= self.max_evals:
            raise Spent("evaluations")
        return min(wanted, self.max_evals - self.nfev)

    def _seen(self, x: Tensor, value: float, count: int) -> None:
        self.nfev += count
        if value < self.least:
            self.least, self.best = value, x.detach().clone()
            self.found.append(Found(self.nfev, clock() - self.begun, value))
            if self.n <= 2:
                self.path.append(self.best)
            if value <= self.target:
                raise Spent("target")

    def _seen_rows(self, rows: Tensor, values: Tensor) -> None:
        index = int(values.argmin())
        self._seen(rows[index], float(values[index]), values.shape[0])


def _number(value: float) -> float:
    return math.inf if value != value else value


def _numbers(values: Tensor) -> Tensor:
    values = values if values.dtype is torch.float64 else values.double()
    return torch.nan_to_num(values, nan=math.inf, posinf=math.inf, neginf=-math.inf)
