"""Seventeen small trainings of many kinds, for claims about training without tuning: what a user would write, 1-6 s each on a core.

    model = workload.make(seed);   (x, y), valid = workload.data();   ...;   workload.metric(model, valid)   lower is better

Seven are those of the pilot study behind the plan's rules. Rules may be fitted on those that
are not `held_out`, and are checked on those that are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import no_tuning_data as data_of
from no_tuning_data import Pair, Sets
from no_tuning_models import (
    Attention,
    Census,
    Letters,
    Reader,
    Translator,
    mlp,
    normed_convolutions,
    plain_convolutions,
    residual_net,
)

Metric = Callable[[nn.Module, Pair], float]
PART = 512  # examples scored at once


class Make(Protocol):
    """The module of a seed; `width`: how many times as wide, where the workload can be."""

    def __call__(self, seed: int, width: int = 1) -> nn.Module:
        """Its first weights drawn from the seed."""
        ...


@dataclass(frozen=True)
class Workload:
    """One training. `loss` serves a plain loop, (output, target) -> one number, and `fit` alike."""

    name: str
    kind: str
    make: Make
    data: Callable[[], Sets]
    loss: nn.Module
    batch: int | str
    steps: int
    metric: Metric
    held_out: bool
    convex: bool = False


def seeded(build: Callable[[int], nn.Module]) -> Make:
    """torch's own first weights, drawn from the seed."""

    def make(seed: int, width: int = 1) -> nn.Module:
        torch.manual_seed(seed)
        return build(width)

    return make


def called(model: nn.Module, x: Any) -> Tensor:
    """model(x), or model(*x)."""
    return model(*x) if isinstance(x, tuple) else model(x)


def rows(value: Any, index: Any) -> Any:
    """These examples of a tensor, or of each in a tuple."""
    return tuple(t[index] for t in value) if isinstance(value, tuple) else value[index]


def mean_over(each: Callable[[Tensor, Tensor], tuple[Tensor, int]]) -> Metric:
    """A sum and a count of each part of the data, as one mean of all; in evaluation mode, without gradients."""

    @torch.no_grad()
    def metric(model: nn.Module, valid: Pair) -> float:
        model.eval()
        x, y = valid
        total, count = 0.0, 0
        for a in range(0, len(y), PART):
            some = slice(a, a + PART)
            part, n = each(called(model, rows(x, some)), y[some])
            total, count = total + part.double().item(), count + n
        return total / count

    return metric


error = mean_over(lambda output, y: ((output.argmax(1) != y).sum(), y.numel()))
entropy = mean_over(lambda output, y: (nn.functional.cross_entropy(output, y, reduction="sum", ignore_index=-1), y.numel()))
squares = mean_over(lambda output, y: ((output - y).square().sum(), y.numel()))
logistic = mean_over(lambda o, y: (nn.functional.binary_cross_entropy_with_logits(o, y, reduction="sum"), y.numel()))
words = mean_over(lambda o, y: (nn.functional.cross_entropy(o, y, reduction="sum", ignore_index=0), int((y != 0).sum())))

CLASSES, NUMBERS, WORDS = nn.CrossEntropyLoss(), nn.MSELoss(), nn.CrossEntropyLoss(ignore_index=0)
YES = nn.BCEWithLogitsLoss()


def census(width: int) -> nn.Module:
    """An MLP for the columns that the census has."""
    (x, _), _ = data_of.adult()
    return Census([int(k) + 1 for k in x[1].amax(0)], x[0].shape[1], 64 * width)


def fitted() -> list[Workload]:
    """Those that rules may be fitted on; the pilot's seven first."""
    d, held = data_of, False
    return [
        Workload("digits", "MLP", seeded(lambda w: mlp(64, 128 * w, 128 * w, 10)), d.digits, CLASSES, 32, 555, entropy, held),
        Workload("fashion", "CNN", seeded(lambda w: plain_convolutions(1, 28, w)), d.fashion_many, CLASSES, 128, 234, error, held),
        Workload("reviews", "GRU", seeded(lambda _: Reader()), d.reviews, CLASSES, 96, 300, error, held),
        Workload("translation", "seq2seq", seeded(lambda _: Translator(1000, 1000)), d.translations, WORDS, 50, 300, words, held),
        Workload("friedman", "table", seeded(lambda w: mlp(10, *[64 * w] * 3, 1)), d.friedman, NUMBERS, 32, 930, squares, held),
        Workload("cancer", "convex", seeded(lambda _: nn.Linear(30, 1)), d.cancer, YES, "full", 600, logistic, held, convex=True),
        Workload("cifar", "CNN + BatchNorm", seeded(normed_convolutions), d.cifar, CLASSES, 64, 390, error, held),
        Workload("autoencoder", "autoencoder", seeded(bottleneck), d.fashion_flat, NUMBERS, 64, 400, squares, held),
        Workload("impedance", "table", seeded(lambda w: mlp(4, 64 * w, 64 * w, 1)), d.impedance, NUMBERS, 64, 700, squares, held),
    ]


def kept_back() -> list[Workload]:
    """Those that rules are checked on."""
    d, held = data_of, True
    return [
        Workload("cifar-plain", "CNN", seeded(lambda w: plain_convolutions(3, 32, w)), d.cifar, CLASSES, 64, 390, error, held),
        Workload("attention", "transformer", seeded(lambda _: Attention()), d.reviews, CLASSES, 64, 325, error, held),
        Workload("reversal", "seq2seq", seeded(lambda _: Translator(19, 19)), d.reversals, WORDS, 50, 480, words, held),
        Workload("census", "table, categories", seeded(census), d.adult, CLASSES, 64, 750, entropy, held),
        Workload("diabetes", "table", seeded(lambda w: mlp(10, 64 * w, 64 * w, 1)), d.diabetes, NUMBERS, 32, 500, squares, held),
        Workload(
            "softmax", "convex", seeded(lambda _: nn.Linear(784, 10)), d.fashion_rows, CLASSES, 64, 800, entropy, held, convex=True
        ),
        Workload("residual", "ResNet", seeded(residual_net), d.fashion_few, CLASSES, 64, 312, error, held),
        Workload("letters", "LSTM", seeded(lambda _: Letters()), d.letters, CLASSES, 32, 375, entropy, held),
    ]


def bottleneck(width: int) -> nn.Module:
    """An autoencoder whose code is 16 numbers."""
    return mlp(784, 128 * width, 16, 128 * width, 784)


def workloads() -> dict[str, Workload]:
    """All of them by name."""
    return {workload.name: workload for workload in (*fitted(), *kept_back())}
