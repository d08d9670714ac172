"""What `cifar10.py` and `fashion_mnist.py` share: `train images` under several times, each judged by accuracy and by the clock.

A kept result holds the rows of every time; those of times that are not run again stay, each with its own machine and date.
"""

from __future__ import annotations

import datetime
import json
import statistics
from collections.abc import Mapping
from typing import Any

import measure
from measure import Row

Budgets = Mapping[str, tuple[float, float, int]]  # --time: seconds, test accuracy that is the bar, seeds


def run(name: str, claim: str | None, data: str, budgets: Budgets, smoke: Budgets) -> None:
    """The whole benchmark, its options included."""
    parser = measure.options(claim)
    parser.add_argument("--data", default=data, help="from the repository's root")
    parser.add_argument("--seeds", type=int, help="how many seeds a time (default: " + seeds_of(budgets) + ")")
    parser.add_argument("--time", choices=tuple(budgets), action="append", help="default: all of them")
    arguments = parser.parse_args()
    wanted = smoke if arguments.quick else {time: budgets[time] for time in arguments.time or budgets}
    kept = [] if arguments.quick else _kept(name)
    rows: list[Row] = [row for row in kept if row["time"] not in wanted and row["time"] in budgets]
    for time, (_, _, seeds) in wanted.items():
        for seed in range(arguments.seeds or seeds):
            about = measure.machine()
            row = {"time": time, **measure.train(arguments.data, "--time", time, seed=seed)}
            row |= {"cpu": about["cpu"], "cores": about["cores"], "date": datetime.date.today().isoformat()}
            rows.append(row)
            print(f"  {time}, seed {seed}: test {row['test']:.4f}, {row['wall_s']:.1f} s", flush=True)
    order = list(smoke if arguments.quick else budgets)
    rows.sort(key=lambda row: (order.index(row["time"]), row["seed"]))
    bars: list[Row] = []
    for time, (seconds, accuracy, _) in (smoke if arguments.quick else budgets).items():
        mine = [row for row in rows if row["time"] == time]
        if mine:
            bars += judge(time, seconds, accuracy, mine)
    measure.table(rows, name)
    measure.table(bars)
    measure.write(name, {"claim": measure.first_line(claim), "bars": bars, "rows": rows}, arguments.quick)


def seeds_of(budgets: Budgets) -> str:
    """How many seeds each time is run with, in words."""
    return ", ".join(f"{seeds} at {time}" for time, (_, _, seeds) in budgets.items())


def judge(time: str, seconds: float, accuracy: float, rows: list[Row]) -> list[Row]:
    """The two bars of one time."""
    test = statistics.median(row["test"] for row in rows)
    return [
        measure.bar(f"--time {time}: median test accuracy", test, accuracy, below=False),
        measure.bar(f"--time {time}: longest command, s", max(row["wall_s"] for row in rows), seconds),
    ]


def _kept(name: str) -> list[dict[str, Any]]:
    path = measure.RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []
