"""Regularisation by dials: what `decay`, `dropout`, `smooth`, `mix`, `noise`, `augment` do to update, module, loss and batch.

    decay    weight_decay of every group <- its own * decay
    dropout  1 - p <- (1 - p) (1 - dropout)                            of the module's dropout layers, while it is trained
    smooth   1 - s <- (1 - s) (1 - smooth)                             label smoothing of a cross-entropy
    mix      x <- lam x + (1 - lam) x[perm],  loss <- lam loss(y) + (1 - lam) loss(y[perm]),   lam ~ Beta(mix, mix) per example
    noise    x <- x + noise * spread * xi,    xi ~ N(0, 1),   spread of each column over the training data
    augment  strength of the images task's augmentation <- its own * augment

Neutral dials (1, 0, 0, 0, 0, 1) change no bit and cost nothing. Targets that are numbers are mixed themselves, classes by their
losses. Every draw is a function of the batch's draw alone. Zhang et al., "mixup", arXiv 1710.09412; Srivastava et al., "Dropout",
JMLR 2014; Szegedy et al., "Rethinking the Inception architecture", arXiv 1512.00567. `remedy/regularise.py` turns the dials by the
gap between training and validation; that is what they are for. A run that must have one of them from the start has the options of
its own model, loss and update.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.adapt import leaves, select
from gradlearn.symbols import Batch, Controls, Data, Losses

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
LOOK = 2000  # training examples that tell the spread of a column


def ways(task: Any, model: nn.Module, update: Any, data: Any) -> list[str]:
    """Names of the dials that do something here: what the update, the module, the loss and the data have room for."""
    found = ["decay"] if any(group.get("weight_decay", 0.0) > 0.0 for group in update.param_groups) else []
    if any(isinstance(m, DROPOUTS) for m in model.modules()):
        found.append("dropout")
    if not hasattr(task, "compare"):
        return found
    sample = data(torch.arange(min(2, len(data))), -1)
    if mixable(sample) and getattr(task, "each", True):
        found.append("mix")
    if hasattr(task.loss, "label_smoothing") and isinstance(sample.y, Tensor) and not sample.y.is_floating_point():
        found.append("smooth")
    if getattr(data, "adjustable", False):
        found.append("augment")
    return found


def forgetting(update: Any, steps: int) -> float:
    """The sum of lr * weight_decay over a run whose rate falls in a straight line, of the group where it is largest."""
    return 0.5 * steps * max((g["initial_lr"] * g.get("weight_decay", 0.0) for g in update.param_groups), default=0.0)


def mixable(batch: Batch) -> bool:
    """Whether examples can be mixed: every input a number that can change a little, every target a number or one class."""
    inputs = leaves(batch.x)
    return bool(inputs) and all(t.is_floating_point() or t.dtype == torch.uint8 for t in inputs) and isinstance(batch.y, Tensor)


def settle(controls: Controls, update: Any, data: Any) -> None:
    """Bring the dials that others keep to where they are kept: the weight decay of the groups, the strength of the data."""
    for group in update.param_groups:
        if controls.decay != 1.0 or "initial_decay" in group:
            own = group.setdefault("initial_decay", group.get("weight_decay", 0.0))
            if own:
                group["weight_decay"] = own * controls.decay
    while not hasattr(data, "strength") and hasattr(data, "data"):
        data = data.data  # placed on a device, passed in pieces
    if hasattr(data, "strength"):
        data.strength = controls.augment


class Regular:
    """The losses of a batch under the dials, for one task and its training data."""

    def __init__(self, task: Any, model: nn.Module, data: Data | None) -> None:
        self.task, self.model, self.data = task, model, data
        self._spread: list[Tensor] | None = None

    def __call__(self, batch: Batch, controls: Controls) -> Losses:
        """The losses; the module and the loss are as before when this returns."""
        with dropped(self.model, controls.dropout), smoothed(getattr(self.task, "loss", None), controls.smooth):
            if not hasattr(self.task, "compare"):
                return self.task.losses(self.model, batch)
            if controls.noise:
                batch = noisy(batch, controls.noise, self.spread())
            if controls.mix and batch.n > 1 and mixable(batch):
                return mixed(self.task, self.model, batch, controls.mix)
            return self.task.losses(self.model, batch)

    def spread(self) -> list[Tensor]:
        """Of each column of each input, over training examples evenly spread over the data."""
        if self._spread is None:
            assert self.data is not None
            rows = torch.linspace(0, len(self.data) - 1, min(len(self.data), LOOK)).long()
            self._spread = [t.std(0, correction=0) for t in leaves(self.data(rows, -1).x) if t.is_floating_point()]
        return self._spread


def noisy(batch: Batch, noise: float, spread: list[Tensor]) -> Batch:
    """The batch with noise on its inputs, relative to the spread of each column."""
    draws = np.random.Generator(np.random.Philox(key=chance.key(batch.draw, "noise")))
    left = iter(spread)

    def touched(t: Tensor) -> Tensor:
        if not t.is_floating_point():
            return t
        xi = torch.from_numpy(draws.standard_normal(t.shape, dtype=np.float32))
        return t + noise * next(left).to(t) * xi.to(t)

    return batch._replace(x=_each(batch.x, touched))


def mixed(task: Any, model: nn.Module, batch: Batch, alpha: float) -> Losses:
    """Mixup: the losses of mixed examples."""
    n = batch.n
    draws = np.random.Generator(np.random.Philox(key=chance.key(batch.draw, "mix")))
    perm = torch.from_numpy(draws.permutation(n)).to(leaves(batch.x)[0].device)
    lam = torch.from_numpy(draws.beta(alpha, alpha, n))

    def both(t: Tensor) -> Tensor:
        wide = t if t.is_floating_point() else t.float()
        return torch.lerp(wide.index_select(0, perm), wide, _along(lam, wide))

    output = task.output(model, _each(batch.x, both))
    if batch.y.is_floating_point():
        return task.compare(output, both(batch.y))
    one, other = task.compare(output, batch.y), task.compare(output, select(batch.y, perm))
    total, count = (torch.lerp(b, a, _along(lam, a)) for a, b in zip(one[:2], other[:2], strict=True))
    return Losses(total, count)


def _along(lam: Tensor, t: Tensor) -> Tensor:
    return lam.to(t.dtype).to(t.device).reshape(-1, *(1,) * (t.ndim - 1))


def _each(value: Any, change: Any) -> Any:
    """Every tensor of a tensor, tuple or dict, changed; in the order of `leaves`."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {k: _each(v, change) for k, v in value.items()}
    return type(value)(_each(v, change) for v in value)


@contextmanager
def dropped(model: nn.Module, dropout: float) -> Iterator[None]:
    """Inside, the module's dropout layers drop more."""
    if not dropout:
        yield
        return
    layers = [(m, m.p) for m in model.modules() if isinstance(m, DROPOUTS)]
    try:
        for layer, p in layers:
            layer.p = 1.0 - (1.0 - p) * (1.0 - dropout)
        yield
    finally:
        for layer, p in layers:
            layer.p = p


@contextmanager
def smoothed(loss: Any, smooth: float) -> Iterator[None]:
    """Inside, the labels of a cross-entropy are smoother."""
    if not smooth or not hasattr(loss, "label_smoothing"):
        yield
        return
    own = loss.label_smoothing
    try:
        loss.label_smoothing = 1.0 - (1.0 - own) * (1.0 - smooth)
        yield
    finally:
        loss.label_smoothing = own
