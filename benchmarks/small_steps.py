"""Claim: a small model's compiled step takes 0.25 of a hand-written PyTorch loop's (0.40 at batch 256), less than Keras's on JAX.

The MLP 32-64-64-10 on 20,480 rows, AdamW, batch 32 and 256, one thread, every contender in a warm process of its own on one core
(`small_contenders.py`). A step alone is a fit of some epochs less a fit of one step, over the steps between: what a fit costs
beside its steps is in neither. In a round all are called in turn, there and back again, and the next round begins with another;
ratios to the hand-written loop are of one round, their medians are the result. Ours is `gradlearn.fit` with checks and remedies
on, with a run folder (a log row a step) and without, compiled and eager; Keras 3 on JAX (jit_compile, whole arrays) has 1 to 320
steps an execution, and the best of them counts. JAX by hand stands beside them without a bar. Accuracy is that on training rows
after 1,280 steps (batch 256: 480).

What compiling costs is told apart: the first fit of a new process, of one step, with nothing in the cache, and then again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import measure
from measure import ROOT, Row, Worker

BATCHES = (32, 256)
LIMIT = {32: 0.25, 256: 0.40}
EAGER_LIMIT = 1.0
LEARN = {32: 2, 256: 6}  # epochs after which the accuracy is taken
SECONDS = 0.7  # of a fit, about
KERAS = {32: (1, 20, 80, 320), 256: (1, 20, 80)}  # steps an execution; 80 are an epoch of batch 256
ROUNDS = 9
OURS = {"ours": "compiled", "ours-folder": "compiled, run folder", "eager": "eager", "eager-folder": "eager, run folder"}
NAMES = {"raw": "hand-written PyTorch loop"} | {name: f"gradlearn, {words}" for name, words in OURS.items()}
NAMES |= {"sklearn": "scikit-learn MLPClassifier", "jax-step": "JAX by hand, jit", "jax-scan": "JAX by hand, scan"}
JAX = ROOT / ".peers" / "jax" / "bin" / "python"
FIRSTS = ("raw", "ours", "eager", "sklearn", "jax-step", "jax-scan")  # and the best Keras: whose first fits are timed


class Reading(NamedTuple):
    """One contender in one round: seconds of a step, and of what a fit in a warm process costs beside its steps."""

    step: float
    set_up: float


class Plan(NamedTuple):
    """How one batch size is measured."""

    batch: int
    epochs: dict[str, int]  # of a contender's fits
    accuracy: dict[str, float]  # after as many steps for all
    quick: bool


def contenders(batch: int) -> list[str]:
    """All of one batch size."""
    return ["raw", *OURS, "sklearn", *(f"keras-{n}" for n in KERAS[batch]), "jax-step", "jax-scan"]


def named(name: str) -> str:
    """A contender in words."""
    return NAMES.get(name) or f"Keras on JAX, {name.removeprefix('keras-')} steps a call"


def started(name: str, folder: Path) -> Worker:
    """A contender's process; its caches and runs are in `folder`."""
    python = str(JAX) if name.startswith(("keras", "jax")) else sys.executable
    return Worker(python, "small_contenders.py", name, {"RUNS": str(folder), "XDG_CACHE_HOME": str(folder / "cache")})


def planned(pool: dict[str, Worker], batch: int, quick: bool) -> Plan:
    """Warms every contender, sees it learn, and finds how many epochs its fits have."""
    epochs, accuracy = {}, {}
    for name in contenders(batch):
        ask = partial(pool[name].ask, batch=batch, quick=quick)
        ask(epochs=0)
        first = ask(epochs=LEARN[batch])
        bare, again = ask(epochs=0), ask(epochs=LEARN[batch])
        epoch = max(again["seconds"] - bare["seconds"], 1e-3) / LEARN[batch]
        epochs[name], accuracy[name] = min(max(round((0.1 if quick else SECONDS) / epoch), 1), 100), first["accuracy"]
    return Plan(batch, epochs, accuracy, quick)


def rounds(pool: dict[str, Worker], plan: Plan, count: int) -> list[dict[str, Reading]]:
    """So many rounds of all."""
    found, names = [], contenders(plan.batch)
    for i in range(count):
        turned = [*names[i % len(names) :], *names[: i % len(names)]]
        passes = [{name: reading(pool[name], name, plan) for name in order} for order in (turned, turned[::-1])]
        row = {name: middle([one[name] for one in passes], statistics.mean) for name in names}
        print(f"  {plan.batch} {i + 1}/{count}: " + ", ".join(f"{k} {v.step * 1e6:.0f}" for k, v in row.items()), flush=True)
        found.append(row)
    return found


def middle(readings: list[Reading], of: Callable[[Sequence[float]], float] = statistics.median) -> Reading:
    """Several in one, number by number."""
    return Reading(*map(of, zip(*readings, strict=True)))


def reading(worker: Worker, name: str, plan: Plan) -> Reading:
    """A fit of one step and one of many."""
    bare, whole = (worker.ask(batch=plan.batch, epochs=n, quick=plan.quick) for n in (0, plan.epochs[name]))
    step = (whole["seconds"] - bare["seconds"]) / (whole["steps"] - 1)
    return Reading(step, bare["seconds"] - step)


def ratios(found: list[dict[str, Reading]], name: str, reference: str) -> list[float]:
    """A step of one over a step of another, round by round."""
    return [row[name].step / row[reference].step for row in found]


def best_keras(found: list[dict[str, Reading]], batch: int) -> str:
    """The Keras that does best against the hand-written loop."""
    return min((f"keras-{n}" for n in KERAS[batch]), key=lambda name: statistics.median(ratios(found, name, "raw")))


def summarise(found: list[dict[str, Reading]], plan: Plan) -> list[Row]:
    """A row a contender."""
    rows = []
    for name in contenders(plan.batch):
        ratio = ratios(found, name, "raw")
        typical = middle([row[name] for row in found])
        rows.append(
            {
                "batch": plan.batch,
                "contender": named(name),
                "us_step": round(typical.step * 1e6, 1),
                "ratio": round(statistics.median(ratio), 4),
                "low": round(min(ratio), 4),
                "high": round(max(ratio), 4),
                "rounds": len(ratio),
                "accuracy": plan.accuracy[name],
                "set_up_s": round(typical.set_up, 3),
            }
        )
    return rows


def judge(found: list[dict[str, Reading]], batch: int) -> list[Row]:
    """The bars of one batch size."""
    bars = []
    for name in OURS:
        limit = LIMIT[batch] if name.startswith("ours") else EAGER_LIMIT
        value = statistics.median(ratios(found, name, "raw"))
        bars.append(measure.bar(f"batch {batch}: {OURS[name]} / hand-written loop", value, limit))
    for name, words in ((best_keras(found, batch), "the best Keras on JAX"), ("sklearn", "scikit-learn")):
        value = statistics.median(ratios(found, name, "ours-folder"))
        bars.append(measure.bar(f"batch {batch}: {words} / compiled, run folder", value, 1.0, below=False))
    return bars


def firsts(names: list[str], repeats: int, quick: bool) -> list[Row]:
    """What the first fit of a new process takes, one step of batch 32: with an empty cache, then as that has left it."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            with measure.scratch() as folder:
                seconds[name].append((first(name, folder, quick), first(name, folder, quick)))
    return [
        {
            "first fit of a process": named(name),
            "empty_cache_s": round(statistics.median(cold for cold, _ in seconds[name]), 2),
            "again_s": round(statistics.median(warm for _, warm in seconds[name]), 2),
            "repeats": repeats,
        }
        for name in names
    ]


def first(name: str, folder: Path, quick: bool) -> float:
    """One of them."""
    worker = started(name, folder)
    try:
        return worker.ask(batch=32, epochs=0, quick=quick)["seconds"]
    finally:
        worker.close()


def main() -> None:
    """Measures both batch sizes, prints the tables and the bars, keeps the result."""
    parser = measure.options(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of all contenders (default {ROUNDS})")
    arguments: argparse.Namespace = parser.parse_args()
    if not JAX.exists():
        raise SystemExit(f"no {JAX.relative_to(ROOT)}; run benchmarks/peers.sh first")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # ours is imported from a checkout: let it have .pyc files as peers have
    quick, count = arguments.quick, 2 if arguments.quick else arguments.rounds
    rows: list[Row] = []
    bars: list[Row] = []
    raw: dict[str, Any] = {}
    epochs: dict[str, Any] = {}
    with measure.scratch() as runs:
        pool = {name: started(name, runs) for name in dict.fromkeys(name for batch in BATCHES for name in contenders(batch))}
        try:
            for batch in BATCHES:
                plan = planned(pool, batch, quick)
                found = rounds(pool, plan, count)
                rows += summarise(found, plan)
                bars += judge(found, batch)
                raw[str(batch)] = [{name: one._asdict() for name, one in row.items()} for row in found]
                epochs[str(batch)] = plan.epochs
                if batch == 32:
                    names = [*FIRSTS, best_keras(found, batch)]
        finally:
            for worker in pool.values():
                worker.close()
    set_ups = firsts(names, 1 if quick else 3, quick)
    measure.table(rows, "a step alone; ratio: to the hand-written loop's of the same round, median and range")
    measure.table(set_ups, "what compiling and loading cost: the first fit of a new process, of one step, seconds")
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "epochs": epochs, "bars": bars, "rows": rows, "first_fits": set_ups}
    measure.write("small_steps", {**payload, "seconds": raw}, quick=quick, peers=True)


if __name__ == "__main__":
    main()
