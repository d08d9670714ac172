"""Down a function that answers differently each time: steps that shrink, gradients averaged, the path averaged at the end.

    g ~ autograd's, or SPSA's: (f(x + c d) - f(x - c d)) / (2 c) d,  d random signs
    x <- x - a_t m / (sqrt(v) + eps),   a_t falls in a straight line to 0;   the answer is the mean of the last quarter

Kingma, Ba, "Adam", ICLR 2015; Spall, "Multivariate stochastic approximation using a simultaneous perturbation gradient
approximation", IEEE Trans. Autom. Control 37, 1992; Polyak, Juditsky, SIAM J. Control Optim. 30, 1992. Three step sizes are tried
with a tenth of the budget each, and judged by repeated values; the best has the rest. For deterministic functions
`quasinewton.py` is faster by far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.minimum import function as counting
from gradlearn.minimum.function import Function, Spent

SIZES = (0.3, 0.03, 0.003)  # first steps, relative to the start or the box
JUDGE = 16  # repeated values that tell two points apart


class Mean(NamedTuple):
    """A point, the mean of repeated values there, and its standard error."""

    x: Tensor
    f: float
    error: float


def descend(function: Function, seed: int, evaluations: int, scale: Tensor) -> Mean:
    """The best point that so many evaluations find, judged by the mean of repeated values.

    Args:
        function: counted; where it is spent, what has been found by then is returned.
        seed: of the random signs.
        evaluations: to be used.
        scale: (n,) length that counts as one in each coordinate.
    """
    per = 1 if function.differentiable else 2
    tries: list[Mean] = []
    try:
        start = judged(function, function.start)
        tries.append(start)
        for i, size in enumerate(SIZES):
            steps = max((evaluations // 10 - JUDGE) // per, 4)
            tries.append(judged(function, _walk(function, start.x, size, steps, scale, chance.key(seed, "noisy", i), [])))
        best = min(range(1, 4), key=lambda i: tries[i].f)
        first = tries[best].x if tries[best].f < start.f else start.x
        steps = max((evaluations - function.nfev - 2 * JUDGE) // per, 4)
        path: list[Tensor] = []
        try:
            end = _walk(function, first, SIZES[best - 1], steps, scale, chance.key(seed, "noisy", 3), path)
        except Spent:
            if not path:
                raise
            end = torch.stack(path[-max(len(path) // 4, 1) :]).mean(0)
            function.deadline, function.max_evals = (
                math.inf,
                function.max_evals + JUDGE if function.max_evals < 1 << 62 else 1 << 62,
            )
        tries.append(judged(function, end))
    except Spent:
        if not tries:
            return Mean(function.best, function.least, math.nan)
    return min(tries, key=lambda m: m.f)


def pace(function: Function) -> float:
    """Seconds of one evaluation."""
    begun = counting.clock()
    for _ in range(3):
        if function.differentiable:
            function.value_and_gradient(function.start)
        else:
            function.value(function.start)
    return max((counting.clock() - begun) / 3.0, 1e-7)


def judged(function: Function, x: Tensor, repeats: int = JUDGE) -> Mean:
    """The mean of repeated values and its standard error."""
    values = torch.tensor([function.value(x) for _ in range(repeats)], dtype=torch.float64)
    return Mean(x, float(values.mean()), float(values.std()) / math.sqrt(repeats))


def _walk(function: Function, x: Tensor, size: float, steps: int, scale: Tensor, key: int, path: list[Tensor]) -> Tensor:
    """Adam with a falling rate; the mean of the last quarter of the path."""
    slope = _slope(function, key, scale)
    m, v = torch.zeros_like(x), torch.zeros_like(x)
    for t in range(steps):
        g = slope(x, t, 0.1 * size / (t + 1) ** 0.101) * scale
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        unit = (m / (1.0 - 0.9 ** (t + 1))) / ((v / (1.0 - 0.99 ** (t + 1))).sqrt() + 1e-12)
        x = x - size * (1.0 - t / steps) * scale * unit
        x = torch.minimum(torch.maximum(x, function.low), function.high)
        path.append(x)
    return torch.stack(path[-max(len(path) // 4, 1) :]).mean(0)


def _slope(function: Function, key: int, scale: Tensor) -> Callable[[Tensor, int, float], Tensor]:
    """A gradient of noisy values: autograd's, or from one pair of values along random signs."""

    def exact(x: Tensor, t: int, c: float) -> Tensor:
        return function.value_and_gradient(x)[1].nan_to_num(0.0, 0.0, 0.0)

    def paired(x: Tensor, t: int, c: float) -> Tensor:
        draws = chance.bits(key, "spsa", t, torch.arange(function.n).numpy())
        signs = torch.from_numpy((draws & 1).astype("float64") * 2.0 - 1.0)
        d = c * scale * signs
        ahead, behind = torch.minimum(x + d, function.high), torch.maximum(x - d, function.low)
        difference = function.value(ahead) - function.value(behind)
        gap = ahead - behind
        return torch.where(gap != 0.0, difference / gap, 0.0).nan_to_num(0.0, 0.0, 0.0)

    return exact if function.differentiable else paired
