"""The data of the zoo: small sets, most of them real, as training and validation examples in tensors."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


class Set(NamedTuple):
    """Training examples (x, y) and validation examples (vx, vy); x a tensor, or (numbers, codes) for a table."""

    x: Any
    y: Tensor
    vx: Any
    vy: Tensor
    data: Any = None  # what `fit` is given in place of (x, y)

    @property
    def train(self) -> Any:
        """The data argument of `fit`."""
        return (self.x, self.y) if self.data is None else self.data


def taken(x: Any, index: Tensor) -> Any:
    """Rows of x."""
    return tuple(part[index] for part in x) if isinstance(x, tuple) else x[index]


def cut(x: Any, y: Any, held: int, seed: int = 0) -> Set:
    """Shuffled once, the last `held` for validation."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(y)))
    a, b = order[:-held], order[-held:]
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    return Set(x[a], y[a], x[b], y[b])


def standard(s: Set) -> Set:
    """Columns of mean 0 and deviation 1, as measured on the training examples."""
    mean, sd = s.x.mean(0), s.x.std(0).clamp_min(1e-6)
    return s._replace(x=(s.x - mean) / sd, vx=(s.vx - mean) / sd)


@lru_cache
def digits() -> Set:
    """1,200 + 597 digits 8 x 8 in [0, 1], flat; 3 of the 64 pixels are the same everywhere."""
    from sklearn.datasets import load_digits

    x, y = map(np.asarray, load_digits(return_X_y=True))
    return cut((x / 16.0).astype(np.float32), y, 597)


@lru_cache
def pixels() -> Set:
    """The digits as their own targets."""
    s = digits()
    return Set(s.x, s.x.clone(), s.vx, s.vx.clone())


@lru_cache
def breast() -> Set:
    """450 + 119 rows of 30 measurements of cells, standardised; benign or not."""
    return standard(raw_breast())


@lru_cache
def raw_breast() -> Set:
    """As measured: columns of deviation 0.003 to 570."""
    from sklearn.datasets import load_breast_cancer

    x, y = map(np.asarray, load_breast_cancer(return_X_y=True))
    return cut(x.astype(np.float32), y, 119)


@lru_cache
def diabetes() -> Set:
    """342 + 100 patients, 10 columns; the target standardised. A good model explains half of it."""
    from sklearn.datasets import load_diabetes

    x, y = map(np.asarray, load_diabetes(return_X_y=True))
    return standard(cut(x.astype(np.float32), ((y - y.mean()) / y.std()).astype(np.float32)[:, None], 100))


@lru_cache
def friedman(noise: float = 1.0, n: int = 1000) -> Set:
    """n + 500 rows of friedman1: 5 columns matter, 5 do not; the target standardised, with noise of this deviation in 4.9."""
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(n + 500, noise=noise, random_state=1)
    return standard(cut(x.astype(np.float32), ((y - y.mean()) / y.std()).astype(np.float32)[:, None], 500))


@lru_cache
def fashion() -> Set:
    """4,000 + 400 pictures 28 x 28 of clothes, standardised as a whole."""

    def read(name: str, axes: tuple[int, ...]) -> np.ndarray:
        raw = gzip.decompress((SHARED / "fashion-mnist" / name).read_bytes())
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(axes)).reshape(-1, *axes[1:])

    x, y = read("t10k-images-idx3-ubyte.gz", (0, 28, 28)), read("t10k-labels-idx1-ubyte.gz", (0,))
    return cut(((x[:4400, None] / 255.0 - 0.286) / 0.353).astype(np.float32), y[:4400].astype(np.int64), 400)


@lru_cache
def cifar() -> Set:
    """3,000 + 300 pictures 3 x 32 x 32, standardised as a whole."""
    import pyarrow.parquet
    from PIL import Image

    rows = next(pyarrow.parquet.ParquetFile(SHARED / "cifar10" / "test.parquet").iter_batches(3300)).to_pylist()
    x = np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows])
    x = ((x / 255.0 - 0.47) / 0.25).astype(np.float32).transpose(0, 3, 1, 2).copy()
    return cut(x, np.array([row["label"] for row in rows]), 300)


@lru_cache
def sentences() -> Set:
    """6,919 + 400 sentences of film reviews: 16 words of the 1,500 most frequent (1 = another, 0 = none); liked or not."""

    def read(name: str) -> list[tuple[list[str], int]]:
        rows = [line.rsplit("\t", 1) for line in (SHARED / "sst2" / name).read_text().splitlines()]
        return [(text.split(), int(label)) for text, label in rows]

    train, dev = read("train.tsv"), read("dev.tsv")[:400]
    common = Counter(word for words, _ in train for word in words).most_common(1498)
    number = {word: i + 2 for i, (word, _) in enumerate(common)}

    def coded(rows: list[tuple[list[str], int]]) -> tuple[Tensor, Tensor]:
        codes = [([number.get(w, 1) for w in words] + [0] * 16)[:16] for words, _ in rows]
        return torch.tensor(codes), torch.tensor([label for _, label in rows])

    return Set(*coded(train), *coded(dev))


@lru_cache
def adult() -> Set:
    """4,000 + 1,000 census rows: x = (6 standardised numbers, 8 codes of one common table); 24 % earn above 50,000 a year."""
    with (SHARED / "adult" / "adult-train.csv").open() as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file) if len(row) == 15][:5000]
    numeric = (0, 2, 4, 10, 11, 12)
    numbers = np.array([[float(row[k]) for k in numeric] for row in rows], np.float32)
    numbers[:, 3:5] = np.log1p(numbers[:, 3:5])
    numbers = (numbers - numbers[:4000].mean(0)) / numbers[:4000].std(0)
    known: dict[tuple[int, str], int] = {}
    codes = [[known.setdefault((k, row[k]), len(known)) for k in range(14) if k not in numeric] for row in rows]
    x, c, y = torch.from_numpy(numbers), torch.tensor(codes), torch.tensor([int(row[14] == ">50K") for row in rows])
    return Set((x[:4000], c[:4000]), y[:4000], (x[4000:], c[4000:]), y[4000:])


@lru_cache
def parity() -> Set:
    """8,000 + 500 words of 16 bits (-1 or 1); whether an odd number of them is set: nothing shorter than all 16 says anything."""
    x = torch.randint(0, 2, (8500, 16), generator=torch.Generator().manual_seed(0))
    return cut(x.float() * 2 - 1, x.sum(1) % 2, 500)


@lru_cache
def rings() -> Set:
    """800 + 200 points of the plane, inside or outside a circle: a line says nothing about it."""
    x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    return cut(x, (x.norm(dim=1) > 1.1774).long(), 200)


@lru_cache
def nothing() -> Set:
    """32 rows of zeros with target 0, for a module that is a function of its parameters alone."""
    return Set(torch.zeros(32, 1), torch.zeros(32), torch.zeros(8, 1), torch.zeros(8))


@lru_cache
def equations(noise: float = 0.5) -> Set:
    """500 + 100 rows of a linear law in 20 columns, with noise of this deviation against 1."""
    g = torch.Generator().manual_seed(0)
    x, w = torch.randn(600, 20, generator=g), torch.randn(20, 1, generator=g) / 20**0.5
    return cut(x, x @ w + noise * torch.randn(600, 1, generator=g), 100)


SETS: dict[str, Callable[[], Set]] = {
    f.__name__: f
    for f in (digits, pixels, breast, raw_breast, diabetes, friedman, fashion, cifar, sentences, adult, parity, rings, nothing)
}
SETS |= {"equations": equations, "noisy": lambda: friedman(5.0)}
