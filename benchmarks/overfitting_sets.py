"""The sets and models of `overfitting.py`: few examples of eight real sets, and a model for each that can learn them by heart.

Each set gives ((x, y) to train on, (x, y) for validation, (x, y) for the test), drawn anew for each seed. Tables are standardised
on the training rows; pictures are scaled to -0.5..0.5; of sentences the words of the training sentences are known.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from measure import ROOT

FOLDER = ROOT.parent / "shared" / "data"
Pair = tuple[Tensor, Tensor]


class Task(NamedTuple):
    """One of the eight."""

    name: str
    model: str
    sizes: tuple[int, int, int]  # examples to train on, for validation, for the test
    data: Callable[[int], tuple[Pair, Pair, Pair]]  # of a seed
    make: Callable[[int, float], nn.Module]  # of a seed and a dropout probability
    loss: str = "cross_entropy"


def parted(x: np.ndarray, y: np.ndarray, sizes: tuple[int, int, int], seed: int) -> tuple[Pair, Pair, Pair]:
    """So many rows of each kind, in an order drawn from the seed."""
    order = np.random.default_rng(seed).permutation(len(x))
    a, b = sizes[0], sizes[0] + sizes[1]
    parts = order[:a], order[a:b], order[b : b + sizes[2]]
    one, two, three = ((torch.from_numpy(x[rows]), torch.from_numpy(y[rows])) for rows in parts)
    return one, two, three


def standardised(sets: tuple[Pair, Pair, Pair]) -> tuple[Pair, Pair, Pair]:
    """Columns, and a target that is a number, to mean 0 and spread 1 on the training rows."""
    x, y = sets[0]
    mean, spread = x.mean(0), x.std(0)
    spread = torch.where(spread < 1e-6, 1.0, spread)
    centre, scale = (y.mean(), y.std()) if y.is_floating_point() else (0, 1)
    one, two, three = (((a - mean) / spread, (b - centre) / scale if y.is_floating_point() else b) for a, b in sets)
    return one, two, three


def table(name: str, sizes: tuple[int, int, int]) -> Callable[[int], tuple[Pair, Pair, Pair]]:
    """A table of scikit-learn's."""

    def load(seed: int) -> tuple[Pair, Pair, Pair]:
        import sklearn.datasets

        x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
        target = y.astype(np.float32)[:, None] if name == "diabetes" else y.astype(np.int64)
        return standardised(parted(x.astype(np.float32), target, sizes, seed))

    return load


@lru_cache(maxsize=1)
def _fashion() -> tuple[np.ndarray, np.ndarray]:
    def read(name: str, header: int) -> np.ndarray:
        with gzip.open(FOLDER / "fashion-mnist" / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=header)

    return read("train-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28), read("train-labels-idx1-ubyte.gz", 8)


@lru_cache(maxsize=1)
def _cifar() -> tuple[np.ndarray, np.ndarray]:
    import pyarrow.parquet as parquet
    from PIL import Image

    rows = next(parquet.ParquetFile(FOLDER / "cifar10" / "train.parquet").iter_batches(batch_size=6000)).to_pydict()
    pictures = [np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")) for cell in rows["image"]]
    return np.stack(pictures).transpose(0, 3, 1, 2), np.array(rows["label"])


def pictures(read: Callable[[], tuple[np.ndarray, np.ndarray]], sizes: tuple[int, int, int]) -> Callable[[int], Any]:
    """Pictures of either set."""

    def load(seed: int) -> tuple[Pair, Pair, Pair]:
        pixels, labels = read()
        rows = np.random.default_rng(seed).permutation(len(labels))[: sum(sizes)]
        return parted(pixels[rows].astype(np.float32) / 255.0 - 0.5, labels[rows].astype(np.int64), sizes, seed)

    return load


@lru_cache(maxsize=1)
def _sentences() -> tuple[list[list[str]], np.ndarray]:
    lines = [line.rsplit("\t", 1) for line in (FOLDER / "sst2" / "train.tsv").read_text().splitlines() if "\t" in line]
    return [text.split() for text, _ in lines], np.array([int(label) for _, label in lines])


def reviews(sizes: tuple[int, int, int]) -> Callable[[int], tuple[Pair, Pair, Pair]]:
    """Sentences of SST-2, 20 words each at most."""

    def load(seed: int) -> tuple[Pair, Pair, Pair]:
        texts, labels = _sentences()
        rows = np.random.default_rng(seed).permutation(len(texts))
        counts = Counter(word for row in rows[: sizes[0]] for word in texts[row])
        number = {word: k + 2 for k, (word, _) in enumerate(sorted(counts.items(), key=lambda p: (-p[1], p[0]))[:1998])}
        x = np.zeros((sum(sizes), 20), dtype=np.int64)
        for place, row in enumerate(rows[: sum(sizes)]):
            words = [number.get(word, 1) for word in texts[row][:20]]
            x[place, : len(words)] = words
        y = labels[rows[: sum(sizes)]].astype(np.int64)
        cuts = sizes[0], sizes[0] + sizes[1]
        one, two, three = (
            (torch.from_numpy(a), torch.from_numpy(b)) for a, b in zip(np.split(x, cuts), np.split(y, cuts), strict=True)
        )
        return one, two, three

    return load


NUMBERS = (0, 2, 4, 10, 11, 12)  # the columns of Adult that are numbers


@lru_cache(maxsize=1)
def _adult() -> tuple[list[list[str]], np.ndarray]:
    with (FOLDER / "adult" / "adult-train.csv").open() as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file) if len(row) == 15]
    return [row[:14] for row in rows], np.array([row[14] == ">50K" for row in rows], dtype=np.int64)


@lru_cache(maxsize=1)
def _categories() -> dict[tuple[int, str], int]:
    pairs = sorted({(c, row[c]) for row in _adult()[0] for c in range(14) if c not in NUMBERS})
    return {pair: k for k, pair in enumerate(pairs)}


def census(sizes: tuple[int, int, int]) -> Callable[[int], tuple[Pair, Pair, Pair]]:
    """Adult: numbers as they are, a column for each category."""

    def load(seed: int) -> tuple[Pair, Pair, Pair]:
        cells, labels = _adult()
        rows = np.random.default_rng(seed).permutation(len(cells))[: sum(sizes)]
        place = _categories()
        x = np.zeros((len(rows), len(NUMBERS) + len(place)), dtype=np.float32)
        for i, r in enumerate(rows):
            x[i, : len(NUMBERS)] = [float(cells[r][c]) for c in NUMBERS]
            for c in range(14):
                if c not in NUMBERS:
                    x[i, len(NUMBERS) + place[c, cells[r][c]]] = 1.0
        y, cuts = labels[rows], (sizes[0], sizes[0] + sizes[1])
        one, two, three = (
            (torch.from_numpy(a), torch.from_numpy(b)) for a, b in zip(np.split(x, cuts), np.split(y, cuts), strict=True)
        )
        return standardised((one, two, three))

    return load


def mlp(outputs: int, inputs: int) -> Callable[[int, float], nn.Module]:
    """Two hidden layers of 256."""

    def make(seed: int, p: float) -> nn.Module:
        torch.manual_seed(seed)
        first, second, last = nn.Linear(inputs, 256), nn.Linear(256, 256), nn.Linear(256, outputs)
        return nn.Sequential(first, nn.ReLU(), nn.Dropout(p), second, nn.ReLU(), nn.Dropout(p), last)

    return make


def conv(channels: int, side: int) -> Callable[[int, float], nn.Module]:
    """Two convolutions and a wide layer."""

    def make(seed: int, p: float) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(p),
            nn.Linear(32 * (side // 4) ** 2, 128),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(128, 10),
        )

    return make


class Reader(nn.Module):
    """An embedding, a GRU, the mean over its states."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.embedding, self.drop = nn.Embedding(2000, 64), nn.Dropout(p)
        self.gru, self.last = nn.GRU(64, 64, batch_first=True), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 20) words -> (n, 2) scores."""
        states = self.gru(self.drop(self.embedding(x)))[0]
        kept = (x > 0).unsqueeze(2).to(states.dtype)
        return self.last(self.drop((states * kept).sum(1) / kept.sum(1).clamp(min=1.0)))


def reader(seed: int, p: float) -> nn.Module:
    """The GRU."""
    torch.manual_seed(seed)
    return Reader(p)


def tasks() -> dict[str, Task]:
    """The eight, by name; those whose data are not here are left out."""
    found = [
        Task("digits", "MLP", (200, 200, 1397), table("digits", (200, 200, 1397)), mlp(10, 64)),
        Task("diabetes", "MLP", (150, 100, 192), table("diabetes", (150, 100, 192)), mlp(1, 10), "mse"),
        Task("cancer", "MLP", (100, 100, 369), table("breast_cancer", (100, 100, 369)), mlp(2, 30)),
        Task("wine", "MLP", (50, 40, 88), table("wine", (50, 40, 88)), mlp(3, 13)),
    ]
    sizes = (500, 300, 2000)
    if (FOLDER / "fashion-mnist").exists():
        found.append(Task("fashion", "conv", sizes, pictures(_fashion, sizes), conv(1, 28)))
    if (FOLDER / "cifar10").exists():
        found.append(Task("cifar", "conv", sizes, pictures(_cifar, sizes), conv(3, 32)))
    if (FOLDER / "sst2").exists():
        found.append(Task("reviews", "GRU", (500, 300, 4000), reviews((500, 300, 4000)), reader))
    if (FOLDER / "adult").exists():
        found.append(Task("adult", "MLP", (500, 300, 6000), census((500, 300, 6000)), mlp(2, len(NUMBERS) + len(_categories()))))
    return {task.name: task for task in found}
