"""Flow: does the gradient reach every layer at about the same size?

    r_k = rms(g_k) / rms(theta_k) of each matrix, in the order of the model;   fall = log10(max of last third / max of first third)
    vanishing  <=>  fall > `decades` at every look, and at two of them;   exploding  <=>  fall < -`decades` likewise
    exploding  <=>  also where the first loss > `start` times that of the same weights times 0.1, on inputs of usual size

A network that grows its signal from layer to layer begins with a loss far above that of saying nothing, which weights times 0.1 are
about; inputs of an rms above 10 are not blamed on the weights. Glorot, Bengio,
"Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010. Not for models of one layer, which have
nothing to lose on the way; residual connections and normalisation are made so that it has nothing to say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.curvature import mean_of, still
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Flow"]

SMALL = 0.1  # weights times this say next to nothing
NOTHING = 0.05  # gain of a layer whose weights are next to zero: its gradients say nothing of the others
USUAL = 10.0  # root mean square of inputs up to which they are not to blame


class Flow:
    """Speaks where gradients shrink or grow by orders of magnitude through the layers.

    Args:
        decades: factor of 10 between layers from which it speaks, at least 1.
        start: how many times the loss of small weights the first loss may be, above 1.
        examples: of the data, for the second.
    """

    cost = 0.2

    def __init__(self, *, decades: float = 4.0, start: float = 5.0, examples: int = 128) -> None:
        if decades < 1.0:
            raise InputTrouble(f"--flow.decades {decades}: must be at least 1")
        if start <= 1.0:
            raise InputTrouble(f"--flow.start {start}: must be above 1")
        if examples < 1:
            raise InputTrouble(f"--flow.examples {examples}: must be at least 1")
        self.decades, self.start, self.examples = decades, start, examples
        self.every = 40

    def measure(self, step: Step, theta: Theta, objective: Objective) -> Mapping[str, float] | None:
        """{"fall", "low", "high"}: log10 of the ratio between two layers, below 0 where the early one is larger, and which."""
        layers = [m for m in theta.members if m.role in ("matrix", "head") and m.param.ndim > 1 and m.param.numel() > 1]
        self._names = [m.name for m in layers]
        if len(layers) < 2:
            return None
        sizes = [_rms(m.view) for m in layers]
        gain = min(s * (m.param.numel() / m.param.shape[0]) ** 0.5 for s, m in zip(sizes, layers, strict=True))
        usable = step.applied and gain > NOTHING  # a gain of 1 keeps the size of what comes in
        found = fall_of([(_rms(m.grad), s) for s, m in zip(sizes, layers, strict=True)]) if usable else {}
        if step.t < self.every:
            same = any(bool((m.view == m.view[:1]).all()) for m in layers[:-1])  # a symmetry, and another trouble
            found |= (None if same else silence(theta, objective, self.examples)) or {}
        return found or None

    def judge(self, history: History) -> Finding | None:
        """A finding for the last look: of the start once, of the layers where two looks agree; said again after 10 looks."""
        t = len(history.loss) - 1
        rows = {k: history.measured.get(f"flow.{k}", []) for k in ("fall", "low", "high", "silent", "input")}
        said = max((f.t for f in history.findings if f.name in ("vanishing", "exploding")), default=-1)
        if rows["silent"] and rows["silent"][-1][0] == t and (found := self._blown(history, rows["silent"][-1][1], rows["input"])):
            return found
        fall = rows["fall"]
        if len(fall) < 2 or fall[-1][0] != t or (said >= 0 and sum(s > said for s, _ in fall) < 10):
            return None
        least = min((v for _, v in fall), key=abs)  # since the first look: what comes later has come with something else
        if not abs(least) > self.decades or min(v for _, v in fall) * max(v for _, v in fall) < 0.0 or risen(history):
            return None
        low, high = (self._name(int(rows[k][-1][1])) for k in ("low", "high"))
        evidence = {"decades": least, "low": low, "high": high}
        what = f"step {t}: the gradient of {low} is 10^{abs(fall[-1][1]):.1f} times smaller than that of {high}, for their sizes"
        if least > 0:
            return Finding(
                t,
                "vanishing",
                "warn",
                what,
                "every layer on the way back makes the gradient smaller: the first ones hardly learn",
                "use ReLU or GELU in place of sigmoid, residual connections, normalisation, or larger first weights",
                evidence,
            )
        return Finding(
            t,
            "exploding",
            "warn",
            what,
            "every layer on the way back makes the gradient larger: the first ones are thrown about",
            "smaller first weights, normalisation, or a bound on the gradient: --clip 1",
            evidence,
        )

    def _name(self, k: int) -> str:
        """Of a layer; its number where the model is not at hand."""
        return repr(self._names[k]) if k < len(getattr(self, "_names", [])) else f"layer {k}"

    def _blown(self, history: History, silent: float, size: list[tuple[int, float]]) -> Finding | None:
        first, t = min(history.loss[0], median(history.loss[:3])), len(history.loss) - 1
        usual = not size or size[-1][1] <= USUAL
        if not (first > self.start * abs(silent) and usual) or any(f.name == "exploding" for f in history.findings):
            return None
        return Finding(
            t,
            "exploding",
            "warn",
            f"step {t}: the loss began at {first:.4g}; with all weights at a tenth it would have been {silent:.4g}",
            "the first weights are too large: every layer makes the signal larger",
            "make the first weights smaller (PyTorch's usual ones will do), or put normalisation between the layers",
            {"first": first, "silent": silent, "norm": history.norm[0] if math.isfinite(history.norm[0]) else 0.0},
        )


def risen(history: History) -> bool:
    """Whether the run has been thrown about: gradients are lost for another reason then."""
    return any(f.name in ("unstable", "diverged") for f in history.findings) or max(history.loss[5:]) > 2.0 * abs(history.loss[0])


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in a tensor, tuple, list or dict."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [t for part in parts for t in tensors(part)]


def fall_of(sizes: list[tuple[float, float]]) -> dict[str, float]:
    """Of (rms of gradient, rms of weights) of each layer: log10 of the best of the last third over the best of the first third.

    Layers whose gradient is exactly zero are dead or out of use, which is another trouble; they are left out.
    """
    r = {k: math.log10(g / w) for k, (g, w) in enumerate(sizes) if w > 0.0 and 0.0 < g < math.inf}
    part = max(len(sizes) // 3, 1)
    first = max((k for k in r if k < part), key=r.__getitem__, default=None)
    last = max((k for k in r if k >= len(sizes) - part), key=r.__getitem__, default=None)
    if first is None or last is None:
        return {"fall": 0.0, "low": 0.0, "high": 0.0}
    low, high = (first, last) if r[last] > r[first] else (last, first)
    return {"fall": r[last] - r[first], "low": float(low), "high": float(high)}


def silence(theta: Theta, objective: Objective, examples: int) -> dict[str, float] | None:
    """{"silent": the loss of weights times 0.1, "input": rms of the inputs}; None without data. All as found."""
    data = getattr(objective, "data", None)
    if data is None or len(data) == 0:
        return None
    kept = [b.flat.clone() for b in theta.blocks]
    with chance.preserved(), torch.no_grad(), still(theta.model):
        try:
            batch = data(torch.arange(min(len(data), examples)) * max(len(data) // examples, 1), 1)
            found: dict[str, float] = {}
            found["input"] = max((_rms(x) for x in tensors(batch.x) if x.is_floating_point()), default=0.0)
            for block in theta.blocks:
                block.flat.mul_(SMALL)
            chance.reseed(batch.draw)
            found["silent"] = mean_of(objective(batch))
        finally:
            for block, value in zip(theta.blocks, kept, strict=True):
                block.flat.copy_(value)
    return found if all(math.isfinite(v) for v in found.values()) else None


def _rms(t: Tensor) -> float:
    return float(torch.linalg.vector_norm(t.detach().float())) / max(t.numel(), 1) ** 0.5


def sick() -> list[History]:
    """A gradient that loses seven digits on the way back, one that gains five, and weights that make the first loss a thousand."""
    return [_run(2.3, fall=7.0), _run(2.3, fall=-5.0), _run(1000.0, silent=2.3)]


def well() -> list[History]:
    """A network of ten layers, and one whose first loss is that of saying nothing."""
    return [_run(2.3, fall=3.3), _run(2.4, silent=2.3)]


def _run(first: float, **values: float) -> History:
    history = History()
    for t in range(200):
        history.add(Step(t, first * 0.98**t + 0.1, 1.0, 0.1, 32, t * 0.1, True, 0.0))
        if (t + 1) % 40 == 0:
            noted = {k: v for k, v in values.items() if k != "silent" or t < 40}
            history.note(t, "flow", noted | ({"low": 0.0, "high": 1.0} if "fall" in values else {}))
    return history
