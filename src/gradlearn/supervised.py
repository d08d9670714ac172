"""The task of a module of one's own: its data split, its loss per example, its score.

    losses = loss(model(x), y)

Behind `fit`; what does not fit together (shapes, labels, lengths) is said here, before anything is trained or written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.adapt import SHORT, Examples, Subset, leaves, loss_of, moved, rows, to_data
from gradlearn.errors import InputTrouble
from gradlearn.find import is_penalty, names
from gradlearn.loop import evaluating
from gradlearn.plan import Plan
from gradlearn.symbols import Batch, Data, Losses, Now, Score

if TYPE_CHECKING:
    from gradlearn.scales import Side

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
PART = 1024  # examples scored at once


class Supervised:
    """The task of a module of one's own: outputs against targets, one loss per example."""

    name = "fit"

    def __init__(self, model: nn.Module, loss: Any, sets: Mapping[str, Data | None], class_weight: Any = None) -> None:
        self.own, self.sets, self.given, self.class_weight = model, sets, loss, class_weight
        self.classes = loss in ("cross_entropy", nn.functional.cross_entropy) or isinstance(loss, nn.CrossEntropyLoss)
        self.plain = loss in ("mse", "squared_error", nn.functional.mse_loss) or isinstance(loss, nn.MSELoss)
        self.ignore = loss.ignore_index if isinstance(loss, nn.CrossEntropyLoss) else _ignored(sets.values())
        self.loss = loss_of(loss, class_weight, self.ignore)
        self.entrance: Side | None = None  # how inputs are scaled while the module is trained, and targets: `scales.py`
        self.exit: Side | None = None
        self.each = True  # whether each example has a loss of its own

    def use(self, plan: Plan) -> None:
        """Take over the options of a loss given by its name. Raises InputTrouble for options of another one."""
        own = SHORT.get(self.given, self.given) if isinstance(self.given, str) else ""
        for name in (name for name in names("objective") if not is_penalty(name)):
            options = plan.options(name)
            if options and name != own:
                raise InputTrouble(f"--{name}.{next(iter(options))}: the loss of this run is not {name!r}; leave it out")
            if options:
                self.loss = loss_of(self.given, self.class_weight, self.ignore, options)

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
        return self.loss(self.output(model, batch.x), batch.y)

    def output(self, model: nn.Module, x: Any) -> Any:
        """What the losses compare."""
        return call(model, x) if torch.is_grad_enabled() else outputs(model, x)

    def compare(self, output: Any, y: Any) -> Losses:
        """The loss of each example, from outputs."""
        return self.loss(output, y)

    def score(self, model: nn.Module, data: Data) -> Score:
        """Accuracy for classes, mean squared error for numbers, else the loss itself."""
        total = count = right = terms = 0.0
        for a in range(0, len(data), PART):
            batch = data(torch.arange(a, min(a + PART, len(data))), -1)
            output = outputs(model, batch.x)
            losses = self.loss(output, batch.y)
            total += losses.total.double().sum().item()
            count += losses.count.double().sum().item()
            if self.classes:
                hit, n = _hits(output, batch.y, self.ignore)
                right, terms = right + hit, terms + n
        loss = total / max(count, 1e-30)
        if self.exit is not None:  # scores are told in the user's own unit
            loss *= self.exit.spread.item() ** 2
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
    return Examples(batch.x, batch.y, batch.index)


def _ignored(sets: Iterable[Data | None]) -> int | None:
    """-100 if a target may say so; None where no target does, which saves a pass over each batch."""
    targets = [data.y if isinstance(data, Examples) else None for data in sets if data is not None]
    plain = all(isinstance(y, Tensor) and not y.is_floating_point() and not bool((y < 0).any()) for y in targets)
    return None if plain else -100


def try_out(task: Supervised, model: nn.Module) -> None:
    """One forward pass on two examples, before anything is written: shapes and labels that do not fit are said here."""
    data = task.data("train")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if isinstance(data, Examples) and data.y is None:
        raise InputTrouble("data: y is None; give (x, y)")
    batch = data(torch.arange(min(2, len(data))), chance.key(0, "try"))
    if device.type != "cpu":
        batch = Batch(moved(batch.x, device), moved(batch.y, device), batch.index, batch.draw)
    with evaluating(model), torch.enable_grad():
        try:
            output = call(model, batch.x)
        except (RuntimeError, TypeError, IndexError) as error:
            raise InputTrouble(f"model: cannot take these data: {str(error).splitlines()[0]} (x is {_kind(batch.x)})") from error
        if task.classes and isinstance(output, Tensor):
            _check_classes(task, output)
        try:
            total = task.loss(output, batch.y).total
        except InputTrouble:
            raise
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            raise InputTrouble(f"loss: {str(error).splitlines()[0]} ({_kind(output)} against {_kind(batch.y)})") from error
    task.each = total.ndim > 0 and (len(total) < 2 or total.stride(0) > 0)
    if not total.requires_grad and any(p.requires_grad for p in model.parameters()):
        raise InputTrouble("loss: does not depend on any parameter of the model; compute it from the model's output")


def operations(task: Supervised, model: nn.Module) -> float:
    """Floating-point operations of one example in a training step, about: forward, and twice that backward.

    Each matrix of a layer counts once for each place of its output (a pixel, a word); torch's own counter loads its compiler, 5 s.
    """
    found = 0.0

    def note(module: nn.Module, _: Any, output: Any) -> None:
        nonlocal found
        weights = sum(p.numel() for p in module._parameters.values() if p is not None and p.ndim >= 2)
        made = [t for t in leaves(output) if t.ndim]
        if weights and made and not isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            channels = made[0].shape[1 if isinstance(module, _CONVOLUTIONS) and made[0].ndim > 1 else -1]
            found += 2.0 * weights * made[0].numel() / max(channels, 1)

    data = task.data("train")
    batch = data(torch.arange(min(2, len(data))), -1)
    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with evaluating(model):
            outputs(model, moved(batch.x, next((p.device for p in model.parameters()), torch.device("cpu"))))
    finally:
        for hook in hooks:
            hook.remove()
    return 3.0 * found / max(len(batch.index), 1)


def _kind(value: Any) -> str:
    tensors = leaves(value)
    return ", ".join(f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in tensors) or type(value).__name__


def _check_classes(task: Supervised, output: Tensor) -> None:
    """Labels and class weights fit the number of outputs; one output is a model of two classes."""
    outputs = 1 if output.ndim == 1 else output.shape[1]
    classes = max(outputs, 2)
    if task.class_weight is not None and len(task.class_weight) != classes:
        raise InputTrouble(f"class_weight: {len(task.class_weight)} weights for {classes} classes; give one for each")
    for data in task.sets.values():
        y = data.y if isinstance(data, Examples) else None
        if not isinstance(y, Tensor) or y.is_floating_point():
            continue
        kept = y if task.ignore is None else y[y != task.ignore]
        if kept.numel() == 0:
            raise InputTrouble("data: every label is ignored; give some that are classes")
        lowest, highest = int(kept.min()), int(kept.max())
        if not 0 <= lowest <= highest < classes:
            bad, s = highest if highest >= classes else lowest, "s" if outputs > 1 else ""
            what = f"label {bad} outside 0..{classes - 1}, the model has {outputs} output{s}"
            raise InputTrouble(f"data: {what}; fix the labels or the model")


def call(model: nn.Module, x: Any) -> Any:
    """model(x), model(*x) for a tuple, model(**x) for a dict."""
    if isinstance(x, dict):
        return model(**x)
    if isinstance(x, tuple):
        return model(*x)
    return model(x)


def outputs(model: nn.Module, x: Any) -> Any:
    """What a model gives where no gradients are wanted; one that differentiates inside itself is let do so."""
    try:
        return call(model, x)
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
    with torch.enable_grad():
        return _detached(call(model, x))


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {k: _detached(v) for k, v in value.items()}
    return type(value)(_detached(v) for v in value) if isinstance(value, (tuple, list)) else value


def _hits(output: Tensor, target: Tensor, ignore: int | None) -> tuple[float, float]:
    """(right, counted) of classifications; what is ignored is not counted."""
    if output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1):
        guess, truth = (output.flatten() > 0).long(), target.flatten().round().long()
    else:
        guess = output.argmax(1)
        truth = target.argmax(1) if target.is_floating_point() else target
    counted = torch.ones_like(truth, dtype=torch.bool) if ignore is None else truth != ignore
    return float(((guess == truth) & counted).sum()), float(counted.sum())


def predict(model: nn.Module, x: Any) -> Tensor:
    """Outputs of a module for x in evaluation mode, in batches of 1,024, on the module's device: (n, ...) on the CPU."""
    data = Examples(x, None)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    found = []
    with evaluating(model):
        for a in range(0, len(data), 1024):
            part = data(torch.arange(a, min(a + 1024, len(data))), -1).x
            found.append(outputs(model, moved(part, device)).cpu())
    return torch.cat(found)
