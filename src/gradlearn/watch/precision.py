"""Precision: is what should be learned lost to rounding?

    lost       <=>  g_i != 0 and theta_i is the same after `every` steps: lr u_i < eps |theta_i| / 2      (bfloat16, float16)
    underflow  <=>  0 < |g_i| < smallest normal number: its last digits are gone, and half of it is zero next  (float16)
    offset     <=>  eps |mean| > spread / 20 in a column of the data: its values cannot be told apart          (any type)

bfloat16 holds 8 bits: an update of less than 1/512 of a weight changes nothing at all, so small rates stand still where float32
would go on (Zamirai et al., "Revisiting BFloat16 training", arXiv 2010.06192). PyTorch's GradScaler is there for the second, nobody
says the first and the third. Keep the weights in float32 and let autocast choose the type of products.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Precision"]


NOTHING = 1e-12  # a gradient of float32 that is none: where the loss is flat nothing is lost to rounding
FIRST, LITTLE = 3, 0.1  # looks at float32; share that is not worth a note
NUMBERS = 1 << 17  # of wide examples, such as pictures, so many are enough


class Precision:
    """Speaks where most coordinates stand still or most gradients underflow, and of columns that rounding has eaten.

    Args:
        every: steps between two looks.
        most: share of the coordinates from which it speaks, in (0, 1).
        examples: of the data, whose columns are looked at once.
    """

    cost = 0.05

    def __init__(self, *, every: int = 25, most: float = 0.5, examples: int = 512) -> None:
        for name, value in (("every", every), ("examples", examples)):
            if value < 1:
                raise InputTrouble(f"--precision.{name} {value}: must be at least 1")
        if not 0.0 < most < 1.0:
            raise InputTrouble(f"--precision.most {most}: must be in (0, 1)")
        self.every, self.most, self.examples = every, most, examples
        self._before: dict[int, Tensor] = {}
        self._seen = False

    def measure(self, step: Step, theta: Theta, objective: Objective) -> Mapping[str, float] | None:
        """{"still", "underflow": shares of the coordinates; "offset": eps |mean| / spread of the worst column, once}."""
        found: dict[str, float] = {}
        if not self._seen:
            self._seen = True
            if step.t < self.every and (offset := offset_of(objective, self.examples)) > 0.0:
                found["offset"] = offset
        look = (step.t + 1) // self.every
        wide = look <= FIRST  # weights far from zero lose the steps of float32 too; later a run may have arrived
        narrow = {k: b for k, b in enumerate(theta.blocks) if wide or torch.finfo(b.flat.dtype).bits < 32}
        self._before = {k: v for k, v in self._before.items() if k in narrow}
        moved = still = small = nonzero = 0
        for k, block in narrow.items():
            told = block.grad.abs() > (0.0 if torch.finfo(block.flat.dtype).bits < 32 else NOTHING)
            for m in block.members:
                if step.t < theta.begins.get(m.name, 0):  # it is not meant to move yet
                    told[m.start : m.start + m.param.numel()] = False
            if k in self._before:
                moved += int(told.sum())
                still += int((told & (block.flat == self._before[k])).sum())
            if block.flat.dtype == torch.float16:
                nonzero += int(told.sum())
                small += int((told & (block.grad.abs() < torch.finfo(torch.float16).tiny)).sum())
            self._before[k] = block.flat.clone()
        if moved and step.lr > 0.0 and (still > LITTLE * moved or not wide):
            found["still"] = still / moved
        if nonzero:
            found["underflow"] = small / nonzero
        return found or None

    def judge(self, history: History) -> Finding | None:
        """A finding for what was measured after the last step: two looks in a row, the offset at once."""
        t = len(history.loss) - 1
        said = {f.evidence.get("kind") for f in history.findings if f.name == "precision fault"}
        for kind in ("offset", "still", "underflow"):
            rows = history.measured.get(f"precision.{kind}", [])
            if kind in said or not rows or rows[-1][0] != t:
                continue
            value = rows[-1][1]
            if kind == "offset" and value > 0.05:
                return _offset(t, value)
            full = history.lr[t] > 0.5 * max(history.lr)  # a rate that falls to zero moves nothing in the end,
            full = full and median(history.loss[-20:]) > 0.3 * median(history.loss[:5])  # nor does a gradient that has got there
            if kind == "still" and value > self.most and len(rows) > 1 and rows[-2][1] > self.most and full:
                return _still(t, value)
            if kind == "underflow" and value > self.most and len(rows) > 1 and rows[-2][1] > self.most:
                return _underflow(t, value)
        return None


def _still(t: int, value: float) -> Finding:
    return Finding(
        t,
        "precision fault",
        "warn",
        f"step {t}: {value:.0%} of the parameters have a gradient and do not move: their steps are lost to rounding",
        "a step is smaller than half the distance to the next number that the type of the parameters can hold",
        "keep the parameters in float32 (model.float()); products may stay in bfloat16",
        {"kind": "still", "share": value},
    )


def _underflow(t: int, value: float) -> Finding:
    return Finding(
        t,
        "precision fault",
        "warn",
        f"step {t}: {value:.0%} of the gradients that are not zero are below the smallest normal number of float16",
        "float16 ends at 6e-5: smaller gradients lose their digits, then become zero",
        "scale the loss, use bfloat16, or keep the parameters in float32 (model.float())",
        {"kind": "underflow", "share": value},
    )


def _offset(t: int, value: float) -> Finding:
    return Finding(
        t,
        "precision fault",
        "warn",
        f"step {t}: a column of the data stands so far from zero that rounding is {min(value, 9.99):.0%} of its spread",
        "values with a large offset cannot be told apart in float32",
        "subtract the mean of each column in float64 before the data become float32",
        {"kind": "offset", "rounding": value},
    )


def offset_of(objective: Objective, examples: int) -> float:
    """Of a sample of the data, the largest eps |mean| / spread of a column that is not constant; 0 where nothing can be seen."""
    data = getattr(objective, "data", None)
    if data is None or len(data) < 2:
        return 0.0
    index = torch.arange(min(len(data), examples)) * max(len(data) // examples, 1)
    with chance.preserved(), torch.no_grad():
        batch = data(index, -1)
        return max((_worst(t) for t in (*tensors(batch.x), *tensors(batch.y))), default=0.0)


def _worst(values: Tensor) -> float:
    if not values.is_floating_point() or values.shape[0] < 2:
        return 0.0
    eps = torch.finfo(values.dtype).eps
    values = values[: max(NUMBERS // max(values[0].numel(), 1), 64)]
    columns = values.detach().double().flatten(1) if values.ndim > 1 else values.detach().double()[:, None]
    spread, mean = columns.std(0), columns.mean(0).abs()
    told = spread > 0
    return float((eps * mean[told] / spread[told]).max()) if bool(told.any()) else 0.0


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in a tensor, tuple, list or dict."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [t for part in parts for t in tensors(part)]


def sick() -> list[History]:
    """A run whose parameters stand still, one whose gradients underflow, one on data far from zero."""
    return [_run(still=0.9), _run(underflow=0.8), _run(offset=0.3)]


def well() -> list[History]:
    """Runs with the usual share of all three."""
    return [_run(still=0.2, underflow=0.1), _run(offset=1e-5)]


def _run(**shares: float) -> History:
    history = History()
    for t in range(200):
        history.add(Step(t, 2.0 * 0.998**t + 0.1, 1.0, 0.1, 32, t * 0.1, True, 0.0))
        if (t + 1) % 25 == 0:
            history.note(t, "precision", {k: v for k, v in shares.items() if k != "offset" or t < 25})
    return history
