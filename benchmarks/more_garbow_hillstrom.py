"""The 35 problems of More, Garbow, Hillstrom, "Testing unconstrained optimization software", TOMS 7, 1981: residuals and starts.

    f(x) = sum_i r_i(x)^2

`minima` are the values that the paper gives, all of them where it gives several; the accurate ones are computed from these by
minimize_smooth.py and must agree with them. Gulf research is written as its authors meant it (the printed formula is not). In
torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

F64 = torch.float64


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def upto(m: int) -> Tensor:
    """1 .. m."""
    return torch.arange(1, m + 1, dtype=F64)


class Problem(NamedTuple):
    """One of the 35."""

    name: str
    residuals: Callable[[Tensor], Tensor]
    start: Tensor
    minima: tuple[float, ...]


def rosenbrock(x: Tensor) -> Tensor:
    return torch.cat([10 * (x[1::2] - x[::2] ** 2), 1 - x[::2]])


def freudenstein_roth(x: Tensor) -> Tensor:
    a, b = x
    return torch.stack([-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b])


def powell_badly_scaled(x: Tensor) -> Tensor:
    return torch.stack([1e4 * x[0] * x[1] - 1, torch.exp(-x[0]) + torch.exp(-x[1]) - 1.0001])


def brown_badly_scaled(x: Tensor) -> Tensor:
    return torch.stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


def beale(x: Tensor) -> Tensor:
    return t(1.5, 2.25, 2.625) - x[0] * (1 - x[1] ** upto(3))


def jennrich_sampson(x: Tensor) -> Tensor:
    i = upto(10)
    return 2 + 2 * i - (torch.exp(i * x[0]) + torch.exp(i * x[1]))


def helical_valley(x: Tensor) -> Tensor:
    turn = torch.atan(x[1] / x[0]) / (2 * math.pi) + (0.5 if float(x[0]) < 0 else 0.0)
    return torch.stack([10 * (x[2] - 10 * turn), 10 * ((x[0] ** 2 + x[1] ** 2).sqrt() - 1), x[2]])


BARD = t(0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39)


def bard(x: Tensor) -> Tensor:
    u = upto(15)
    v = 16 - u
    return BARD - (x[0] + u / (v * x[1] + torch.minimum(u, v) * x[2]))


GAUSSIAN = t(0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989, 0.3521, 0.2420, 0.1295, 0.0540, 0.0175, 0.0044, 0.0009)


def gaussian(x: Tensor) -> Tensor:
    return x[0] * torch.exp(-x[1] * ((8 - upto(15)) / 2 - x[2]) ** 2 / 2) - GAUSSIAN


MEYER = t(34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872)


def meyer(x: Tensor) -> Tensor:
    return x[0] * torch.exp(x[1] / (45 + 5 * upto(16) + x[2])) - MEYER


def gulf(x: Tensor) -> Tensor:
    s = upto(99) / 100
    y = 25 + (-50 * torch.log(s)) ** (2 / 3)
    return torch.exp(-((y - x[1]).abs() ** x[2]) / x[0]) - s


def box(x: Tensor) -> Tensor:
    s = upto(10) / 10
    return torch.exp(-s * x[0]) - torch.exp(-s * x[1]) - x[2] * (torch.exp(-s) - torch.exp(-10 * s))


def powell_singular(x: Tensor) -> Tensor:
    a, b, c, d = x[::4], x[1::4], x[2::4], x[3::4]
    return torch.cat([a + 10 * b, math.sqrt(5) * (c - d), (b - 2 * c) ** 2, math.sqrt(10) * (a - d) ** 2])


def wood(x: Tensor) -> Tensor:
    a, b, c, d = x
    parts = [10 * (b - a**2), 1 - a, math.sqrt(90) * (d - c**2), 1 - c, math.sqrt(10) * (b + d - 2), (b - d) / math.sqrt(10)]
    return torch.stack(parts)


KOWALIK_Y = t(0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246)
KOWALIK_U = t(4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625)


def kowalik_osborne(x: Tensor) -> Tensor:
    u = KOWALIK_U
    return KOWALIK_Y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def brown_dennis(x: Tensor) -> Tensor:
    s = upto(20) / 5
    return (x[0] + s * x[1] - torch.exp(s)) ** 2 + (x[2] + x[3] * torch.sin(s) - torch.cos(s)) ** 2


OSBORNE_1 = t(
    *(0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751, 0.718, 0.685, 0.658, 0.628, 0.603, 0.580),
    *(0.558, 0.538, 0.522, 0.506, 0.490, 0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411, 0.406),
)


def osborne_1(x: Tensor) -> Tensor:
    s = 10 * (upto(33) - 1)
    return OSBORNE_1 - (x[0] + x[1] * torch.exp(-s * x[3]) + x[2] * torch.exp(-s * x[4]))


def biggs_exp6(x: Tensor) -> Tensor:
    s = upto(13) / 10
    y = torch.exp(-s) - 5 * torch.exp(-10 * s) + 3 * torch.exp(-4 * s)
    return x[2] * torch.exp(-s * x[0]) - x[3] * torch.exp(-s * x[1]) + x[5] * torch.exp(-s * x[4]) - y


OSBORNE_2 = t(
    *(1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608, 0.655, 0.616, 0.606, 0.602),
    *(0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661, 0.612, 0.558, 0.533, 0.495, 0.500, 0.423, 0.395, 0.375),
    *(0.372, 0.391, 0.396, 0.405, 0.428, 0.429, 0.523, 0.562, 0.607, 0.653, 0.672, 0.708, 0.633, 0.668, 0.645, 0.632, 0.591),
    *(0.559, 0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098, 0.054),
)


def osborne_2(x: Tensor) -> Tensor:
    s = (upto(65) - 1) / 10
    made = x[0] * torch.exp(-s * x[4])
    for k in range(3):
        made = made + x[1 + k] * torch.exp(-((s - x[8 + k]) ** 2) * x[5 + k])
    return OSBORNE_2 - made


def watson(x: Tensor) -> Tensor:
    n = x.shape[0]
    s, j = upto(29)[:, None] / 29, upto(n)
    slope = ((j[1:] - 1) * x[1:] * s ** (j[1:] - 2)).sum(1)
    value = (x * s ** (j - 1)).sum(1)
    return torch.cat([slope - value**2 - 1, torch.stack([x[0], x[1] - x[0] ** 2 - 1])])


def penalty_1(x: Tensor) -> Tensor:
    return torch.cat([math.sqrt(1e-5) * (x - 1), ((x**2).sum() - 0.25)[None]])


def penalty_2(x: Tensor) -> Tensor:
    n, a = x.shape[0], math.sqrt(1e-5)
    i = upto(n)
    y = torch.exp(i[1:] / 10) + torch.exp(i[:-1] / 10)
    first = a * (torch.exp(x[1:] / 10) + torch.exp(x[:-1] / 10) - y)
    second = a * (torch.exp(x[1:] / 10) - math.exp(-0.1))
    last = ((n - i + 1) * x**2).sum() - 1
    return torch.cat([(x[0] - 0.2)[None], first, second, last[None]])


def variably_dimensioned(x: Tensor) -> Tensor:
    s = (upto(x.shape[0]) * (x - 1)).sum()
    return torch.cat([x - 1, torch.stack([s, s**2])])


def trigonometric(x: Tensor) -> Tensor:
    n = x.shape[0]
    return n - torch.cos(x).sum() + upto(n) * (1 - torch.cos(x)) - torch.sin(x)


def brown_almost_linear(x: Tensor) -> Tensor:
    n = x.shape[0]
    return torch.cat([x[:-1] + x.sum() - (n + 1), (x.prod() - 1)[None]])


def boundary_value(x: Tensor) -> Tensor:
    n = x.shape[0]
    h = 1 / (n + 1)
    s, zero = upto(n) * h, torch.zeros(1, dtype=F64)
    return 2 * x - torch.cat([zero, x[:-1]]) - torch.cat([x[1:], zero]) + h**2 * (x + s + 1) ** 3 / 2


def integral_equation(x: Tensor) -> Tensor:
    n = x.shape[0]
    h = 1 / (n + 1)
    s = upto(n) * h
    cube = (x + s + 1) ** 3
    below = torch.cumsum(s * cube, 0)
    above = ((1 - s) * cube).sum() - torch.cumsum((1 - s) * cube, 0)
    return x + h * ((1 - s) * below + s * above) / 2


def broyden_tridiagonal(x: Tensor) -> Tensor:
    zero = torch.zeros(1, dtype=F64)
    return (3 - 2 * x) * x - torch.cat([zero, x[:-1]]) - 2 * torch.cat([x[1:], zero]) + 1


def broyden_banded(x: Tensor) -> Tensor:
    n = x.shape[0]
    i, j = torch.arange(n)[:, None], torch.arange(n)
    near = ((j >= i - 5) & (j <= i + 1) & (j != i)).double()
    return x * (2 + 5 * x**2) + 1 - near @ (x * (1 + x))


def linear_full_rank(x: Tensor) -> Tensor:
    n, m = x.shape[0], 20
    s = 2 / m * x.sum() + 1
    return torch.cat([x - s, -s.expand(m - n)])


def linear_rank_1(x: Tensor) -> Tensor:
    return upto(20) * (upto(x.shape[0]) * x).sum() - 1


def linear_rank_1_zero(x: Tensor) -> Tensor:
    m, n = 20, x.shape[0]
    s = (upto(n)[1:-1] * x[1:-1]).sum()
    one = torch.ones(1, dtype=F64)
    return torch.cat([-one, (upto(m)[1:-1] - 1) * s - 1, -one])


def chebyquad(x: Tensor) -> Tensor:
    n = x.shape[0]
    before, now = torch.ones_like(x), 2 * x - 1
    rows = []
    for i in range(1, n + 1):
        rows.append(now.mean() - (-1 / (i * i - 1) if i % 2 == 0 else 0.0))
        before, now = now, 2 * (2 * x - 1) * now - before
    return torch.stack(rows)


PROBLEMS = (
    Problem("rosenbrock", rosenbrock, t(-1.2, 1), (0.0,)),
    Problem("freudenstein_roth", freudenstein_roth, t(0.5, -2), (0.0, 48.9842)),
    Problem("powell_badly_scaled", powell_badly_scaled, t(0, 1), (0.0,)),
    Problem("brown_badly_scaled", brown_badly_scaled, t(1, 1), (0.0,)),
    Problem("beale", beale, t(1, 1), (0.0,)),
    Problem("jennrich_sampson", jennrich_sampson, t(0.3, 0.4), (124.362,)),
    Problem("helical_valley", helical_valley, t(-1, 0, 0), (0.0,)),
    Problem("bard", bard, t(1, 1, 1), (8.21487e-3, 17.4286)),
    Problem("gaussian", gaussian, t(0.4, 1, 0), (1.12793e-8,)),
    Problem("meyer", meyer, t(0.02, 4000, 250), (87.9458,)),
    Problem("gulf", gulf, t(5, 2.5, 0.15), (0.0,)),
    Problem("box", box, t(0, 10, 20), (0.0,)),
    Problem("powell_singular", powell_singular, t(3, -1, 0, 1), (0.0,)),
    Problem("wood", wood, t(-3, -1, -3, -1), (0.0,)),
    Problem("kowalik_osborne", kowalik_osborne, t(0.25, 0.39, 0.415, 0.39), (3.07505e-4, 1.02734e-3)),
    Problem("brown_dennis", brown_dennis, t(25, 5, -5, -1), (85822.2,)),
    Problem("osborne_1", osborne_1, t(0.5, 1.5, -1, 0.01, 0.02), (5.46489e-5,)),
    Problem("biggs_exp6", biggs_exp6, t(1, 2, 1, 1, 1, 1), (0.0, 5.65565e-3)),
    Problem("osborne_2", osborne_2, t(1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5), (4.01377e-2,)),
    Problem("watson", watson, torch.zeros(6, dtype=F64), (2.28767e-3,)),
    Problem("extended_rosenbrock", rosenbrock, t(-1.2, 1).repeat(5), (0.0,)),
    Problem("extended_powell_singular", powell_singular, t(3, -1, 0, 1).repeat(3), (0.0,)),
    Problem("penalty_1", penalty_1, upto(10), (7.08765e-5,)),
    Problem("penalty_2", penalty_2, torch.full((10,), 0.5, dtype=F64), (2.93660e-4,)),
    Problem("variably_dimensioned", variably_dimensioned, 1 - upto(10) / 10, (0.0,)),
    Problem("trigonometric", trigonometric, torch.full((10,), 0.1, dtype=F64), (0.0, 2.79506e-5)),
    Problem("brown_almost_linear", brown_almost_linear, torch.full((10,), 0.5, dtype=F64), (0.0, 1.0)),
    Problem("boundary_value", boundary_value, upto(10) / 11 * (upto(10) / 11 - 1), (0.0,)),
    Problem("integral_equation", integral_equation, upto(10) / 11 * (upto(10) / 11 - 1), (0.0,)),
    Problem("broyden_tridiagonal", broyden_tridiagonal, -torch.ones(10, dtype=F64), (0.0,)),
    Problem("broyden_banded", broyden_banded, -torch.ones(10, dtype=F64), (0.0,)),
    Problem("linear_full_rank", linear_full_rank, torch.ones(10, dtype=F64), (10.0,)),
    Problem("linear_rank_1", linear_rank_1, torch.ones(10, dtype=F64), (20 * 19 / (2 * 41),)),
    Problem("linear_rank_1_zero", linear_rank_1_zero, torch.ones(10, dtype=F64), ((400 + 60 - 6) / (2 * 37),)),
    Problem("chebyquad", chebyquad, upto(8) / 9, (3.51687e-3,)),
)
