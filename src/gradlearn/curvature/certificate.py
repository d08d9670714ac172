"""Is this really a minimum? What gradient, curvature and values around a point say of it.

    H v = lambda v at both ends;   lambda_min < 0 and f(x + t v) < f(x): proved;   else every flat direction is walked

A dense Hessian up to `dense` coordinates, Lanczos beyond. A claim that the point is no minimum rests on values of the function
that anybody can compute again; that it is one is evidence, as strong as the residuals and the probes (Jin et al., "How to escape
saddle points efficiently", ICML 2017, for why random directions find the way down where curvature says nothing).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradlearn.curvature.derivatives import ByValues, Function, Hessian, derivatives_of
from gradlearn.curvature.lanczos import lanczos
from gradlearn.curvature.surroundings import Surroundings
from gradlearn.errors import InputTrouble

VERDICTS = ("minimum", "saddle", "plateau", "not converged", "unbounded")


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """What is known of a point.

    Attributes:
        verdict: minimum, saddle, plateau, not converged or unbounded.
        loss: f(x).
        gradient: ||grad f(x)||_2.
        smallest: smallest eigenvalue of the Hessian found, the Rayleigh quotient v'Hv of its vector; nan where none was computed.
        smallest_residual: ||H v - smallest v||: an eigenvalue lies within so much.
        largest: likewise the largest.
        largest_residual: likewise.
        flat: directions without curvature, of a valley or of a higher order; -1 where the whole spectrum is not known.
        direction: (n,) unit vector along which f falls, None where none is known.
        distance: how far along it f was seen lowest, 0 without.
        drop: f(x) - f(x + distance * direction), 0 without.
        gain: what a Newton step is expected to gain still.
        scale: how much f changes around x: what gain is measured against.
        products: Hessian-vector products computed.
        evaluations: values of f computed beside them.
        way: how the curvature was found.
        note: what a layer refused and what was done instead, "" where nothing was.
    """

    verdict: str
    loss: float
    gradient: float
    smallest: float = float("nan")
    smallest_residual: float = float("nan")
    largest: float = float("nan")
    largest_residual: float = float("nan")
    flat: int = -1
    direction: Tensor | None = None
    distance: float = 0.0
    drop: float = 0.0
    gain: float = 0.0
    scale: float = 0.0
    products: int = 0
    evaluations: int = 0
    way: str = ""
    note: str = ""
    why: str = ""

    def explain(self) -> str:
        """A sentence or two for a person."""
        ends = ""
        if self.smallest == self.smallest:
            ends = (
                f" Curvature {self.smallest:.3g} (residual {self.smallest_residual:.0e}) to {self.largest:.3g}"
                f" (residual {self.largest_residual:.0e}), by {self.way}, {self.products:,} products."
            )
        return f"{self.verdict.capitalize()}: {self.why} (f = {self.loss:.6g}, gradient {self.gradient:.2g}).{ends}"


@dataclass(frozen=True, slots=True)
class _Spectrum:
    values: Tensor  # (k,) rising
    vectors: Tensor  # (k, n)
    residuals: Tensor  # (k,)
    whole: bool
    way: str


def certify(
    function: Function,
    x: Tensor,
    *,
    tol: float = 1e-5,
    seed: int = 0,
    dense: int = 2048,
    products: int = 300,
    probes: int = 24,
    double: bool = True,
) -> Certificate:
    """What kind of point x is.

    Args:
        function: x (n,) -> one number, deterministic; differentiable by autograd where it is smooth.
        x: the point, (n,).
        tol: stationary where the expected gain of a Newton step is at most tol^2 of how much f changes around x.
        seed: of the random directions.
        dense: up to so many coordinates the whole Hessian is computed.
        products: Hessian-vector products at most, beyond `dense`.
        probes: random directions walked.
        double: computes in float64 if the function lets it.

    Raises:
        InputTrouble: x is no vector, the function gives no number that depends on it, or NaN at x.
    """
    function, x = _as_double(function, x) if double else (function, x.detach())
    around = Surroundings(function, x, seed=seed, probes=probes)
    if around.value != around.value:
        raise InputTrouble("function: its value at x is not a number; start where it is finite")
    if around.value == -float("inf"):
        return Certificate("unbounded", around.value, float("nan"), why="the value is minus infinity")
    hessian = derivatives_of(function, x)
    around.gradient_at = hessian.gradient_at
    grad = float(torch.linalg.vector_norm(hessian.grad))
    about = Certificate("not converged", around.value, grad, scale=around.spread, note=hessian.note)
    if not around.value < float("inf") or grad != grad:
        return _without_derivatives(around, about)
    try:
        spectrum = _spectrum(hessian, dense, products, seed)
    except ArithmeticError:
        return _without_derivatives(around, about)
    about = replace(
        about,
        smallest=float(spectrum.values[0]),
        smallest_residual=float(spectrum.residuals[0]),
        largest=float(spectrum.values[-1]),
        largest_residual=float(spectrum.residuals[-1]),
        gain=_gain(spectrum, hessian.grad, around.radius),
        way=spectrum.way,
        products=hessian.products,
    )
    small = tol * tol * around.spread + around.noise + 1e-20
    if about.gain > small:
        done = _moving(around, hessian, spectrum, about, small, tol)
    else:
        done = _still(*_polished(around, hessian, spectrum), spectrum, about, small)
    return replace(done, evaluations=around.evaluations, products=hessian.products)


def _polished(around: Surroundings, hessian: Hessian | ByValues, spectrum: _Spectrum) -> tuple[Surroundings, float]:
    """Around x, and what is left of the gradient: after a (tiny) Newton step in the steep directions."""
    g = hessian.grad
    norm = float(torch.linalg.vector_norm(g))
    steep = spectrum.values > 1e-3 * spectrum.values.abs().max()
    part = (spectrum.vectors[steep] @ g) / spectrum.values[steep]
    there = around.x - part @ spectrum.vectors[steep]
    left = float(torch.linalg.vector_norm(around.gradient_at(there))) if bool(steep.any()) else norm
    if not left < 0.5 * norm or around(there) > around.value + around.noise:
        return around, norm
    moved = Surroundings(around.function, there, seed=around.seed, probes=around.probes)
    moved.gradient_at, moved.evaluations = around.gradient_at, moved.evaluations + around.evaluations
    around.evaluations = moved.evaluations
    return moved, left


def _still(around: Surroundings, gradient: float, spectrum: _Spectrum, about: Certificate, small: float) -> Certificate:
    """The verdict where the gradient is small: a way down by curvature, or by values along flat directions, or none."""
    most, left = float(spectrum.values.abs().max()), 10 * gradient / around.radius
    none = max(1e-9 * most, left, about.smallest_residual, 10 * small / around.radius**2)  # no curvature
    weak = max(none, 1e-5 * around.spread / around.radius**2)  # none to rely on: these directions are walked
    least, v = about.smallest, spectrum.vectors[0]
    if least < -(1e-11 * most + about.smallest_residual + left):
        down = around.falls(v, gradient, curvature=least, least=small)
        if down is not None:
            return _saddle(about, *down, f"the curvature along one direction is {least:.3g}, and f falls along it")
    null = spectrum.vectors[spectrum.values <= weak]
    about = replace(about, flat=int((spectrum.values.abs() <= none).sum()) if spectrum.whole else -1)
    if spectrum.whole and len(null) == 0:
        return replace(about, verdict="minimum", why="the gradient vanishes and every curvature is positive")
    walked = around.walk(null if len(null) else spectrum.vectors[:4], gradient, small, _inverse(spectrum, weak))
    if walked.down is not None:
        return _saddle(about, *walked.down, "no curvature tells, but f falls along a direction where it is of higher order")
    if walked.shelf is not None:
        direction, distance, drop = walked.shelf
        why = f"nothing changes nearby, but {distance:.3g} away along one direction f has fallen by {drop:.3g}"
        return replace(about, verdict="plateau", direction=direction, distance=distance, drop=drop, why=why)
    if about.largest <= weak and not walked.rises:
        return replace(about, verdict="plateau", why="neither gradient, curvature nor values change nearby in any direction")
    where = f", without curvature in {about.flat} of {len(v)} directions" if about.flat > 0 else ""
    if not spectrum.whole:
        where = ", as far as Lanczos and the probes see"
    return replace(about, verdict="minimum", why=f"the gradient vanishes and f falls nowhere nearby{where}")


def _moving(
    around: Surroundings, hessian: Hessian | ByValues, spectrum: _Spectrum, about: Certificate, small: float, tol: float
) -> Certificate:
    """The gradient is not small: unbounded, a kink, or not converged."""
    g = hessian.grad / about.gradient
    if (down := around.bottomless(-g)) is not None:
        why = f"f keeps falling along the gradient, to {about.loss - down[1]:.3g} at a distance of {down[0]:.0e}"
        return replace(about, verdict="unbounded", direction=-g, distance=down[0], drop=down[1], why=why)
    newton = -_inverse(spectrum, 1e-12 * float(spectrum.values.abs().max()))(hessian.grad)
    best = max((around.best(d) for d in (-g, newton)), key=lambda found: found[2])
    if best[2] <= max(small, min(1e-3 * about.gain, tol * around.spread)) and best[1] <= 10 * tol * around.radius:
        kink = around.kink(hessian.grad, max(small, 4 * best[2]))  # a kink: next to none of what the gradient promises is there
        if kink is None:
            return replace(about, verdict="minimum", flat=0, why="f has a kink here and rises in every direction that was tried")
        best = max(best, kink, key=lambda found: found[2])
    why = f"f still falls: by {best[2]:.3g} within {best[1]:.3g} along a direction"
    return replace(about, direction=best[0], distance=best[1], drop=best[2], why=why)


def _without_derivatives(around: Surroundings, about: Certificate) -> Certificate:
    """Where f is infinite, or its gradient not a number: values only."""
    if about.loss == float("inf"):
        return replace(about, why="the value is infinite here")
    down = around.kink(None, around.noise)
    if down is None:
        return replace(about, verdict="minimum", why="f has no gradient here and rises in every direction that was tried")
    return replace(about, direction=down[0], distance=down[1], drop=down[2], why="f has no gradient here, and falls nearby")


def _saddle(about: Certificate, direction: Tensor, distance: float, drop: float, why: str) -> Certificate:
    top = "; it is a maximum" if about.largest < 0 else ""
    return replace(about, verdict="saddle", direction=direction, distance=distance, drop=drop, why=why + top)


def _as_double(function: Function, x: Tensor) -> tuple[Function, Tensor]:
    """x in float64 if the function takes it and answers in it."""
    if not x.is_floating_point() or x.dtype == torch.float64:
        return function, x.detach()
    try:
        with torch.no_grad():
            wide = function(x.detach().double())
    except (RuntimeError, TypeError, ValueError):
        return function, x.detach()
    took = isinstance(wide, Tensor) and wide.dtype == torch.float64
    return function, x.detach().double() if took else x.detach()


def _spectrum(hessian: Hessian | ByValues, dense: int, products: int, seed: int) -> _Spectrum:
    n = len(hessian.x)
    if n <= dense:
        H = hessian.dense()
        if not bool(torch.isfinite(H).all()):
            raise ArithmeticError("the curvature is infinite or not a number")
        values, columns = torch.linalg.eigh(H)
        vectors = columns.T.contiguous()
        ends = vectors[[0, -1]]
        Hv = torch.stack([hessian(v) for v in ends]) if isinstance(hessian, Hessian) else ends @ H
        quotient = (ends * Hv).sum(1)  # the explicit Rayleigh quotient
        values[0], values[-1] = quotient[0], quotient[-1]
        residuals = values.new_zeros(n)
        residuals[[0, -1]] = torch.linalg.vector_norm(Hv - quotient[:, None] * ends, dim=1)
        if isinstance(hessian, ByValues):
            residuals[[0, -1]] += n * hessian.doubt() + 1e-6 * values.abs().max()
        return _Spectrum(values, vectors, residuals, True, f"dense Hessian, {hessian.way}")
    found = lanczos(hessian, torch.zeros_like(hessian.x), products=products, seed=seed)
    values, residuals = found.values.clone(), found.residuals.to(found.values)
    for end in (0, -1):
        v = found.vectors[end]
        Hv = hessian(v)
        values[end] = v @ Hv / (v @ v)
        residuals[end] = torch.linalg.vector_norm(Hv - values[end] * v)
    return _Spectrum(values, found.vectors, residuals, False, f"Lanczos, {hessian.way}")


def _gain(spectrum: _Spectrum, grad: Tensor, radius: float) -> float:
    """What one Newton step would gain, each direction by its own curvature and within the radius; what no vector holds, flatly."""
    part = (spectrum.vectors @ grad).abs().double()
    newton = part.square() / (2 * spectrum.values.abs().double()).clamp_min(1e-300)
    gain = float(torch.minimum(newton, part * radius).sum())
    rest = grad.double() - (spectrum.vectors.double().T @ (spectrum.vectors.double() @ grad.double()))
    if not spectrum.whole:
        size, middle = float(torch.linalg.vector_norm(rest)), float(spectrum.values.abs().median())
        gain += min(size * size / (2 * middle) if middle > 0 else float("inf"), size * radius)
    return gain


def _inverse(spectrum: _Spectrum, floor: float) -> Callable[[Tensor], Tensor]:
    """g -> (|H| + floor)^-1 g; outside of the known vectors the middle curvature stands for all."""
    values = spectrum.values.abs() + max(floor, 1e-300)

    def solve(g: Tensor, more: float = 0.0) -> Tensor:
        part = spectrum.vectors @ g
        inside = (part / (values + more)) @ spectrum.vectors
        if spectrum.whole:
            return inside
        return inside + (g - part @ spectrum.vectors) / (values.median() + more)

    return solve
