"""What users bring - arrays, data sets, losses - made into `Data` and losses per example.

Arrays and tensors stay whole and are sliced; a torch `Dataset` is asked item by item, every time anew, because its items may be
random. A torch loss module is taken apart to one number per example; a callable may give (n,), (n, ...) or a single number.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.errors import InputTrouble
from gradlearn.find import find, is_penalty, names
from gradlearn.objective.cross_entropy import count_of
from gradlearn.objective.squared_error import align
from gradlearn.symbols import Batch, Data, Losses

LossOf = Callable[[Any, Any], Losses]
SHORT = {"mse": "squared_error"}


class Examples:
    """Tensors in memory: n examples, a batch is a slice.

    Args:
        x: a tensor (n, ...), or a tuple, list or dict of them.
        y: likewise, or None.
        numbers: (n,) int64, what the examples are called where they are part of a larger set; their places without.
    """

    def __init__(self, x: Any, y: Any, numbers: Tensor | None = None) -> None:
        self.numbers = numbers
        self.x, self.y = to_tensors(x), None if y is None else to_tensors(y)
        lengths = sorted({len(t) for t in leaves(self.x) + leaves(self.y)})
        if len(lengths) != 1:
            raise InputTrouble(f"data: arrays of different lengths {lengths}; give one row per example in each")
        if lengths[0] == 0:
            raise InputTrouble("data: no examples; give at least 2")
        self.n = lengths[0]

    def __len__(self) -> int:
        return self.n

    def __call__(self, index: Tensor, draw: int) -> Batch:
        """The rows of these indices."""
        numbers = index if self.numbers is None else self.numbers.index_select(0, index)
        return Batch(select(self.x, index), select(self.y, index), numbers, draw)

    def about(self, what: str) -> Tensor | None:
        """(n,) int64. Labels: y (n,). Lengths: targets (n, T) of at least 0, else tokens (n, T) up to the last that is not 0."""
        x, y = self.x, self.y
        if what == "labels":
            return y.long() if isinstance(y, Tensor) and y.ndim == 1 and not y.is_floating_point() else None
        if isinstance(y, Tensor) and y.ndim == 2 and not y.is_floating_point():
            return (y >= 0).sum(1)
        if not isinstance(x, Tensor) or x.ndim != 2 or x.is_floating_point():
            return None
        return ((x != 0) * torch.arange(1, x.shape[1] + 1)).amax(1)


class Deferred:
    """A batch of more examples than are made at once: looks like a `Batch`; each of its `pieces` is made when its turn comes.

    Args:
        data: where the examples come from.
        index: (n,) int64.
        draw: as for `Batch`; each piece has one of its own.
    """

    def __init__(self, data: Data, index: Tensor, draw: int) -> None:
        self.data, self.index, self.draw = data, index, draw
        self.n = index.shape[0]

    def pieces(self, size: int) -> Iterator[Batch]:
        """One piece after the other, of so many examples; 0: in one."""
        for k, index in enumerate(self.index.split(size or max(self.n, 1))):
            yield self.data(index, self.draw if self.draw < 0 else chance.key(self.draw, "piece", k))

    @property
    def x(self) -> Any:
        """All inputs at once, for what insists on them."""
        return self.data(self.index, self.draw).x

    @property
    def y(self) -> Any:
        """All targets at once."""
        return self.data(self.index, self.draw).y


class InPieces:
    """Other data; a batch of more than `most` examples is `Deferred`."""

    def __init__(self, data: Data, most: int) -> None:
        self.data, self.most = data, most

    def __len__(self) -> int:
        return len(self.data)

    def __call__(self, index: Tensor, draw: int) -> Any:
        """A `Batch`, or what looks like one."""
        return self.data(index, draw) if len(index) <= self.most else Deferred(self.data, index, draw)

    def about(self, what: str) -> Tensor | None:
        """As the data within."""
        return known_of(self.data, what)

    def __getattr__(self, name: str) -> Any:
        """`follow` and `until`, where the data within have them."""
        if name in ("follow", "until"):
            return getattr(self.data, name)
        raise AttributeError(name)


class Subset:
    """Some of the examples of other data, renumbered from 0."""

    def __init__(self, data: Data, rows: Tensor) -> None:
        self.data, self.rows = data, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, index: Tensor, draw: int) -> Batch:
        """The examples of these numbers."""
        return self.data(self.rows[index], draw)

    def about(self, what: str) -> Tensor | None:
        """As the data within."""
        found = known_of(self.data, what)
        return None if found is None else found[self.rows]


class Items:
    """A map-style torch `Dataset` of (x, y) items: asked anew for each batch, its random draws keyed by the batch."""

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any] | None = None) -> None:
        self.dataset, self.collate = dataset, collate or _stack

    def __len__(self) -> int:
        return len(self.dataset)

    def __call__(self, index: Tensor, draw: int) -> Batch:
        """Items of these indices, stacked."""
        with chance.preserved(), _seeded(draw):
            batch = self.collate([self.dataset[i] for i in index.tolist()])
        if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
            raise InputTrouble(f"data: an item of {type(self.dataset).__name__} is not a pair (x, y); return two values")
        # torch's collate makes a list of several inputs
        x, y = (tuple(v) if isinstance(v, list) and v and isinstance(v[0], Tensor) else v for v in batch)
        return Batch(to_tensors(x), to_tensors(y), index, draw)

    def about(self, what: str) -> Tensor | None:
        """An attribute of the data set with that name; torchvision calls labels `targets`."""
        found = getattr(self.dataset, what, getattr(self.dataset, "targets", None) if what == "labels" else None)
        return None if found is None else torch.as_tensor(found).long()


class OnDevice:
    """Other data whose batches arrive on a device; the data itself stays where it is."""

    def __init__(self, data: Data, device: torch.device | str) -> None:
        self.data, self.device = data, torch.device(device)

    def __len__(self) -> int:
        return len(self.data)

    def __call__(self, index: Tensor, draw: int) -> Batch:
        """The same examples; their indices stay on the CPU."""
        batch = self.data(index, draw)
        return Batch(moved(batch.x, self.device), moved(batch.y, self.device), batch.index, batch.draw)

    def about(self, what: str) -> Tensor | None:
        """As the data within."""
        return known_of(self.data, what)


def known_of(data: Data, what: str) -> Tensor | None:
    """(n,) int64: the "labels" or "lengths" of all examples, without making a batch; None where the data cannot say."""
    return data.about(what) if hasattr(data, "about") else None  # pyright: ignore[reportAttributeAccessIssue]


def about(data: Data, what: str) -> Tensor:
    """As `known_of`. Raises InputTrouble where the data cannot say."""
    found = known_of(data, what)
    if found is None:
        raise InputTrouble(f"--batches: needs the {what} of the examples, and these data have none; use --batches shuffle")
    return found


def placed(data: Data, device: str) -> Data:
    """The data as the device needs it: itself on the CPU."""
    return data if torch.device(device).type == "cpu" else OnDevice(data, device)


def moved(value: Any, device: torch.device) -> Any:
    """Every tensor in a tensor, tuple or dict, on the device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {k: moved(v, device) for k, v in value.items()}
    return tuple(moved(v, device) for v in value) if isinstance(value, tuple) else value


def to_data(data: Any) -> Data:
    """`Data` from (x, y), a torch Dataset or DataLoader, or something that is `Data` already.

    Raises:
        InputTrouble: none of these, or lengths that differ.
    """
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return Examples(data[0], data[1])
    if isinstance(data, dict) and {"x", "y"} <= data.keys():
        return Examples(data["x"], data["y"])
    if isinstance(getattr(data, "dataset", data), torch.utils.data.IterableDataset):
        raise InputTrouble("data: an IterableDataset has no length; give a Dataset with __len__ and __getitem__, or arrays")
    if isinstance(data, torch.utils.data.DataLoader):  # its data and its collate; the batches are ours
        return Items(data.dataset, data.collate_fn)
    if isinstance(data, torch.utils.data.TensorDataset):
        if len(data.tensors) != 2:
            raise InputTrouble(f"data: a TensorDataset of {len(data.tensors)} tensors; give one of (x, y)")
        return Examples(*data.tensors)
    if isinstance(data, torch.utils.data.Dataset):
        return Items(data)
    if isinstance(data, Data):
        return data
    raise InputTrouble(f"data: expected (x, y), a torch Dataset or DataLoader, got {type(data).__name__}; give a pair of arrays")


def to_tensors(value: Any) -> Any:
    """Arrays and lists as tensors (float64 arrays become float32), tuples and dicts item by item."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {k: to_tensors(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(to_tensors(v) for v in value)
    try:
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(array))
    except (TypeError, ValueError) as e:
        raise InputTrouble(f"data: {type(value).__name__} cannot be made a tensor ({e}); give numbers") from e


def leaves(value: Any) -> list[Tensor]:
    """All tensors in a tensor, tuple or dict."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for v in value.values() for t in leaves(v)]
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in leaves(v)]
    return []


def select(value: Any, index: Tensor) -> Any:
    """Rows of a tensor, or of each tensor in a tuple or dict."""
    if isinstance(value, Tensor):
        return value.index_select(0, index)
    if isinstance(value, dict):
        return {k: select(v, index) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(select(v, index) for v in value)
    return value


def _stack(items: list[Any]) -> Any:
    first = items[0]
    if isinstance(first, (tuple, list)):
        return tuple(_stack([item[k] for item in items]) for k in range(len(first)))
    if isinstance(first, dict):
        return {k: _stack([item[k] for item in items]) for k in first}
    if isinstance(first, Tensor):
        return torch.stack(items)
    return to_tensors(np.asarray(items))


class _seeded:
    """Inside: torch's, numpy's and Python's global generators start from the draw; numpy's and Python's are put back after."""

    def __init__(self, draw: int) -> None:
        self.draw = draw

    def __enter__(self) -> None:
        self.kept = (np.random.get_state(), random.getstate())  # noqa: NPY002 - users' items draw from it
        chance.reseed(self.draw, 1 << 20)
        seed = chance.key(self.draw, "items")
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)

    def __exit__(self, *_: object) -> None:
        np.random.set_state(self.kept[0])  # noqa: NPY002
        random.setstate(self.kept[1])


def loss_of(
    loss: str | Callable[..., Any], class_weight: Any = None, ignore: int | None = -100, options: Mapping[str, Any] | None = None
) -> LossOf:
    """A loss per example from a name (with the options of that plug-in), a torch loss module, or a callable (output, target).

    Raises:
        InputTrouble: an unknown name, or class weights for a loss that has none.
    """
    if isinstance(loss, nn.CrossEntropyLoss) and loss.reduction != "sum":
        weight = loss.weight if class_weight is None else class_weight
        return find("objective", "cross_entropy")(
            label_smoothing=loss.label_smoothing, class_weight=weight, ignore=loss.ignore_index
        )
    if loss in ("cross_entropy", nn.functional.cross_entropy):
        return find("objective", "cross_entropy")(class_weight=class_weight, ignore=ignore, **(options or {}))
    if class_weight is not None:
        raise InputTrouble("class_weight: only the cross_entropy loss has classes; leave it out")
    if isinstance(loss, str):
        known = [*(name for name in names("objective") if not is_penalty(name)), *SHORT]
        if loss not in known:
            from gradlearn.errors import nearest

            raise InputTrouble(f"loss {loss!r} is not known{nearest(loss, known)}")
        return find("objective", SHORT.get(loss, loss))(**(options or {}))
    if (isinstance(loss, nn.MSELoss) and loss.reduction != "sum") or loss is nn.functional.mse_loss:
        return find("objective", "squared_error")()
    if isinstance(loss, nn.Module) and hasattr(loss, "reduction"):
        return _taken_apart(loss)
    if callable(loss):
        return lambda output, target: _per_example(loss(output, _aligned(output, target)), output)
    raise InputTrouble(f"loss: expected a name, a torch loss or a callable, got {type(loss).__name__}")


def _taken_apart(loss: nn.Module) -> LossOf:
    """A torch loss with reduction 'none' inside; each example counts so that sum(total) / sum(count) is torch's own reduction."""
    single = copy.copy(loss)
    single.reduction = "none"  # type: ignore[assignment]

    def call(output: Any, target: Any) -> Losses:
        total, count, _ = _per_example(single(output, _aligned(output, target)), output)
        if loss.reduction == "sum":
            count = torch.full_like(count, 1.0 / len(count))
        elif loss.reduction == "batchmean":
            count = torch.ones_like(count)
        elif isinstance(loss, nn.NLLLoss):
            count = count_of(target, loss.weight, loss.ignore_index).to(total.dtype).reshape(len(count), -1).sum(1)
        return Losses(total, count)

    return call


def _aligned(output: Any, target: Any) -> Any:
    """(n,) against (n, 1) would broadcast to (n, n); of one kind they can only mean the same."""
    if isinstance(output, Tensor) and isinstance(target, Tensor) and output.is_floating_point() and target.is_floating_point():
        pair = (tuple(output.shape), tuple(target.shape))
        if pair[0] != pair[1] and (pair[0] == (*pair[1], 1) or pair[1] == (*pair[0], 1)):
            return align(output, target)
    return target


def _per_example(value: Any, output: Any) -> Losses:
    if not isinstance(value, Tensor):
        raise InputTrouble(f"loss: returned {type(value).__name__}, not a tensor; return one number or one per example")
    n = leaves(output)[0].shape[0]
    if value.ndim == 0:
        return Losses(value.expand(n), torch.ones(n, device=value.device))
    if value.shape[0] != n:
        raise InputTrouble(f"loss: returned shape {tuple(value.shape)} for {n} examples; return one number or one per example")
    terms = float(value[0].numel() if n else 1)
    total = value if value.ndim == 1 else value.flatten(1).sum(1)
    return Losses(total, torch.full((n,), terms, device=value.device))


def rows(n: int, share: float, labels: Sequence[int] | np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(train rows, valid rows), sorted: a seeded random share for validation, of each class alike where labels are given."""
    order = chance.permutation(n, seed, "valid")
    if labels is None:
        k = min(max(round(share * n), 1), n - 1)
        return np.sort(order[k:]), np.sort(order[:k])
    labels = np.asarray(labels)[order]
    held = np.zeros(n, dtype=bool)
    for c in np.unique(labels):
        mine = np.flatnonzero(labels == c)
        k = min(round(share * len(mine)), len(mine) - 1)
        held[mine[: max(k, 1 if len(mine) >= 3 else 0)]] = True
    if held.sum() < 0.5 * share * n:  # whole numbers that are no classes
        return rows(n, share, None, seed)
    return np.sort(order[~held]), np.sort(order[held])
