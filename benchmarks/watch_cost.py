"""Claim: plan, preflight, watch, remedies and records together take at most 5 % of the time of a CNN and of a GRU.

The workloads `fashion` and `cifar` (CNNs) and `reviews` (GRU) of `workloads.py`. `full`: `fit` with nothing set and a run folder.
`bare`: the same update, batches and steps, given by hand, with the check for finite numbers alone, no remedy that acts, inputs as
they are, no record. The two in turn, each first as often as second, one thread; eager, so that compiling is not in it; no
validation data, scoring is not meant. The ratio is that of the fastest fits; medians stand beside it.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import torch

import gradlearn
import measure
from measure import Row
from workloads import Workload, workloads

NAMES = ("fashion", "cifar", "reviews")
ROUNDS = 8


def chosen(w: Workload) -> dict[str, Any]:
    """What the plan sets, as a user would give it by hand."""
    choice = gradlearn.fit(w.make(0), w.data()[0], w.loss, valid=None, steps=20, batch=w.batch, seed=0).settings["choice"]
    kept = ("update", "average", "batches")
    return {name: choice[name]["value"] for name in kept if name in choice}


def timed(w: Workload, seed: int, more: dict[str, Any]) -> float:
    """Wall seconds of one fit, from its call to its return."""
    model, data = w.make(seed), w.data()[0]
    begin = time.perf_counter()
    gradlearn.fit(model, data, w.loss, valid=None, steps=w.steps, batch=w.batch, seed=seed, compile="off", **more)
    return time.perf_counter() - begin


def row_of(w: Workload, rounds: int) -> Row:
    """One workload."""
    bare: dict[str, Any] = {"watch": ["finite"], "remedies": ["stop"], "inputs": "as given", **chosen(w)}
    found: dict[str, list[float]] = {"full": [], "bare": []}
    timed(w, 0, bare)
    for k in range(rounds):
        for how in ("full", "bare") if k % 2 else ("bare", "full"):
            with measure.scratch() as folder:
                found[how].append(timed(w, k, {"run": folder / "run"} if how == "full" else bare))
    fast, middle = ({how: pick(values) for how, values in found.items()} for pick in (min, statistics.median))
    row: Row = {"workload": w.name, "steps": w.steps, "full": fast["full"], "bare": fast["bare"]}
    return row | {"cost": fast["full"] / fast["bare"] - 1.0, "of medians": middle["full"] / middle["bare"] - 1.0, "rounds": rounds}


def main() -> int:
    parser = measure.options(__doc__)
    parser.add_argument("--only", action="append", choices=NAMES)
    arguments = parser.parse_args()
    if not (measure.ROOT.parent / "shared" / "data").exists():
        raise SystemExit("watch_cost: needs the data in ../shared/data")
    torch.set_num_threads(1)
    rows = []
    for name in arguments.only or NAMES:
        rows.append(row_of(workloads()[name], 2 if arguments.quick else ROUNDS))
        print(f"  {name}: {rows[-1]['cost']:.1%}, of medians {rows[-1]['of medians']:.1%}", flush=True)
    measure.table(rows, "seconds of whole fits")
    bars = [measure.bar(f"cost on {row['workload']}", row["cost"], 0.05) for row in rows]
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows}
    measure.write("watch_cost", payload, arguments.quick or bool(arguments.only))
    return 0


if __name__ == "__main__":
    sys.exit(main())
