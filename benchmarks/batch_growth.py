"""Claim: a batch that grows with the gradient's noise scores as the small one it began as, in fewer steps and less processor time.

A network 784-128-10 on Fashion-MNIST, 8 passes, one thread, the plan's choices for all else; medians over seeds. Beside it
the larger batch that it may grow to, from the start: the other way to spend less.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

import measure
from gradlearn.adapt import Examples
from gradlearn.data.images import read
from gradlearn.loop import keep_shown
from gradlearn.plan import Plan, choose_batch, choose_descent, choose_length
from gradlearn.run import build, carry_out
from gradlearn.supervised import Supervised
from measure import Row

SMALL, LARGE, EPOCHS = 32, 128, 8
GROWN = {"grow": True, "grow.most": LARGE}


def examples(pictures: Any, split: str, most: int) -> Examples:
    """Pictures of a split as vectors of numbers in [-1, 1]."""
    rows = pictures.split[split][:most]
    x = torch.from_numpy(pictures.pixels[rows]).flatten(1).float() / 127.5 - 1.0
    return Examples(x, torch.from_numpy(pictures.labels[rows]).long())


def once(train: Examples, test: Examples, seed: int, epochs: float, chosen: dict[str, Any]) -> Row:
    """One training, and its score on the test pictures."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(train.x.shape[1], 128), nn.ReLU(), nn.Linear(128, 10))
    task = Supervised(model, "cross_entropy", {"train": train, "valid": None})
    plan = Plan({"epochs": epochs, "seed": seed} | chosen)
    choose_batch(plan, len(train))
    choose_length(plan, len(train), epochs)
    choose_descent(plan)
    d = build(task, plan, model)
    start = time.process_time()
    carry_out(d)
    seconds = time.process_time() - start
    keep_shown(d)
    model.eval()
    with torch.no_grad():
        score = task.score(model, test)
    sizes = [int(a.after or 0) for a in d.history.actions if a.dial == "batch"]
    return {"accuracy": score.value, "loss": score.all["loss"], "steps": d.t, "cpu_s": seconds, "sizes": str(sizes)}


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--data", default="../shared/data/fashion-mnist", help="the IDX folder, from the repository's root")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=12000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quick = arguments.quick
    pictures = read(Path(measure.ROOT / arguments.data), seed=0)
    train, test = examples(pictures, "train", 1000 if quick else arguments.pictures), examples(pictures, "test", 10000)
    kinds = {
        f"batch {SMALL}": {"batch": SMALL},
        f"batch {SMALL}, growing": {"batch": SMALL} | GROWN,
        f"batch {LARGE}": {"batch": LARGE},
    }
    rows: list[Row] = []
    for seed in range(1 if quick else arguments.seeds):
        for name, chosen in kinds.items():  # in turn, so that what slows the machine slows all
            rows.append({"what": name, "seed": seed, **once(train, test, seed, 2 if quick else EPOCHS, chosen)})
            print(f"  {name}, seed {seed}: {rows[-1]['accuracy']:.4f}, {rows[-1]['steps']} steps", flush=True)
    small, grown, large = (
        {k: statistics.median(row[k] for row in rows if row["what"] == name) for k in ("accuracy", "steps", "cpu_s")}
        for name in kinds
    )
    bars = [
        measure.bar("accuracy, grown less small", grown["accuracy"] - small["accuracy"], -0.003, below=False),
        measure.bar("steps, grown by small", grown["steps"] / small["steps"], 0.8),
        measure.bar("processor time, grown by small", grown["cpu_s"] / small["cpu_s"], 0.9),
        measure.bar("processor time, grown by large from the start", grown["cpu_s"] / large["cpu_s"], 1.0),
    ]
    measure.table(rows, "Fashion-MNIST, 784-128-10")
    measure.table(bars)
    measure.write("batch_growth", {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows}, quick)


if __name__ == "__main__":
    main()
