"""Noise: how many examples does a batch need before its gradient says more about the data than about the batch?

    B_simple = tr(Sigma) / |G|^2,     from the gradients g_1 ... g_k of k parts of b examples:
    |G|^2 = (|sum g|^2 - sum |g|^2) / (k (k - 1)),   tr(Sigma) = b (mean |g|^2 - |G|^2),   each averaged over looks, then divided

McCandlish et al., "An empirical model of large-batch training", arXiv 1812.06162: below B_simple a batch twice as large is as
good as two steps, above it examples are wasted. The looks are at examples of its own choice, those of the last step would be
flattered by it. On small batches of a network with BatchNorm it says too much, as each part is then normalised by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Noise"]


class Noise:
    """Speaks where the noise scale is many times the batch: "noise floor". `grow` answers.

    Args:
        every: steps between two looks; a look costs about a step.
        parts: of the batch that is looked at, at least 2.
        factor: of the batch, which the noise scale must surely be above.
        memory: looks that carry most of the weight.
    """

    cost = 1.0
    usual = False  # only where a larger batch may answer

    def __init__(self, *, every: int = 20, parts: int = 4, factor: float = 4.0, memory: int = 10) -> None:
        for name, value, least in (("every", every, 1), ("parts", parts, 2), ("factor", factor, 1.0), ("memory", memory, 2)):
            if value < least:
                raise InputTrouble(f"--noise.{name} {value}: must be at least {least}")
        self.every, self.parts, self.factor, self.memory = every, parts, factor, memory

    def measure(self, step: Step, theta: Theta, objective: Objective) -> Mapping[str, float] | None:
        """{"trace": tr(Sigma), "square": |G|^2} of one look; None where the objective has no data or no gradient."""
        if getattr(objective, "data", None) is None or objective.data is None:
            return None
        size = max(step.n // self.parts, 2)
        place = np.arange(self.parts * size)
        index = torch.from_numpy(chance.integers(len(objective.data), 0, "noise", step.t, place))
        kept = {name: b.clone() for name, b in theta.model.named_buffers()}
        try:
            with chance.preserved(), torch.enable_grad():
                found = moments(objective, theta, index.split(size), step.t)
        finally:
            for name, buffer in theta.model.named_buffers():
                if name in kept:
                    buffer.copy_(kept[name])
        if found is None:
            return None
        squares, square_of_sum = found
        k = self.parts
        square = (square_of_sum - sum(squares)) / (k * (k - 1))
        trace = size * (sum(squares) / k - square)
        return {"trace": trace, "square": square} if math.isfinite(trace + square) else None

    def judge(self, history: History) -> Finding | None:
        """A finding where |G|^2, with its standard error, is below tr(Sigma) / (factor * batch)."""
        last, rows = history.last, history.measured.get("noise.square", [])
        said = max((f.t for f in history.findings if f.name == "noise floor"), default=-1)
        if last is None or not rows or rows[-1][0] != last.t or sum(t > said for t, _ in rows) < self.memory:
            return None
        traces = history.measured["noise.trace"][-8 * self.memory :]
        trace, _ = recent([v for _, v in traces], self.memory)
        square, error = recent([v for _, v in rows[-8 * self.memory :]], self.memory)
        surely = max(square, 0.0) + error
        batch = last.n
        if not trace > self.factor * batch * surely or surely <= 0.0:
            return None
        scale = trace / surely
        return Finding(
            last.t,
            "noise floor",
            "info",
            f"step {last.t}: the gradient's noise scale is at least {scale:.0f} examples, the batch is {batch}",
            "what single examples ask for cancels: the batch says more about itself than about the data",
            "a larger batch takes fewer and surer steps for the same examples; a lower learning rate averages over more of them",
            {"noise": scale, "batch": batch, "trace": trace, "square": square, "error": error},
        )


def moments(objective: Objective, theta: Theta, parts: tuple[Tensor, ...], t: int) -> tuple[list[float], float] | None:
    """(|g|^2 of each part, |sum g|^2); `.grad` is not touched. None where a part's loss depends on no parameter."""
    params = [m.param for m in theta.members]
    whole: list[Tensor | None] = [None] * len(params)
    squares = []
    for k, index in enumerate(parts):
        draw = chance.key(0, "noise", t, k)
        chance.reseed(draw)
        assert objective.data is not None
        losses = objective(objective.data(index, draw))
        if not losses.total.requires_grad:
            return None
        grads = torch.autograd.grad(losses.total.sum() / losses.count.sum(), params, allow_unused=True)
        squares.append(sum(g.detach().double().square().sum().item() for g in grads if g is not None))
        whole = [w if g is None else g if w is None else w + g for w, g in zip(whole, grads, strict=True)]
    return squares, sum(w.double().square().sum().item() for w in whole if w is not None)


def recent(values: list[float], memory: int) -> tuple[float, float]:
    """Mean and its standard error, each look weighing 1 - 1 / memory of the one after it."""
    keep = 1.0 - 1.0 / memory
    weights = [keep**age for age in range(len(values) - 1, -1, -1)]
    total = sum(weights)
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / total
    spread = sum(w * w * (v - mean) ** 2 for w, v in zip(weights, values, strict=True))
    return mean, math.sqrt(spread) / total


def sick() -> list[History]:
    """A run on batches of 32 whose noise scale rises to 1,000 examples."""
    return [_run(10.0, lambda t: 10.0 / min(4.0 * (t + 1), 1000.0))]


def well() -> list[History]:
    """A run whose noise scale is twice its batch, and one of which too little is known yet."""
    unsure = _run(10.0, lambda t: 0.02 + (-1.0) ** (t // 20))
    return [_run(10.0, lambda t: 10.0 / 64.0), unsure]


def _run(trace: float, square: Callable[[int], float]) -> History:
    history = History()
    for t in range(400):
        history.add(Step(t, 2.0 * 0.99**t + 0.1, 1.0, 0.1, 32, t * 0.1, True, 0.0))
        if (t + 1) % 20 == 0:
            history.note(t, "noise", {"trace": trace, "square": square(t)})
    return history
