"""Claim: where an average takes few of the weights that a steady rate walks through, BatchNorm's statistics must be measured anew.

A convolutional network of width 16 on Fashion-MNIST, 5 passes, rate constant at 0.002, one thread; medians over seeds of the
accuracy and loss of each average on 4,000 test pictures, with the statistics of the last step, averaged along, and measured anew.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import measure
from gradlearn.adapt import Examples
from gradlearn.batchnorm import renew
from gradlearn.data.images import read
from gradlearn.find import find
from gradlearn.loop import evaluating
from gradlearn.symbols import Now
from gradlearn.theta import Theta
from measure import Row

SIZE, EPOCHS = 128, 5


def examples(pictures: Any, split: str, most: int) -> Examples:
    """Pictures (n, c, h, w) uint8 of a split."""
    rows = pictures.split[split][:most]
    return Examples(torch.from_numpy(pictures.pixels[rows]).permute(0, 3, 1, 2), torch.from_numpy(pictures.labels[rows]).long())


def score(model: nn.Module, test: Any) -> tuple[float, float]:
    """Accuracy and mean cross-entropy."""
    with evaluating(model):
        logp = F.log_softmax(torch.cat([model(x) for x in test.x.split(500)]), 1)
    return (logp.argmax(1) == test.y).double().mean().item(), F.nll_loss(logp, test.y).item()


def trained(train: Any, seed: int, epochs: int) -> tuple[Theta, dict[str, Any]]:
    """A network after so many passes, and the averages that saw it on the way."""
    torch.manual_seed(seed)
    model = find("models", "convnet")((28, 28, 1), 10, 16).to(memory_format=torch.channels_last)
    model.calibrate(train.x[:1000])
    theta, an_epoch = Theta(model), train.n // SIZE
    update = find("update", "adamw")(theta.groups(), lr=0.002)
    batches = find("batches", "shuffle")(train.n, size=SIZE)
    averages = {
        "swa, every step of the last half": find("average", "swa")(theta, start=0.5),
        "swa, a step in every pass": find("average", "swa")(theta, start=0.25, every=an_epoch),
        "ema 0.99": find("average", "ema")(theta, decay=0.99),
    }
    for t in range(epochs * an_epoch):
        now = Now(t, epochs * an_epoch, t * SIZE, seed)
        index = batches(now)
        theta.zero()
        F.cross_entropy(model(train.x[index]), train.y[index], label_smoothing=0.1).backward()
        theta.gather()
        update.step()
        for average in averages.values():
            average.see(theta, now)
    return theta, averages


def ways(theta: Theta, average: Any, train: Examples, test: Examples, last: list[Tensor]) -> Row:
    """One average, scored with its three kinds of statistics."""
    row: Row = {}
    with average.shown(theta):
        row["averaged"], row["averaged_loss"] = score(theta.model, test)
        for place, value in zip(theta.buffers(), last, strict=True):
            place.copy_(value)
        row["last"], row["last_loss"] = score(theta.model, test)
        renew(theta.model, lambda batch: theta.model(batch.x), train, 0)
        row["anew"], row["anew_loss"] = score(theta.model, test)
    return row


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--data", default="../shared/data/fashion-mnist", help="the IDX folder, from the repository's root")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quick = arguments.quick
    pictures = read(Path(measure.ROOT / arguments.data), seed=0)
    train, test = examples(pictures, "train", 1280 if quick else 12000), examples(pictures, "test", 500 if quick else 4000)
    rows: list[Row] = []
    for seed in range(1 if quick else arguments.seeds):
        theta, averages = trained(train, seed, 1 if quick else EPOCHS)
        plain, _ = score(theta.model, test)
        last = [b.clone() for b in theta.buffers()]
        for name, average in averages.items():
            rows.append({"average": name, "seed": seed, "plain": plain, **ways(theta, average, train, test, last)})
            print(f"  {name}, seed {seed}: {rows[-1]['last']:.4f} {rows[-1]['averaged']:.4f} {rows[-1]['anew']:.4f}", flush=True)

    def median(name: str, key: str) -> float:
        return statistics.median(row[key] for row in rows if row["average"] == name)

    dense, sparse, ema = dict.fromkeys(row["average"] for row in rows)
    bars = [
        measure.bar(
            "a step in every pass: loss, anew less averaged", median(sparse, "anew_loss") - median(sparse, "averaged_loss"), 0.0
        ),
        measure.bar(
            "a step in every pass: accuracy, anew less last", median(sparse, "anew") - median(sparse, "last"), 0.01, below=False
        ),
        measure.bar(
            "every step: accuracy, anew less averaged", median(dense, "anew") - median(dense, "averaged"), -0.002, below=False
        ),
        measure.bar("ema: accuracy, anew less averaged", median(ema, "anew") - median(ema, "averaged"), 0.002),
    ]
    measure.table(rows, "Fashion-MNIST, convolutional network of width 16")
    measure.table(bars)
    measure.write("batchnorm_statistics", {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows}, quick)


if __name__ == "__main__":
    main()
