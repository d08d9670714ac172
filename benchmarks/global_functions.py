"""Six functions with many valleys, shifted and rotated by a seed: in numpy, value and gradient, for points and rows; and in torch.

    f(x) = base(R (x - o) * s),   f(o) = 0

`o`, `R` and the start are drawn from the seed. The numpy ones are written for speed, by hand; the torch ones as a user would.
Schwefel's minimum lies near a corner, as in the original; beyond its box the function goes on with its value at the edge, plus the
square of the distance. Imports no torch before it is asked for: the peers' environment has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

PI = math.pi
TOP = 420.96874635998202731  # where z sin(sqrt(z)) is largest in [-500, 500]
HIGH = TOP * math.sin(math.sqrt(TOP))
NAMES = ("rastrigin", "ackley", "rosenbrock", "griewank", "schwefel", "levy")
SIDES = {"rastrigin": 5.12, "ackley": 32.768, "rosenbrock": 5.0, "griewank": 600.0, "schwefel": 500.0, "levy": 10.0}


def rastrigin(z: Any) -> tuple[Any, Any]:
    """Value and gradient, over the last axis."""
    a = 2.0 * PI * z
    return 10.0 * z.shape[-1] + (z * z - 10.0 * np.cos(a)).sum(-1), lambda: 2.0 * z + 20.0 * PI * np.sin(a)


def ackley(z: Any) -> tuple[Any, Any]:
    """Value and gradient, over the last axis."""
    n, a = z.shape[-1], 2.0 * PI * z
    r = np.sqrt((z * z).sum(-1) / n)
    e, c = 20.0 * np.exp(-0.2 * r), np.exp(np.cos(a).sum(-1) / n)
    value = 20.0 + math.e - e - c
    return value, lambda: 0.2 * e / (n * max(r, 1e-300)) * z + (c * 2.0 * PI / n) * np.sin(a)


def rosenbrock(z: Any) -> tuple[Any, Any]:
    """Value and gradient, over the last axis; z = 0 is the minimum."""
    y = z + 1.0
    d, e = y[..., 1:] - y[..., :-1] ** 2, y[..., :-1] - 1.0

    def gradient() -> Any:
        g = np.zeros_like(y)
        g[..., :-1] = 2.0 * e - 400.0 * y[..., :-1] * d
        g[..., 1:] += 200.0 * d
        return g

    return (100.0 * d * d + e * e).sum(-1), gradient


def griewank(z: Any) -> tuple[Any, Any]:
    """Value and gradient, over the last axis."""
    s = np.sqrt(np.arange(1, z.shape[-1] + 1))
    c = np.cos(z / s)
    p = c.prod(-1)

    def gradient() -> Any:
        n = z.shape[-1]
        others = np.array([np.prod(np.delete(c, i)) for i in range(n)]) if (c == 0.0).any() else p / c
        return z / 2000.0 + others * np.sin(z / s) / s

    return (z * z).sum(-1) / 4000.0 - p + 1.0, gradient


def schwefel(z: Any) -> tuple[Any, Any]:
    """Value and gradient, over the last axis; z = 0 is the minimum."""
    y = z + TOP
    c = np.clip(y, -500.0, 500.0)
    r = np.sqrt(np.abs(c))

    def gradient() -> Any:
        return np.where(np.abs(y) <= 500.0, -np.sin(r) - 0.5 * r * np.cos(r), 2.0 * (y - c))

    return HIGH * z.shape[-1] - (c * np.sin(r)).sum(-1) + ((y - c) ** 2).sum(-1), gradient


def levy(z: Any) -> tuple[Any, Any]:
    """Value and gradient, over the last axis; z = 0 is the minimum."""
    w = 1.0 + z / 4.0
    u, v = w[..., :-1], w[..., -1]
    s, t = np.sin(PI * u + 1.0), np.sin(2.0 * PI * v)

    def gradient() -> Any:
        g = np.empty_like(w)
        g[..., :-1] = 2.0 * (u - 1.0) * (1.0 + 10.0 * s * s) + (u - 1.0) ** 2 * 20.0 * PI * s * np.cos(PI * u + 1.0)
        g[..., -1] = 2.0 * (v - 1.0) * (1.0 + t * t) + (v - 1.0) ** 2 * 4.0 * PI * t * np.cos(2.0 * PI * v)
        g[..., 0] += PI * np.sin(2.0 * PI * w[..., 0])
        return g / 4.0

    value = np.sin(PI * w[..., 0]) ** 2 + ((u - 1.0) ** 2 * (1.0 + 10.0 * s * s)).sum(-1) + (v - 1.0) ** 2 * (1.0 + t * t)
    return value, gradient


BASES: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "rastrigin": rastrigin,
    "ackley": ackley,
    "rosenbrock": rosenbrock,
    "griewank": griewank,
    "schwefel": schwefel,
    "levy": levy,
}


class Problem(NamedTuple):
    """One row of the table with one seed."""

    name: str
    n: int
    rotated: bool
    seed: int
    side: float  # the box is [-side, side]^n
    start: Any  # (n,)
    shift: Any  # (n,): the minimum
    signs: Any  # (n,)
    rotation: Any  # (n, n) or None

    def inner(self, x: Any) -> Any:
        """z of a point (n,) or of rows (k, n)."""
        z = (x - self.shift) * self.signs
        return z if self.rotation is None else z @ self.rotation.T

    def value(self, x: Any) -> Any:
        """f of a point (n,), or of rows (k, n)."""
        return BASES[self.name](self.inner(x))[0]

    def value_and_gradient(self, x: Any) -> tuple[float, Any]:
        """f and its gradient at a point."""
        value, gradient = BASES[self.name](self.inner(x))
        g = gradient()
        return value, (g if self.rotation is None else g @ self.rotation) * self.signs

    def torch(self) -> Callable[[Any], Any]:
        """The same function, for us."""
        return in_torch(self)


def problem(name: str, n: int, rotated: bool, seed: int) -> Problem:
    """Shift, rotation and start of one seed."""
    draw = np.random.default_rng([seed, n, int(rotated), NAMES.index(name)])
    side = SIDES[name]
    signs = np.ones(n)
    if name == "schwefel":
        signs = draw.choice([-1.0, 1.0], n)
        shift = signs * draw.uniform(300.0, 450.0, n)
    else:
        shift = draw.uniform(-0.7 * side, 0.7 * side, n)
    rotation = None
    if rotated:
        q, r = np.linalg.qr(draw.standard_normal((n, n)))
        rotation = q * np.sign(np.diag(r))
    return Problem(name, n, rotated, seed, side, draw.uniform(-side, side, n), shift, signs, rotation)


def in_torch(p: Problem) -> Callable[[Any], Any]:
    """f for tensors, of one point or of rows."""
    import torch

    shift, signs = torch.from_numpy(p.shift), torch.from_numpy(p.signs)
    rotation = None if p.rotation is None else torch.from_numpy(p.rotation.T.copy())
    root = torch.arange(1, p.n + 1, dtype=torch.float64).sqrt()

    def base(z: Any) -> Any:
        if p.name == "rastrigin":
            return 10 * p.n + (z * z - 10 * torch.cos(2 * PI * z)).sum(-1)
        if p.name == "ackley":
            return 20 + math.e - 20 * torch.exp(-0.2 * (z * z).mean(-1).sqrt()) - torch.exp(torch.cos(2 * PI * z).mean(-1))
        if p.name == "rosenbrock":
            y = z + 1
            return (100 * (y[..., 1:] - y[..., :-1] ** 2) ** 2 + (y[..., :-1] - 1) ** 2).sum(-1)
        if p.name == "griewank":
            return (z * z).sum(-1) / 4000 - torch.cos(z / root).prod(-1) + 1
        if p.name == "schwefel":
            y = z + TOP
            c = y.clamp(-500, 500)
            return HIGH * p.n - (c * torch.sin(c.abs().sqrt())).sum(-1) + ((y - c) ** 2).sum(-1)
        w = 1 + z / 4
        u, v = w[..., :-1], w[..., -1]
        inner = ((u - 1) ** 2 * (1 + 10 * torch.sin(PI * u + 1) ** 2)).sum(-1)
        return torch.sin(PI * w[..., 0]) ** 2 + inner + (v - 1) ** 2 * (1 + torch.sin(2 * PI * v) ** 2)

    def f(x: Any) -> Any:
        z = (x - shift) * signs
        return base(z if rotation is None else z @ rotation)

    return f
