"""What a function does around a point, by its values: how much it changes, how noisy it is, where it falls.

    fall along d:   f(x + t d) < f(x) - 4 |g| t - noise         more than what is left of the gradient explains

For `certificate.py`, where derivatives say nothing: flat directions, kinks, far away. All on radii that are shares of
R = max(1, |x|), in directions that are a function of the seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.curvature.derivatives import Function, value_and_grad

Fall = tuple[Tensor, float, float]  # unit direction, distance, drop


class Walked(NamedTuple):
    """What was met along directions without curvature."""

    down: Fall | None  # f falls nearby
    shelf: Fall | None  # nothing nearby, but f falls far away before it rises
    rises: bool  # f rises nearby in some direction


class Surroundings:
    """Values of f around x.

    Attributes:
        value: f(x).
        radius: R.
        noise: what two values must differ by to differ.
        spread: the median of |f(x + R u) - f(x)| over random u.
        evaluations: values computed.
        gradient_at: x (n,) -> grad f (n,), autograd's unless told otherwise.
    """

    def __init__(self, function: Function, x: Tensor, *, seed: int = 0, probes: int = 24) -> None:
        self.function, self.x, self.seed, self.probes = function, x, seed, probes
        self.evaluations = 0
        self.gradient_at: Function = lambda x: value_and_grad(function, x)[1]
        self.radius = max(1.0, float(torch.linalg.vector_norm(x)))
        self.value = self(x)
        self.u = self.directions(max(probes, 8), "around")
        if math.isfinite(self.value):
            self.noise, self.spread = self._noise(), self._spread()
        else:
            self.noise = self.spread = 0.0

    def __call__(self, x: Tensor) -> float:
        """f at another point; inf where it is not a number or cannot be computed."""
        self.evaluations += 1
        with torch.no_grad():
            value = float(self.function(x))
        return value if value == value or self.evaluations == 1 else math.inf

    def directions(self, k: int, purpose: str) -> Tensor:
        """(k, n) random unit vectors."""
        generator = torch.Generator().manual_seed(chance.key(self.seed, purpose, len(self.x)))
        u = torch.randn(k, len(self.x), generator=generator, dtype=torch.float64).to(self.x)
        return u / torch.linalg.vector_norm(u, dim=1, keepdim=True)

    def at(self, direction: Tensor, distance: float) -> float:
        """f(x + distance * direction)."""
        return self(self.x + distance * direction)

    def _noise(self) -> float:
        """A few units in the last place of f, or more where f jumps more between neighbouring points."""
        eps = torch.finfo(self.x.dtype).eps
        h = 4 * eps * self.radius
        near = [self.at(u, s * h) for u in self.u[:3] for s in (1, -1)]
        jump = [abs(a + b - 2 * self.value) for a, b in zip(near[::2], near[1::2], strict=True)]
        seen = max((j for j in jump if math.isfinite(j)), default=0.0)
        return max(16 * eps * abs(self.value), 4 * seen if seen > 8 * eps * abs(self.value) else 0.0)

    def _spread(self) -> float:
        """How much f changes at the radius; where it is infinite there, nearer."""
        radius = self.radius
        for _ in range(8):
            seen = sorted(abs(self.at(s * u, radius) - self.value) for u in self.u[:4] for s in (1, -1))
            seen = [v for v in seen if math.isfinite(v)]
            if len(seen) >= 4:
                return seen[len(seen) // 2]
            radius /= 10
        return 0.0

    def falls(self, v: Tensor, gradient: float, curvature: float = 0.0, far: float = 1.0, least: float = 0.0) -> Fall | None:
        """The best of both ways along a unit vector where f falls by more than gradient, noise and `least` explain, or None.

        With `curvature` < 0, only where that is what makes it fall: between a quarter and ten times of what it promises.
        """
        best: Fall | None = None
        for share in (1e-3, 1e-2, 1e-1, 1.0):
            t = share * far * self.radius
            for sign in (1.0, -1.0):
                drop = self.value - self.at(v, sign * t)
                promised = -curvature * t * t / 2 or drop
                explained = max(4 * gradient * t + self.noise, least)
                if math.isfinite(drop) and drop > explained and 0.25 <= drop / promised <= 10 and (best is None or drop > best[2]):
                    best = (sign * v, t, drop)
        return best

    def best(self, d: Tensor) -> Fall:
        """The lowest value along a direction, at distances from a millionth of R to R."""
        size = float(torch.linalg.vector_norm(d))
        if not math.isfinite(size) or size == 0.0:
            return d, 0.0, 0.0
        u = d / size
        steps = {*(self.radius * 10.0 ** (-k / 2) for k in range(0, 21)), size}
        return max(((u, t, self.value - self.at(u, t)) for t in steps), key=lambda fall: fall[2])

    def bottomless(self, u: Tensor) -> tuple[float, float] | None:
        """(distance, drop) where f falls without end along u: every tenfold distance falls at least as much again."""
        distances = [self.radius * 10.0**k for k in range(9)]
        values = [self.value, *(self.at(u, t) for t in distances)]
        if -math.inf in values:
            k = values.index(-math.inf)
            return distances[k - 1], math.inf
        drops = [a - b for a, b in pairwise(values)]
        falling = all(b >= 0.9 * a and b > self.noise for a, b in pairwise(drops[2:]))
        return (distances[-1], self.value - values[-1]) if falling and values[-1] < self.value else None

    def kink(self, grad: Tensor | None, small: float) -> Fall | None:
        """A way down where f is not smooth, from gradients and values nearby; None where f rises whatever is tried."""
        found: list[Fall] = []
        tries = [*self.directions(self.probes + len(self.x) if len(self.x) <= 200 else self.probes, "kink")]
        if len(self.x) <= 200:
            tries += [*torch.eye(len(self.x), dtype=self.x.dtype, device=self.x.device)]
        for share in (1e-6, 1e-4, 1e-2):
            t = share * self.radius
            downs = [*tries, -shortest(self._gradients(tries, t, grad))]
            for u in downs:
                size = float(torch.linalg.vector_norm(u))
                if not size > 1e-9:
                    continue
                for sign in (1.0, -1.0):
                    drop = self.value - self.at(u / size, sign * t)
                    if drop > small + self.noise:
                        found.append((sign * u / size, t, drop))
        return max(found, key=lambda fall: fall[2], default=None)

    def _gradients(self, tries: list[Tensor], t: float, grad: Tensor | None) -> Tensor:
        rows = [] if grad is None else [grad]
        rows += [self.gradient_at(self.x + t * u) for u in tries[: len(self.x) + 8]]
        rows = [row for row in rows if bool(torch.isfinite(row).all())]
        return torch.stack(rows or [torch.zeros_like(self.x)])

    def walk(self, null: Tensor, gradient: float, small: float, solve: Callable[..., Tensor]) -> Walked:
        """Along directions without curvature, (k, n) orthonormal: straight nearby, then downhill from a point beside x, then far.

        `solve` maps a gradient to a step, (|H| + more)^-1 g.
        """
        mixed = self.directions(self.probes, "flat") @ null.T @ null
        size = torch.linalg.vector_norm(mixed, dim=1, keepdim=True)
        mixed = mixed[size[:, 0] > 1e-12] / size[size > 1e-12][:, None]
        own = null[: 4 * self.probes]
        for u in [*own, *mixed]:
            down = self.falls(u, gradient, far=0.1, least=small)
            if down is not None and self._local(down):
                return Walked(down, None, False)
        for u in mixed[:6]:
            down = self._descend(u, gradient, small, solve)
            if down is not None:
                return Walked(down, None, False)
        changes = [max(self.at(u, s * 0.1 * self.radius) - self.value for s in (1.0, -1.0)) for u in [*own, *mixed]]
        bar = max(small, self.noise)
        shelf = self._shelf([*own, *mixed], gradient)
        return Walked(None, shelf, any(c > bar for c in changes))

    def _local(self, down: Fall) -> bool:
        """Whether no hill lies between x and the place that is lower: it belongs to this point, not to another valley."""
        u, t, drop = down
        between = max(self.at(u, t * k / 16) for k in range(1, 16))
        return between - self.value <= max(0.02 * drop, self.noise)

    def _descend(self, u: Tensor, gradient: float, small: float, solve: Callable[..., Tensor]) -> Fall | None:
        """Downhill from x + r u, inside a ball of 10 r: a way down that starts sideways."""
        r = 1e-2 * self.radius
        for sign in (1.0, -1.0):
            y = self.x + sign * r * u
            start = value = self(y)
            for _ in range(12):
                g = self.gradient_at(y)
                if not bool(torch.isfinite(g).all()):
                    break
                step = -solve(g, float(torch.linalg.vector_norm(g)) / r)
                step = step * min(1.0, r / max(float(torch.linalg.vector_norm(step)), 1e-300))
                there = self(y + step)
                while there > value and float(torch.linalg.vector_norm(step)) > 1e-3 * r:
                    step = step / 4
                    there = self(y + step)
                if there >= value:
                    break
                y, value = y + step, there
                if float(torch.linalg.vector_norm(y - self.x)) > 10 * r:
                    break
            d = y - self.x
            distance = float(torch.linalg.vector_norm(d))
            drop, hill = self.value - value, start - self.value
            if drop > max(4 * gradient * distance + self.noise, small, 3 * hill):
                return d / distance, distance, drop
        return None

    def _shelf(self, tries: list[Tensor], gradient: float) -> Fall | None:
        """Far along a direction: a fall that comes before any rise."""
        bar = max(1e-6 * self.spread, 10 * self.noise)
        for u in tries:
            for sign in (1.0, -1.0):
                for k in range(1, 9):
                    t = self.radius * 0.1 * 20.0 ** (k / 8)
                    drop = self.value - self.at(sign * u, t)
                    if drop < -bar:
                        break
                    if drop > bar + 4 * gradient * t:
                        return sign * u, t, drop
        return None


def shortest(rows: Tensor, steps: int = 300) -> Tensor:
    """The shortest vector in the convex hull of rows (k, n), by Frank and Wolfe's way with exact line search."""
    v = rows.mean(0)
    for _ in range(steps):
        towards = rows[(rows @ v).argmin()] - v
        length = float(towards @ towards)
        share = float(-(v @ towards)) / length if length > 0 else 0.0
        if share <= 1e-12:
            break
        v = v + min(share, 1.0) * towards
    return v
