"""The data of `workloads.py`: small cuts of real sets and three made-up ones, as tensors, the same in every process.

Each function gives ((x, y) for training, (x, y) for validation). Pictures are scaled to 0..1 and shifted by one constant, as any
user would; tables are standardised on the training rows, but for the breast cancer set, which is left as it comes.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from measure import ROOT

Pair = tuple[Any, Any]  # x (a tensor, or a tuple of them) and y
Sets = tuple[Pair, Pair]
FOLDER = ROOT.parent / "shared" / "data"
PAD, UNKNOWN, START = 0, 1, 2


def cached(make: Callable[[], Sets]) -> Callable[[], Sets]:
    """Made once a process."""
    return lru_cache(maxsize=1)(make)


def parted(x: np.ndarray, y: np.ndarray, train: int, valid: int, seed: int = 0) -> Sets:
    """So many rows for training and for validation, drawn once and for all."""
    order = np.random.default_rng(seed).permutation(len(x))
    parts = order[:train], order[train : train + valid]
    (a, b), (c, d) = ((torch.from_numpy(x[rows]), torch.from_numpy(y[rows])) for rows in parts)
    return (a, b), (c, d)


def standardised(sets: Sets, target: bool = False) -> Sets:
    """Columns (and, if asked, the target) to mean 0 and spread 1 on the training rows."""
    (x, y), (vx, vy) = sets
    mean, spread = x.mean(0), x.std(0).clamp(min=1e-6)
    center, scale = (y.mean(), y.std()) if target else (0.0, 1.0)
    return ((x - mean) / spread, (y - center) / scale if target else y), (
        (vx - mean) / spread,
        (vy - center) / scale if target else vy,
    )


@cached
def digits() -> Sets:
    """Scikit-learn's digits, pixels 0..1: 1200 and 597."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return parted((x / 16.0).astype(np.float32), y.astype(np.int64), 1200, 597)


@lru_cache(maxsize=1)
def _idx() -> tuple[np.ndarray, np.ndarray]:
    def read(name: str, header: int) -> np.ndarray:
        with gzip.open(FOLDER / "fashion-mnist" / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=header)

    return read("train-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28), read("train-labels-idx1-ubyte.gz", 8)


def fashion(train: int, valid: int, seed: int = 0) -> Sets:
    """Fashion-MNIST, pixels -0.5..0.5."""
    pixels, labels = _idx()
    rows = np.random.default_rng(seed).permutation(len(labels))[: train + valid]
    return parted(pixels[rows].astype(np.float32) / 255.0 - 0.5, labels[rows].astype(np.int64), train, valid)


@cached
def fashion_many() -> Sets:
    """10,000 and 4,000."""
    return fashion(10_000, 4000)


@cached
def fashion_few() -> Sets:
    """5,000 and 4,000 others."""
    return fashion(5000, 4000, 1)


@cached
def fashion_flat() -> Sets:
    """5,000 and 2,000 as rows of 784 pixels 0..1, with the pictures themselves as targets."""
    (x, _), (vx, _) = fashion(5000, 2000, 2)
    x, vx = x.flatten(1) + 0.5, vx.flatten(1) + 0.5
    return (x, x), (vx, vx)


@cached
def fashion_rows() -> Sets:
    """5,000 as rows of 784 pixels 0..1; the same ones again, since what is asked is the training loss."""
    (x, y), _ = fashion(5000, 0, 3)
    pair = x.flatten(1) + 0.5, y
    return pair, pair


@cached
def cifar() -> Sets:
    """CIFAR-10, 5,000 and 4,000, pixels -0.5..0.5."""
    import pyarrow.parquet as parquet
    from PIL import Image

    def read(name: str, count: int) -> Pair:
        table = next(parquet.ParquetFile(FOLDER / "cifar10" / name).iter_batches(batch_size=count)).to_pydict()
        pictures = [np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")) for cell in table["image"]]
        x = torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 255.0 - 0.5)
        return x, torch.tensor(table["label"])

    return read("train.parquet", 5000), read("test.parquet", 4000)


def numbered(texts: Iterable[Sequence[str]], most: int) -> dict[str, int]:
    """The most frequent words, by number from 3."""
    counts = Counter(word for text in texts for word in text)
    return {word: k + 3 for k, (word, _) in enumerate(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most])}


def padded(texts: Iterable[Sequence[str]], number: dict[str, int], length: int) -> Tensor:
    """(n, length) int64."""
    rows = [[number.get(word, UNKNOWN) for word in text[:length]] for text in texts]
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])


@cached
def reviews() -> Sets:
    """SST-2: the 6,919 sentences of train, 18 tokens of a vocabulary of 2,000; dev and test together."""

    def read(name: str) -> tuple[list[list[str]], list[int]]:
        lines = [line.rsplit("\t", 1) for line in (FOLDER / "sst2" / name).read_text().splitlines() if "\t" in line]
        return [text.split() for text, _ in lines], [int(label) for _, label in lines]

    (texts, labels), (more, other), (last, others) = map(read, ("train.tsv", "dev.tsv", "test.tsv"))
    number = numbered(texts, 1997)
    return (padded(texts, number, 18), torch.tensor(labels)), (padded(more + last, number, 18), torch.tensor(other + others))


def _lines(name: str, count: int) -> list[str]:
    with gzip.open(FOLDER / "multi30k" / name, "rt", encoding="utf-8") as file:
        return [line.strip().lower() for line in islice(file, count)]


@cached
def translations() -> Sets:
    """Multi30k, English and German: 6,000 pairs and 400, 13 tokens of vocabularies of 1,000; x = (source, target so far)."""

    def words(name: str, count: int) -> list[list[str]]:
        return [re.findall(r"\w+|[^\w\s]", line) for line in _lines(name, count)]

    source, target = words("train.en.gz", 6000), words("train.de.gz", 6000)
    numbers = numbered(source, 997), numbered(target, 997)

    def pair(a: list[list[str]], b: list[list[str]]) -> Pair:
        x, y = padded(a, numbers[0], 13), padded(b, numbers[1], 13)
        return (x, shifted(y)), y

    return pair(source, target), pair(words("val.en.gz", 400), words("val.de.gz", 400))


def shifted(y: Tensor) -> Tensor:
    """What a decoder has seen before it says y."""
    return torch.cat([torch.full_like(y[:, :1], START), y[:, :-1]], 1)


@cached
def letters() -> Sets:
    """Multi30k's English captions as letters: 4,000 rows of 32 and 1,000; the next letter is asked."""
    text = "\n".join(_lines("train.en.gz", 4000))
    number = numbered([text], 61)
    codes = torch.tensor([number.get(c, UNKNOWN) for c in text[: 5000 * 33]]).view(5000, 33)
    return (codes[:4000, :-1], codes[:4000, 1:]), (codes[4000:, :-1], codes[4000:, 1:])


@cached
def reversals() -> Sets:
    """Made up: 6,000 and 1,000 rows of 10 letters of 16 and the same backwards, a tenth of the targets replaced at random."""
    g = torch.Generator().manual_seed(0)
    x = torch.randint(3, 19, (7000, 10), generator=g)
    y = torch.where(torch.rand(x.shape, generator=g) < 0.1, torch.randint(3, 19, x.shape, generator=g), x.flip(1))
    whole = shifted(y)
    return ((x[:6000], whole[:6000]), y[:6000]), ((x[6000:], whole[6000:]), y[6000:])


def _friedman(kind: int, n: int, noise: float) -> Sets:
    from sklearn import datasets

    x, y = getattr(datasets, f"make_friedman{kind}")(n_samples=2 * n, noise=noise, random_state=0)
    return standardised(parted(x.astype(np.float32), y.astype(np.float32)[:, None], n, n), target=True)


@cached
def friedman() -> Sets:
    """Friedman's first function of 10 columns, noise 1: 1,000 and 1,000, target standardised."""
    return _friedman(1, 1000, 1.0)


@cached
def impedance() -> Sets:
    """Friedman's second function, the impedance of a circuit, noise 60: 3,000 and 3,000, target standardised."""
    return _friedman(2, 3000, 60.0)


@cached
def diabetes() -> Sets:
    """Scikit-learn's diabetes: 300 patients and 142, target standardised."""
    from sklearn.datasets import load_diabetes

    table: Any = load_diabetes()
    x, y = (np.asarray(table[name], np.float32) for name in ("data", "target"))
    return standardised(parted(x, y[:, None], 300, 142), target=True)


@cached
def cancer() -> Sets:
    """Breast cancer as it comes, columns from 0.001 to 4,000; the same rows again: what is asked is the training loss."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    pair = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32)[:, None])
    return pair, pair


@cached
def adult() -> Sets:
    """Census rows, 8,000 and 8,000: x = (6 numbers standardised, 8 categories by number); income above 50K."""

    def read(name: str, count: int) -> list[list[str]]:
        with (FOLDER / "adult" / name).open(newline="") as file:
            rows = (row for row in csv.reader(file, skipinitialspace=True) if len(row) == 15)
            return list(islice(rows, count))

    rows, others = read("adult-train.csv", 8000), read("adult-test.csv", 8000)
    numbers = (0, 2, 4, 10, 11, 12)
    words = [k for k in range(14) if k not in numbers]
    codes = {k: {word: i + 1 for i, word in enumerate(sorted({row[k] for row in rows}))} for k in words}

    def columns(some: list[list[str]]) -> tuple[np.ndarray, Tensor, Tensor]:
        x = np.asarray([[float(row[k]) for k in numbers] for row in some], np.float32)
        kinds = torch.tensor([[codes[k].get(row[k], 0) for k in words] for row in some])
        return x, kinds, torch.tensor([int(row[14].startswith(">")) for row in some])

    (x, kinds, y), (vx, vkinds, vy) = columns(rows), columns(others)
    (a, _), (b, _) = standardised(((torch.from_numpy(x), None), (torch.from_numpy(vx), None)))
    return ((a, kinds), y), ((b, vkinds), vy)
