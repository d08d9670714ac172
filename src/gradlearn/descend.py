"""Front door 2: a function and where to start. `minimize` finds a minimum near, or with bounds or a budget the best one anywhere.

    result = gradlearn.minimize(lambda x: ((x - 3) ** 2).sum(), torch.zeros(5))
    result.x, result.fun, result.certificate, result.explain()

    smooth, deterministic -> BFGS with strong Wolfe steps, then: is this really a minimum? A saddle is left by its way down
    bounds or a budget    -> search: many strategies, the budget divided by evidence (`share.py`)
    noisy                 -> averaged steps (`noisy.py`)
    no gradient           -> the same with central differences

The names of the result are SciPy's. A module is changed in place, and only if it is called without error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.find import find
from gradlearn.minimum import function as counting
from gradlearn.minimum import noisy, quasinewton
from gradlearn.minimum.bounds import read_bounds
from gradlearn.minimum.callables import PLAIN, Prepared
from gradlearn.minimum.function import Found, Function, Spent
from gradlearn.minimum.result import Result
from gradlearn.minimum.share import Search, box_points
from gradlearn.minimum.strategies import check, strategies
from gradlearn.minimum.terrain import Terrain
from gradlearn.minimum.verdict import certificate_of
from gradlearn.plan import seconds_of

SECONDS = 2.0  # of a search with bounds and no budget
NOISY = 4000  # evaluations of a noisy descent without a budget
ESCAPES = 10  # saddles left in one descent
LEFT = 0.06  # share of the time that is kept for the last descent and the certificate
WHY = {
    "gradient": "the gradient is within tol of zero",
    "rounding": "no lower value in the function's precision",
    "steps": "the steps are used up",
    "unbounded": "the value falls without end",
    "time": "the time is used up",
    "evaluations": "the evaluations are used up",
    "target": "the target is reached",
}


def minimize(
    function: Callable[..., Any],
    start: Any,
    bounds: Any = None,
    time: float | str | None = None,
    max_evals: int | None = None,
    tol: float | None = None,
    seed: int = 0,
    *,
    target: float | None = None,
    search: str | Sequence[str] = "auto",
    **options: Any,
) -> Result:
    """A minimum of any function: the nearest one, or with `bounds`, `time` or `max_evals` the best that the budget finds.

    Args:
        function: start -> one number, a float or a one-entry tensor. For a module: function(module) or function().
        start: a number, tensor or array; a list, tuple or dict of them, nested (a list of numbers is one vector); or a module.
        bounds: (low, high) for all coordinates; one such pair for each; or two arrays of the start's shape. None and inf: no bound.
        time: seconds, or "2s", "5m", counted from this call: search goes on until then.
        max_evals: evaluations at most; the search is then the same on every machine.
        tol: largest entry of the gradient at which a descent has arrived, relative to max(1, |f|). Default 1e-9.
        seed: of everything that is drawn.
        target: a value at which to stop.
        search: "auto" (search where bounds or a budget are given), "none" (one descent), or names of strategies.
        options: of strategies, dots as double underscores: hopping__walkers=64.

    Returns:
        A frozen Result: `.x`, `.fun`, `.nfev`, `.success`, `.message`, `.certificate`, `.explain()`.

    Raises:
        InputTrouble: something that cannot be used; a module then is as it was.
    """
    begun = counting.clock()
    chosen = strategies(search, options)
    seconds = None if time is None else seconds_of(time)
    check(max_evals, tol, target, seed)
    prepared = Prepared(function, start)
    module = prepared.structure.module
    try:
        low, high = read_bounds(bounds, prepared.structure, prepared.flat)
        f = Function(prepared.calls, prepared.flat, low, high, begun)
        _limit(f, None, max_evals, target)
        _first_look(prepared, f, seed)
        budget = seconds is not None or max_evals is not None
        wide = search != "none" and (budget or f.bounded or search != "auto")
        if wide and not budget:
            seconds = SECONDS
        if wide and seconds is not None:
            import torch.fx.experimental.symbolic_shapes  # noqa: F401  # the certificate's first product imports it: a second, kept here
        _limit(f, seconds, max_evals, target)
        run = _Run(prepared, f, tol or 1e-9, seed, seconds, max_evals)
        return run.search(chosen) if wide else run.descend()
    except BaseException:
        if module is not None:
            prepared.structure.put(prepared.flat)
        raise


def _limit(f: Function, seconds: float | None, max_evals: int | None, target: float | None) -> None:
    if seconds is not None:
        f.deadline = f.begun + seconds * (1.0 - LEFT)
    if max_evals is not None:
        f.max_evals = max_evals
    if target is not None:
        f.target = target


def _first_look(prepared: Prepared, f: Function, seed: int) -> None:
    """Value and gradient at the start are finite, and f depends on its argument; a gradient that is none is put aside."""
    value, g = prepared.value, prepared.gradient
    if not math.isfinite(value):
        raise InputTrouble(f"function: {value} at the start; start where it is finite")
    if g is not None and not bool(torch.isfinite(g).all()):
        raise InputTrouble("function: its gradient at the start is not finite; start elsewhere")
    f.nfev, f.njev = 1, int(g is not None)
    f.least, f.best = value, prepared.flat.clone()
    f.found.append(Found(1, counting.clock() - f.begun, value))
    f.path.append(f.best) if f.n <= 2 else None
    if (g is not None and bool((g != 0.0).any())) or f.max_evals < 20:
        return
    far = torch.minimum(torch.maximum(prepared.flat + 1.0, f.low), f.high)
    rows = torch.cat([box_points(f, 4, seed), far[None]])
    values = [prepared.calls.value(x) for x in rows]
    f.nfev += len(values)
    if all(v == value for v in values):
        raise InputTrouble("function: ignores its argument: one value wherever it was called; return what depends on it")
    if g is not None and prepared.calls.gradient is not None:
        slopes = [prepared.calls.gradient(x)[1] for x in rows]
        f.nfev, f.njev = f.nfev + len(slopes), f.njev + len(slopes)
        if not any(bool((s != 0.0).any()) for s in slopes):  # steps: flat wherever one stands, but not the same everywhere
            prepared.without_gradient()
            f.calls = prepared.calls


class _Run:
    """One call of `minimize`, everything found out."""

    def __init__(
        self, prepared: Prepared, f: Function, tol: float, seed: int, seconds: float | None, max_evals: int | None
    ) -> None:
        self.prepared, self.f, self.tol, self.seed = prepared, f, tol, seed
        self.seconds, self.max_evals = seconds, max_evals
        self.shares: dict[str, float] = {}
        self.plan = ""

    def descend(self) -> Result:
        """The nearest minimum: down, certified, and on from every saddle."""
        self.plan = "one descent"
        if self.prepared.doubtful and self.prepared.gradient is not None:
            self._slope(self.f.start, self.prepared.value, self.prepared.gradient)
        why, escapes, certificate = self._down(self.f.best, self._known()), 0, None
        if self._is_noisy():
            return self.noisy()
        while why != "unbounded":
            certificate = certificate_of(self.prepared, self.f, self.f.best, self.seed)
            if certificate is None or certificate.direction is None or escapes == ESCAPES:
                break
            escapes += 1
            before = self.f.least
            x = self.f.best + certificate.distance * certificate.direction
            why = self._down(torch.minimum(torch.maximum(x, self.f.low), self.f.high))
            if not self.f.least < before - 1e-12 * abs(before):
                break
        said = WHY.get(why, why)
        if escapes and why != "unbounded":
            said += f"; {escapes} saddle{'s' if escapes > 1 else ''} left on the way"
        return self._result(said, certificate, why)

    def _is_noisy(self) -> bool:
        """Whether f answers differently each time; a smooth descent, which it would have led astray, is then forgotten."""
        f = self.f
        if f.nfev >= f.max_evals:
            return False
        f.nfev += 1
        if self.prepared.look_for_noise():
            f.best, f.least = f.start.clone(), math.inf
        return self.prepared.noisy

    def _known(self) -> tuple[float, Tensor] | None:
        """Value and gradient at the start, which have been evaluated."""
        g = self.prepared.gradient
        return None if g is None or not self.f.differentiable else (self.prepared.value, g)

    def _down(self, x: Tensor, known: tuple[float, Tensor] | None = None) -> str:
        """One descent; a gradient that turns out not to be the slope is replaced by differences."""
        f = self.f
        try:
            local = quasinewton.descend(f, x, self.tol, known=known)
            if f.differentiable and local.why != "unbounded" and not self._slope(local.x, local.f, local.g):
                local = quasinewton.descend(f, f.best, self.tol)
            return "rounding" if local.why == "stuck" else local.why
        except Spent as spent:
            return spent.why

    def _slope(self, x: Tensor, value: float, g: Tensor) -> bool:
        """Whether the gradient is the slope; where it is not, f is a black box from now on."""
        f = self.f
        if f.nfev + 2 > f.max_evals:
            return True
        f.nfev += 2
        agrees = self.prepared.slope_agrees(x, value, g, f.low, f.high)
        if not agrees:
            self.prepared.without_gradient()
            f.calls = self.prepared.calls
        return agrees

    def search(self, chosen: dict[str, dict[str, Any]]) -> Result:
        """The best minimum that the budget finds."""
        f, why = self.f, "nothing left to try"
        self.plan = "search"
        if self._is_noisy():
            return self.noisy()
        try:
            if self.prepared.gradient is not None and f.differentiable:
                self._slope(f.start, self.prepared.value, self.prepared.gradient)
            if self.max_evals is None or self.max_evals >= 200:
                f.nfev += self.prepared.find_rows(lambda k: box_points(f, k, self.seed))
            f.calls = self.prepared.calls
            team = {name: find("search", name)(**options) for name, options in chosen.items()}
            f.max_evals -= 1
            work = Search(Terrain(f, self.seed), team, by_evaluations=self.seconds is None, known=self._known())
            try:
                work.run()
            finally:
                self.shares = work.shares()
        except Spent as spent:
            why = spent.why
        if self.prepared.rows:
            self._confirm()
        f.deadline = math.inf if self.seconds is None else f.begun + self.seconds * (1.0 - 0.5 * LEFT)
        if why != "target" and f.nfev < f.max_evals:
            self._down(f.best)
        certificate = certificate_of(self.prepared, f, f.best, self.seed)
        return self._result(WHY.get(why, why), certificate, why)

    def _confirm(self) -> None:
        """The best value again by a single call; where rows gave another one, that one counts."""
        value = self.prepared.calls.value(self.f.best)
        self.f.nfev, self.f.max_evals = self.f.nfev + 1, self.f.max_evals + 1  # one was kept for this
        if abs(value - self.f.least) > 1e-9 * max(abs(value), 1.0):
            self.f.found.append(Found(self.f.nfev, counting.clock() - self.f.begun, value))
        self.f.least = value

    def noisy(self) -> Result:
        """The best mean."""
        f = self.f
        self.plan = "averaged steps"
        terrain = Terrain(f, self.seed)
        scale = torch.where(terrain.closed, terrain.width / 4.0, f.start.abs().clamp_min(1.0))
        evaluations = self.max_evals or (1 << 30 if self.seconds is not None else NOISY)
        if self.seconds is not None:
            evaluations = max(min(evaluations, int((f.deadline - counting.clock()) / noisy.pace(f))), 64)
        mean = noisy.descend(f, self.seed, evaluations, scale)
        f.best, f.least = mean.x, mean.f
        return self._result(
            "the function is noisy: the mean of the last steps, judged by repeated values", None, "noise", mean.error
        )

    def _result(self, said: str, certificate: Any, why: str, noise: float = 0.0) -> Result:
        f, structure = self.f, self.prepared.structure
        verdict = "" if certificate is None else certificate.verdict
        if verdict:
            said += f"; certificate: {verdict}"
        judged = verdict == "minimum" or (not verdict and why in ("gradient", "rounding", "noise", "time", "evaluations"))
        if structure.module is not None:
            structure.put(f.best)
        return Result(
            x=structure.result(f.best.clone(), PLAIN.get(self.prepared.how, PLAIN["given"])),
            fun=f.least,
            nfev=f.nfev,
            njev=f.njev,
            success=bool(judged or why == "target"),
            message=said,
            certificate=certificate,
            noise=noise,
            seconds=counting.clock() - f.begun,
            how={
                "plan": self.plan,
                "gradient": "autograd" if f.differentiable else "central differences" if not self.prepared.noisy else "SPSA",
                "rows": self.prepared.rows or "one by one",
                "precision": self.prepared.how,
                "noise": "yes" if self.prepared.noisy else "none seen",
                "bounds": "yes" if f.bounded else "none",
            },
            shares=self.shares,
            found=tuple(f.found),
            path=torch.stack(f.path) if f.path else None,
        )
