"""Edge: does gradient descent stand where its own curvature throws it out?

    ratio = lr lambda_max / (2 (1 + momentum)),      lambda_max of H = d^2 L / d theta^2 on a fixed sample
    over the edge  <=>  ratio > `limit`  and the loss rises

Above 1 every step along the steepest direction goes further up the other wall than it came down. Full-batch training hovers at 1
and learns on (Cohen et al., "Gradient descent on neural networks typically occurs at the edge of stability", ICLR 2021), so only a
loss that rises makes it a trouble. For plain descent and momentum alone: an adaptive update has a curvature of its own, in which
the rate has another limit, and `unstable` sees those by their losses. Asked only where the loss rises; it costs some 50 steps.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median

import torch

from gradlearn import chance
from gradlearn.curvature import Hessian, LossFunction, lanczos
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Edge"]

WINDOW = 20  # steps of a median


class Edge:
    """Speaks where the rate is above what the largest curvature allows, and the loss rises. For SGD; asked for by name.

    Args:
        every: steps between two looks at the losses.
        limit: ratio from which it speaks, at least 1.
        momentum: of the update, in [0, 1).
        examples: of the fixed sample.
        products: Hessian-vector products at most, at least 4.
    """

    cost = 0.0  # of a look at the losses; a question costs about 50 steps
    usual = False  # it is right for plain descent and momentum only

    def __init__(
        self, *, every: int = 20, limit: float = 1.2, momentum: float = 0.0, examples: int = 128, products: int = 12
    ) -> None:
        for name, value, least in (
            ("every", every, 1),
            ("limit", limit, 1.0),
            ("examples", examples, 1),
            ("products", products, 4),
        ):
            if value < least:
                raise InputTrouble(f"--edge.{name} {value}: must be at least {least}")
        if not 0.0 <= momentum < 1.0:
            raise InputTrouble(f"--edge.momentum {momentum}: must be in [0, 1)")
        self.every, self.limit, self.momentum, self.examples, self.products = every, limit, momentum, examples, products

    def measure(self, step: Step, theta: Theta, objective: Objective) -> None:
        """Nothing: `judge` measures where the loss rises."""
        self._objective = objective

    def judge(self, history: History) -> Finding | None:
        """A finding where the loss rises and the curvature says why."""
        t, losses = len(history.loss) - 1, history.loss
        rows = history.measured.get("edge.largest", [])
        asked = rows[-1][0] if rows else -1
        if asked != t:
            recent = losses[-10 * WINDOW :]
            if len(recent) < 3 * WINDOW or (asked >= 0 and t < 1.5 * asked + WINDOW) or not history.applied[-1]:
                return None
            best = min(median(recent[k : k + WINDOW]) for k in range(0, len(recent) - 2 * WINDOW + 1, WINDOW // 2))
            noise = median([abs(b - a) for a, b in pairwise(recent[-3 * WINDOW :])])
            if not median(recent[-WINDOW:]) > best + noise + 0.02 * abs(best):
                return None
            value = sharpness(self._objective, self.examples, self.products)
            if value is None:
                return None
            history.note(t, "edge", {"largest": value})
            rows = history.measured["edge.largest"]
        largest = rows[-1][1]
        ratio = history.lr[-1] * largest / (2.0 * (1.0 + self.momentum))
        if not ratio > self.limit:
            return None
        return Finding(
            t,
            "unstable",
            "warn",
            f"step {t}: the rate is {ratio:.3g} times what the largest curvature, {largest:.3g}, allows, and the loss rises",
            "along the steepest direction every step ends higher on the other wall",
            f"--lr {history.lr[-1] / ratio:.2g} or less, or a longer warm-up",
            {"kind": "edge", "ratio": ratio, "largest": largest, "lr": history.lr[-1]},
        )


def sharpness(objective: Objective, examples: int, products: int) -> float | None:
    """The largest eigenvalue of the Hessian on a fixed sample of the data; None where it cannot be had."""
    data = getattr(objective, "data", None)
    if data is None or len(data) == 0:
        return None
    k = min(len(data), examples)
    with chance.preserved():
        try:
            f = LossFunction(objective, data(torch.arange(k) * max(len(data) // k, 1), 1))
            H = Hessian(f, f.start, check=False)
            found = lanczos(H, torch.zeros_like(f.start), products=products, tol=1e-2, room=products)
        except (RuntimeError, NotImplementedError):
            return None
    value = float(found.values[-1])
    return value if math.isfinite(value) else None


def sick() -> list[History]:
    """Gradient descent whose loss rises at three times the rate that its curvature allows."""
    return [_run([1.0] * 50 + [1.05**t for t in range(50)], largest=60.0)]


def well() -> list[History]:
    """The same curvature at a rate that it allows."""
    return [_run([1.0] * 50 + [1.002**t for t in range(50)], largest=15.0)]


def _run(losses: list[float], largest: float) -> History:
    history = History()
    for t, loss in enumerate(losses):
        history.add(Step(t, loss, 1.0, 0.1, 32, t * 0.1, True, 0.0))
    history.note(79, "edge", {"largest": largest})
    return history
