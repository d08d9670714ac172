"""Claim: a step of ours, with run folder, log, checks and remedies on, costs what a hand-written loop's step costs.

Same model, batch, memory format and fused AdamW for all, every contender in a warm process of its own
(`contenders.py`), one thread, pinned to one core, called in turn. Two readings of ours against the hand-written loop,
both medians over pairs: a whole fit, set-up and last save included; and a step alone, from the difference of a fit of
2E and a fit of E epochs. A pair is run as raw, ours, ours, raw or the other way round, so that a drift of the machine
falls on both. Peers (Lightning minimal, skorch without callbacks, Keras 3 on torch) run the fit of E epochs in some of
the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import measure
from measure import ROOT, Row

LIMIT = {"mlp": 1.05, "cnn": 1.03}
SHAPE = {"mlp": "32-64-64-10, 20,480 rows, batch 32", "cnn": "conv 16 - conv 32 - 64 - 10, 4,992 of 28x28, batch 128"}
EPOCHS = {"mlp": 4, "cnn": 2}
PAIRS = {"mlp": 11, "cnn": 9}
PEERS = ("raw_read", "lightning", "skorch", "keras")
NAMES = {"raw": "hand-written loop", "raw_read": "hand-written loop, loss read", "ours": "ours, whole fit"}
PEER_PYTHON = ROOT / ".peers" / "torch" / "bin" / "python"


class Reading(NamedTuple):
    """What one contender did in one round: seconds for fits of E and (raw and ours only) 2E epochs."""

    short: float
    long: float | None
    accuracy: float  # after the short one


class Plan(NamedTuple):
    """How one problem is measured."""

    problem: str
    epochs: int
    pairs: int
    peer_rounds: int
    quick: bool


class Contender:
    """A warm process that answers requests, one at a time."""

    def __init__(self, name: str, runs: Path) -> None:
        self.name = name
        python = sys.executable if name in ("raw", "raw_read", "ours") else str(PEER_PYTHON)
        self.process = subprocess.Popen(
            [python, str(ROOT / "benchmarks" / "contenders.py"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"RUNS": str(runs)},
            text=True,
        )

    def fit(self, problem: str, epochs: int, quick: bool) -> dict[str, Any]:
        """Seconds, steps and accuracy of one whole fit."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"problem": problem, "epochs": epochs, "quick": quick}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"contenders.py {self.name} ended with {self.process.wait()}; run it by hand to see why")
        return json.loads(line)

    def close(self) -> None:
        """Ends it by ending its stdin."""
        self.process.communicate()


def rounds(pool: dict[str, Contender], plan: Plan) -> list[dict[str, Reading]]:
    """Rounds of raw and ours (E and 2E epochs, order turned each round); peers in the first few of them."""
    problem, epochs = plan.problem, plan.epochs
    for contender in pool.values():  # warm: imports, kernels, caches
        contender.fit(problem, 1, plan.quick)
    found = []
    for i in range(plan.pairs):
        first, second = ("raw", "ours") if i % 2 == 0 else ("ours", "raw")
        order = [(first, epochs), (second, epochs), (second, 2 * epochs), (first, 2 * epochs)]
        got = {(name, n): pool[name].fit(problem, n, plan.quick) for name, n in order if name in pool}
        row = {}
        for name in ("raw", "ours"):
            if name in pool:
                short, long = got[name, epochs], got[name, 2 * epochs]
                row[name] = Reading(short["seconds"], long["seconds"], short["accuracy"])
        for name in PEERS if i < plan.peer_rounds else ():
            if name in pool:
                answer = pool[name].fit(problem, epochs, plan.quick)
                row[name] = Reading(answer["seconds"], None, answer["accuracy"])
        found.append(row)
        print(
            f"  {problem} {i + 1}/{plan.pairs}: " + ", ".join(f"{k} {v.short:.2f} s" for k, v in row.items()),
            flush=True,
        )
    return found


def ratios(found: list[dict[str, Reading]], name: str, reference: str) -> list[float]:
    """Whole fit of E epochs: `name` over `reference`, round by round, where both ran."""
    return [row[name].short / row[reference].short for row in found if name in row and reference in row]


def alone(found: list[dict[str, Reading]], name: str) -> list[float]:
    """Steps without set-up, seconds, round by round: what E more epochs cost."""
    readings = [row[name] for row in found if name in row]
    return [reading.long - reading.short for reading in readings if reading.long is not None]


def step_ratios(found: list[dict[str, Reading]]) -> list[float]:
    """A step alone, ours over raw, round by round."""
    return [mine / theirs for mine, theirs in zip(alone(found, "ours"), alone(found, "raw"), strict=True)]


def summarise(problem: str, found: list[dict[str, Reading]], steps: int) -> list[Row]:
    """One row a contender."""
    rows = []
    for name in ("raw", "ours", *PEERS):
        readings = [row[name] for row in found if name in row]
        if not readings:
            continue
        seconds = [reading.short for reading in readings]
        accuracy = statistics.median(reading.accuracy for reading in readings)
        rows.append(_row(problem, NAMES.get(name, name), seconds, ratios(found, name, "raw"), steps, accuracy))
        if name == "ours":
            rows.append(_row(problem, "ours, a step alone", alone(found, name), step_ratios(found), steps, accuracy))
    return rows


def _row(problem: str, name: str, seconds: list[float], ratio: list[float], steps: int, accuracy: float) -> Row:
    low, high = min(ratio), max(ratio)
    return {
        "problem": problem,
        "contender": name,
        "us_step": round(statistics.median(seconds) / steps * 1e6, 1),
        "ratio": round(statistics.median(ratio), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "repeats": len(ratio),
        "accuracy": round(accuracy, 4),
    }


def judge(problem: str, found: list[dict[str, Reading]]) -> list[Row]:
    """The bars of one problem."""
    if not any("ours" in row for row in found):
        return []
    step, whole = statistics.median(step_ratios(found)), statistics.median(ratios(found, "ours", "raw"))
    bars = [measure.bar(f"{problem}: ours / raw, a step alone", step, LIMIT[problem])]
    bars.append(measure.bar(f"{problem}: ours / raw, whole fit", whole, LIMIT[problem]))
    for name in PEERS[1:]:
        if against := ratios(found, name, "ours"):
            what = f"{problem}: {name} / ours, whole fit"
            bars.append(measure.bar(what, statistics.median(against), 1.0, below=False))
    return bars


def chosen(arguments: argparse.Namespace) -> list[str]:
    """Which contenders run: all, or those that --only names; peers need `.peers/`."""
    names = ["raw", *arguments.only.split(",")] if arguments.only else ["raw", "ours", *PEERS]
    missing = [name for name in names if name in PEERS[1:] and not PEER_PYTHON.exists()]
    if missing:
        raise SystemExit(f"no {PEER_PYTHON.relative_to(ROOT)} for {', '.join(missing)}; run benchmarks/peers.sh first")
    return names


def main() -> None:
    """Runs both problems, prints the table and the bars, keeps the result."""
    parser = measure.options(__doc__)
    parser.add_argument("--only", default="", help="contenders beside the hand-written loop, comma-separated")
    parser.add_argument("--problem", choices=tuple(LIMIT), action="append", help="default: both")
    parser.add_argument("--pairs", type=int, default=0, help="pairs of raw and ours (default 11 for mlp, 9 for cnn)")
    parser.add_argument("--peer-rounds", type=int, default=5, help="rounds in which the peers run too (default 5)")
    arguments = parser.parse_args()
    rows: list[Row] = []
    bars: list[Row] = []
    raw: dict[str, Any] = {}
    with measure.scratch() as runs:
        pool = {name: Contender(name, runs) for name in chosen(arguments)}
        try:
            for problem in arguments.problem or LIMIT:
                quick = arguments.quick
                epochs, pairs = (1, 2) if quick else (EPOCHS[problem], arguments.pairs or PAIRS[problem])
                found = rounds(pool, Plan(problem, epochs, pairs, 1 if quick else arguments.peer_rounds, quick))
                steps = pool["raw"].fit(problem, epochs, quick)["steps"]
                rows += summarise(problem, found, steps)
                bars += judge(problem, found)
                raw[problem] = [{name: reading._asdict() for name, reading in row.items()} for row in found]
        finally:
            for contender in pool.values():
                contender.close()
    measure.table(rows, "step time; ratio: whole fit over the hand-written loop's of the same round, median and range")
    measure.table(bars)
    partial = arguments.quick or bool(arguments.only or arguments.problem)
    payload = {"claim": measure.first_line(__doc__), "shapes": SHAPE, "epochs": EPOCHS, "bars": bars, "rows": rows}
    measure.write("step_time", {**payload, "seconds": raw}, quick=partial, peers=True)


if __name__ == "__main__":
    main()
