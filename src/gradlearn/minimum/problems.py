"""Functions with names, to try `minimize` on: `gradlearn minimize rastrigin --dim 10`. Each takes a vector, or rows (k, n).

    f(x), x in [low, high]^n,   f(lowest) = least

The classic ones, in their usual boxes; Jamil, Yang, "A literature survey of benchmark functions for global optimization
problems", Int. J. Math. Model. Numer. Optim. 4, 2013, has them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble, nearest

PI = math.pi


class Named(NamedTuple):
    """A function, its box, and its known minimum.

    Attributes:
        value: (n,) -> 0-d, or (k, n) -> (k,).
        low, high: the usual box.
        least: the lowest value; None where it depends on n in no simple way.
        lowest: the coordinate, equal in all dimensions, or the coordinates, where it is; None where it is not that simple.
        dims: fixed number of dimensions, 0 for any.
    """

    value: Callable[[Tensor], Tensor]
    low: float
    high: float
    least: float | None = 0.0
    lowest: float | tuple[float, ...] | None = 0.0
    dims: int = 0


def ackley(x: Tensor) -> Tensor:
    """A plain of ripples with one deep hole."""
    hole = 20.0 * torch.exp(-0.2 * x.square().mean(-1).sqrt())
    return 20.0 + math.e - hole - torch.exp(torch.cos(2 * PI * x).mean(-1))


def alpine(x: Tensor) -> Tensor:
    """Kinks at every valley."""
    return (x * torch.sin(x) + 0.1 * x).abs().sum(-1)


def beale(x: Tensor) -> Tensor:
    """A narrow curved valley with steep walls."""
    a, b = x[..., 0], x[..., 1]
    return (1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2


def griewank(x: Tensor) -> Tensor:
    """A wide bowl covered with small ripples."""
    root = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device).sqrt()
    return x.square().sum(-1) / 4000 - torch.cos(x / root).prod(-1) + 1


def himmelblau(x: Tensor) -> Tensor:
    """Four valleys of equal depth."""
    a, b = x[..., 0], x[..., 1]
    return (a**2 + b - 11) ** 2 + (a + b**2 - 7) ** 2


def levy(x: Tensor) -> Tensor:
    """Ripples on a bowl, in bands."""
    w = 1 + (x - 1) / 4
    u, v = w[..., :-1], w[..., -1]
    middle = ((u - 1) ** 2 * (1 + 10 * torch.sin(PI * u + 1) ** 2)).sum(-1)
    return torch.sin(PI * w[..., 0]) ** 2 + middle + (v - 1) ** 2 * (1 + torch.sin(2 * PI * v) ** 2)


def michalewicz(x: Tensor) -> Tensor:
    """Steep ridges that cross on plateaus."""
    i = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    return -(torch.sin(x) * torch.sin(i * x**2 / PI) ** 20).sum(-1)


def rastrigin(x: Tensor) -> Tensor:
    """A bowl with a regular grid of valleys."""
    return 10 * x.shape[-1] + (x * x - 10 * torch.cos(2 * PI * x)).sum(-1)


def rosenbrock(x: Tensor) -> Tensor:
    """A long bent valley."""
    return (100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2).sum(-1)


def salomon(x: Tensor) -> Tensor:
    """Rings around the minimum."""
    r = x.square().sum(-1).clamp_min(1e-300).sqrt()
    return 1 - torch.cos(2 * PI * r) + 0.1 * r


def schwefel(x: Tensor) -> Tensor:
    """The lowest valley is in a corner, far from the next."""
    return 418.98288727243378 * x.shape[-1] - (x * torch.sin(x.abs().clamp_min(1e-300).sqrt())).sum(-1)


def sphere(x: Tensor) -> Tensor:
    """A bowl."""
    return x.square().sum(-1)


def styblinski_tang(x: Tensor) -> Tensor:
    """Two valleys in each coordinate."""
    return 0.5 * (x**4 - 16 * x**2 + 5 * x).sum(-1)


def zakharov(x: Tensor) -> Tensor:
    """A plate that is bent up."""
    i = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    s = (0.5 * i * x).sum(-1)
    return x.square().sum(-1) + s**2 + s**4


PROBLEMS: dict[str, Named] = {
    "ackley": Named(ackley, -32.768, 32.768),
    "alpine": Named(alpine, -10.0, 10.0),
    "beale": Named(beale, -4.5, 4.5, 0.0, (3.0, 0.5), 2),
    "griewank": Named(griewank, -600.0, 600.0),
    "himmelblau": Named(himmelblau, -5.0, 5.0, 0.0, (3.0, 2.0), 2),
    "levy": Named(levy, -10.0, 10.0, 0.0, 1.0),
    "michalewicz": Named(michalewicz, 0.0, PI, None, None),
    "rastrigin": Named(rastrigin, -5.12, 5.12),
    "rosenbrock": Named(rosenbrock, -5.0, 10.0, 0.0, 1.0),
    "salomon": Named(salomon, -100.0, 100.0),
    "schwefel": Named(schwefel, -500.0, 500.0, 0.0, 420.968746227503),
    "sphere": Named(sphere, -5.12, 5.12),
    "styblinski_tang": Named(styblinski_tang, -5.0, 5.0, None, -2.903534027771177),
    "zakharov": Named(zakharov, -5.0, 10.0),
}


def named(name: str, dim: int | None = None) -> tuple[Named, int]:
    """The function of this name and its number of dimensions. Raises InputTrouble for a name or dimension that is not there."""
    if name not in PROBLEMS:
        raise InputTrouble(f"minimize: no function {name!r}{nearest(name, PROBLEMS)} (or give module:function)")
    found = PROBLEMS[name]
    if found.dims and dim not in (None, found.dims):
        raise InputTrouble(f"--dim {dim}: {name} has {found.dims} dimensions; leave --dim out")
    n = found.dims or (2 if dim is None else dim)
    if n < (2 if name in ("rosenbrock", "levy") else 1):
        raise InputTrouble(f"--dim {n}: too few for {name}; give 2 or more")
    return found, n
