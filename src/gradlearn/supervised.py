"""The task of a module of one's own: its data split, its loss per example, its score.

    losses = loss(model(x), y)

Behind `fit`; what does not fit together (shapes, labels, lengths) is said here, before anything is trained or written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.adapt import Examples, Subset, loss_of, moved, rows, to_data
from gradlearn.errors import InputTrouble
from gradlearn.loop import evaluating
from gradlearn.symbols import Batch, Data, Losses, Now, Score

PART = 1024  # examples scored at once


class Supervised:
    """The task of a module of one's own: outputs against targets, one loss per example."""

    name = "fit"

    def __init__(self, model: nn.Module, loss: Any, sets: Mapping[str, Data | None], class_weight: Any = None) -> None:
        self.own, self.sets = model, sets
        self.classes = loss in ("cross_entropy", nn.functional.cross_entropy) or isinstance(loss, nn.CrossEntropyLoss)
        self.plain = loss in ("mse", "squared_error", nn.functional.mse_loss) or isinstance(loss, nn.MSELoss)
        self.loss = loss_of(loss, class_weight, _ignored(sets["train"]) if self.classes else -100)

    def model(self, seed: int) -> nn.Module:
        """The user's module as it is."""
        return self.own

    def data(self, split: str) -> Data:
        """Train, valid or test examples."""
        found = self.sets[split]
        assert found is not None, f"no {split} data"
        return found

    def collect(self, model: nn.Module, now: Now) -> Data:
        """The same data in every round."""
        return self.data("train")

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        """The loss of each example."""
        return self.loss(call(model, batch.x), batch.y)

    def score(self, model: nn.Module, data: Data) -> Score:
        """Accuracy for classes, mean squared error for numbers, else the loss itself."""
        total = count = right = terms = 0.0
        for a in range(0, len(data), PART):
            batch = data(torch.arange(a, min(a + PART, len(data))), -1)
            output = call(model, batch.x)
            losses = self.loss(output, batch.y)
            total += losses.total.double().sum().item()
            count += losses.count.double().sum().item()
            if self.classes:
                hit, n = _hits(output, batch.y)
                right, terms = right + hit, terms + n
        loss = total / max(count, 1e-30)
        if self.classes:
            accuracy = right / max(terms, 1.0)
            return Score("accuracy", True, accuracy, {"accuracy": accuracy, "loss": loss})
        name = "mse" if self.plain else "loss"
        return Score(name, False, loss, {name: loss})


def split_of(whole: Data, valid: Any, seed: int) -> dict[str, Data | None]:
    """Train and validation data. Raises InputTrouble for a share or kind that cannot be."""
    n = len(whole)
    if isinstance(valid, str) and valid != "auto":
        raise InputTrouble(f"valid={valid!r}: expected 'auto', a share in (0, 1), data, or None")
    if valid is None or (isinstance(valid, str) and n < 50):
        return {"train": whole, "valid": None}
    if isinstance(valid, (str, int, float)):
        share = 0.1 if isinstance(valid, str) else float(valid)
        if not 0.0 < share < 1.0:
            raise InputTrouble(f"valid={valid}: a share must be in (0, 1)")
        labels = None
        if isinstance(whole, Examples) and isinstance(whole.y, Tensor) and whole.y.ndim == 1 and not whole.y.is_floating_point():
            labels = whole.y.numpy()
        train, held = (torch.from_numpy(r) for r in rows(n, share, labels, seed))
        if isinstance(whole, Examples):  # one copy now, so that every batch is one plain slice
            return {"train": _taken(whole, train), "valid": _taken(whole, held)}
        return {"train": Subset(whole, train), "valid": Subset(whole, held)}
    return {"train": whole, "valid": to_data(valid)}


def _taken(data: Examples, index: Tensor) -> Examples:
    batch = data(index, -1)
    return Examples(batch.x, batch.y)


def _ignored(train: Data | None) -> int | None:
    """-100 if a target says so; None where no target does, which saves a pass over each batch."""
    if isinstance(train, Examples) and isinstance(train.y, Tensor) and train.y.numel():
        return -100 if train.y.is_floating_point() or bool((train.y < 0).any()) else None
    return -100


def try_out(task: Supervised, model: nn.Module) -> None:
    """One forward pass on two examples, before anything is written: shapes and labels that do not fit are said here."""
    data = task.data("train")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if isinstance(data, Examples) and data.y is None:
        raise InputTrouble("data: y is None; give (x, y)")
    batch = data(torch.arange(min(2, len(data))), chance.key(0, "try"))
    if device.type != "cpu":
        batch = Batch(moved(batch.x, device), moved(batch.y, device), batch.index, batch.draw)
    with evaluating(model):
        output = call(model, batch.x)
        if task.classes and isinstance(data, Examples):
            _check_labels(output, data.y)
        task.loss(output, batch.y)


def _check_labels(output: Any, y: Any) -> None:
    if not (isinstance(output, Tensor) and isinstance(y, Tensor)) or y.is_floating_point() or output.ndim < 2:
        return
    classes = output.shape[1]
    lowest, highest = int(y[y != -100].min()), int(y.max())
    if classes > 1 and not 0 <= lowest <= highest < classes:
        bad = highest if highest >= classes else lowest
        raise InputTrouble(
            f"data: label {bad} outside 0..{classes - 1}, the model has {classes} outputs; fix the labels or the model"
        )


def call(model: nn.Module, x: Any) -> Any:
    """model(x), model(*x) for a tuple, model(**x) for a dict."""
    if isinstance(x, dict):
        return model(**x)
    if isinstance(x, tuple):
        return model(*x)
    return model(x)


def _hits(output: Tensor, target: Tensor) -> tuple[float, float]:
    """(right, counted) of classifications; -100 is not counted."""
    if output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1):
        guess, truth = (output.flatten() > 0).long(), target.flatten().round().long()
    else:
        guess = output.argmax(1)
        truth = target.argmax(1) if target.is_floating_point() else target
    counted = truth != -100
    return float(((guess == truth) & counted).sum()), float(counted.sum())
