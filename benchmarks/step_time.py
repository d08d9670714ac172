"""Claim: a step of ours, with run folder, log, checks and remedies on, costs what a hand-written loop's step costs.

Same model, batch, memory format and fused AdamW for all, every contender in a warm process of its own
(`contenders.py`), one thread, pinned to one core, called in turn. A step alone is a fit of one epoch less a fit of one
step; the epoch is run there and back again (raw, ours, ours, raw) and the next round the other way round, so that a
drift of the machine falls on all; ratios are medians over rounds. Peers (Lightning minimal, skorch without callbacks,
Keras 3 on torch) take part in some of the rounds. In those raw and ours also run a whole fit of several epochs, set-up
and last save included.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import measure
from measure import ROOT, Row

LIMIT = {"mlp": 1.05, "cnn": 1.03}
SHAPE = {"mlp": "32-64-64-10, 20,480 rows, batch 32", "cnn": "conv 16 - conv 32 - 64 - 10, 4,992 of 28x28, batch 128"}
EPOCHS = {"mlp": 4, "cnn": 2}
PAIRS = {"mlp": 41, "cnn": 21}
PEERS = ("raw_read", "lightning", "skorch", "keras")
NAMES = {"raw": "hand-written loop", "raw_read": "hand-written loop, loss read"}
PEER_PYTHON = ROOT / ".peers" / "torch" / "bin" / "python"


class Reading(NamedTuple):
    """What one contender did in one round: seconds of a step alone and (raw and ours, in some) of a whole fit."""

    step: float
    whole: float | None
    accuracy: float  # after the longer of the two


class Plan(NamedTuple):
    """How one problem is measured."""

    problem: str
    epochs: int
    pairs: int
    peer_rounds: int
    quick: bool


class Contender(measure.Worker):
    """A warm process of `contenders.py`."""

    def __init__(self, name: str, runs: Path) -> None:
        python = sys.executable if name in ("raw", "raw_read", "ours") else str(PEER_PYTHON)
        super().__init__(python, "contenders.py", name, {"RUNS": str(runs)})

    def fit(self, problem: str, epochs: int, quick: bool) -> dict[str, Any]:
        """Seconds, steps and accuracy of one whole fit."""
        return self.ask(problem=problem, epochs=epochs, quick=quick)


def rounds(pool: dict[str, Contender], plan: Plan) -> list[dict[str, Reading]]:
    """Rounds of raw and ours; in the first few of them the peers take part, and raw and ours run whole fits as well."""
    for contender in pool.values():  # warm: imports, kernels, caches
        contender.fit(plan.problem, 1, plan.quick)
    found = []
    for i in range(plan.pairs):
        full = i < plan.peer_rounds
        names = [name for name in pool if full or name not in PEERS]
        row = steps_of(pool, plan, names if i % 2 == 0 else names[::-1])
        for name in (name for name in names if full and name not in PEERS):
            answer = pool[name].fit(plan.problem, plan.epochs, plan.quick)
            row[name] = Reading(row[name].step, answer["seconds"], answer["accuracy"])
        found.append(row)
        said = [f"{k} {v.step * 1e6:.0f} us" for k, v in row.items()]
        said += [f"{k} {v.whole:.2f} s" for k, v in row.items() if v.whole]
        print(f"  {plan.problem} {i + 1}/{plan.pairs}: {', '.join(said)}", flush=True)
    return found


def steps_of(pool: dict[str, Contender], plan: Plan, names: list[str]) -> dict[str, Reading]:
    """A step alone of each, seconds: a fit of one epoch, run there and back again, less a fit of one step."""
    bare = {name: pool[name].fit(plan.problem, 0, plan.quick)["seconds"] for name in names}
    got = [(name, pool[name].fit(plan.problem, 1, plan.quick)) for name in [*names, *reversed(names)]]
    found = {}
    for name in names:
        mine = [answer for other, answer in got if other == name]
        seconds = statistics.mean(answer["seconds"] for answer in mine) - bare[name]
        found[name] = Reading(seconds / (mine[0]["steps"] - 1), None, mine[0]["accuracy"])
    return found


def ratios(found: list[dict[str, Reading]], name: str, reference: str, what: str) -> list[float]:
    """`name` over `reference` in "step" or "whole", round by round, where both have it."""
    both = [row for row in found if name in row and reference in row]
    pairs = [(getattr(row[name], what), getattr(row[reference], what)) for row in both]
    return [mine / theirs for mine, theirs in pairs if mine and theirs]


def summarise(problem: str, found: list[dict[str, Reading]], steps: int) -> list[Row]:
    """One row a contender for steps alone; two for whole fits, of so many steps."""
    rows = []
    for what, words, per in (("step", "", 1), ("whole", ", whole fit", steps)):
        for name in ("raw", "ours", *PEERS):
            readings = [row[name] for row in found if name in row and getattr(row[name], what)]
            if readings:
                accuracy = statistics.median(reading.accuracy for reading in readings)
                seconds = [getattr(reading, what) / per for reading in readings]
                rows.append(_row(problem, NAMES.get(name, name) + words, seconds, ratios(found, name, "raw", what), accuracy))
    return rows


def _row(problem: str, name: str, seconds: list[float], ratio: list[float], accuracy: float) -> Row:
    low, high = min(ratio), max(ratio)
    return {
        "problem": problem,
        "contender": name,
        "us_step": round(statistics.median(seconds) * 1e6, 1),
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
    bars: list[Row] = []
    for what, words in (("step", "a step alone"), ("whole", "whole fit")):
        value = statistics.median(ratios(found, "ours", "raw", what))
        bars.append(measure.bar(f"{problem}: ours / raw, {words}", value, LIMIT[problem]))
    for name in PEERS[1:]:
        if against := ratios(found, name, "ours", "step"):
            bars.append(measure.bar(f"{problem}: {name} / ours, a step alone", statistics.median(against), 1.0, below=False))
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
    parser.add_argument("--pairs", type=int, default=0, help="pairs of raw and ours (default 41 for mlp, 21 for cnn)")
    parser.add_argument("--peer-rounds", type=int, default=11, help="rounds with the peers, and with whole fits (default 11)")
    arguments = parser.parse_args()
    rows: list[Row] = []
    bars: list[Row] = []
    raw: dict[str, Any] = {}
    with measure.scratch() as runs:
        pool = {name: Contender(name, runs) for name in chosen(arguments)}
        try:
            for problem in arguments.problem or LIMIT:
                quick = arguments.quick
                epochs, pairs = (2, 2) if quick else (EPOCHS[problem], arguments.pairs or PAIRS[problem])
                found = rounds(pool, Plan(problem, epochs, pairs, 1 if quick else arguments.peer_rounds, quick))
                steps = pool["raw"].fit(problem, epochs, quick)["steps"]
                rows += summarise(problem, found, steps)
                bars += judge(problem, found)
                raw[problem] = [{name: reading._asdict() for name, reading in row.items()} for row in found]
        finally:
            for contender in pool.values():
                contender.close()
    measure.table(rows, "step time; ratio: over the hand-written loop's of the same round, median and range")
    measure.table(bars)
    partial = arguments.quick or bool(arguments.only or arguments.problem)
    payload = {"claim": measure.first_line(__doc__), "shapes": SHAPE, "epochs": EPOCHS, "bars": bars, "rows": rows}
    measure.write("step_time", {**payload, "seconds": raw}, quick=partial, peers=True)


if __name__ == "__main__":
    main()
