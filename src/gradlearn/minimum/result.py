"""What came of a minimisation: the frozen `Result` with SciPy's names, and its account in one paragraph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gradlearn.minimum.function import Found
from gradlearn.report.words import count, listing, number, percent, plural


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What came of a minimisation. The first six names are SciPy's.

    Attributes:
        x: the best point, in the structure of the start; a module is the module itself, its parameters set.
        fun: its value; of a noisy function the mean of repeated values.
        nfev: evaluations of the function; those of the certificate are counted there.
        njev: how many of them came with a gradient.
        success: whether x is a minimum as far as can be seen: by the certificate, or, without one, since nothing lower was found.
        message: how it ended, in a line.
        certificate: gradient norm, smallest and largest curvature, verdict; None where the function is noisy or cannot be judged.
        noise: standard error of `fun`; 0 for a deterministic function.
        seconds: of the whole call.
        how: what was found out about the function, and what was done: {"gradient": "autograd", "rows": "vmap", ...}.
        shares: part of the search that each strategy had; empty for a descent.
        found: every improvement: evaluations, seconds, value.
        path: the points that belong to `found`, (m, n), kept up to two dimensions.
    """

    x: Any
    fun: float
    nfev: int
    njev: int
    success: bool
    message: str
    certificate: Any = None
    noise: float = 0.0
    seconds: float = 0.0
    how: dict[str, str] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    found: tuple[Found, ...] = ()
    path: Tensor | None = None

    def explain(self) -> str:
        """The account in one paragraph."""
        return _story(self)


def _story(result: Result) -> str:
    """The account in one paragraph."""
    how = result.how
    first = result.found[0].value if result.found else result.fun
    parts = [f"The value fell from {number(first, 4)} to {number(result.fun, 6)}"]
    parts[0] += f" in {plural(result.nfev, 'evaluation')} and {result.seconds:.2g} s ({result.message})."
    ways = {"autograd": "Gradients are exact (autograd)", "SPSA": "Gradients are estimated from pairs of noisy values"}
    rows = how.get("rows", "one by one")
    parts.append(
        f"{ways.get(how.get('gradient', ''), 'No gradient is known: central differences take its place')}; points are evaluated "
        + ("one by one." if rows == "one by one" else f"many at once ({rows}), checked against single calls.")
    )
    if result.noise:
        parts.append(
            f"Two calls with one argument give two values; the value is a mean, its standard error {number(result.noise)}."
        )
    if result.shares:
        order = sorted(result.shares.items(), key=lambda item: -item[1])
        parts.append("The search was divided by evidence: " + listing(f"{name} {percent(share, 0)}" for name, share in order) + ".")
        last = result.found[-1]
        parts.append(f"The last improvement came after {count(last.evaluations)} evaluations ({last.seconds:.2g} s).")
    if result.certificate is not None:
        parts.append(result.certificate.explain())
    return " ".join(parts)
