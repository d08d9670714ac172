"""What a minimisation found, in words: the account of a `Result` in one paragraph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlearn.report.words import count, listing, number, percent, plural

if TYPE_CHECKING:
    from gradlearn.descend import Result


def story(result: Result) -> str:
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
        parts.append(f"Two calls with one argument give two values; the value is a mean, its standard error {number(result.noise)}.")
    if result.shares:
        order = sorted(result.shares.items(), key=lambda item: -item[1])
        parts.append("The search was divided by evidence: " + listing(f"{name} {percent(share, 0)}" for name, share in order) + ".")
        last = result.found[-1]
        parts.append(f"The last improvement came after {count(last.evaluations)} evaluations ({last.seconds:.2g} s).")
    if result.certificate is not None:
        parts.append(result.certificate.explain())
    return " ".join(parts)
