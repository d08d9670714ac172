"""Claim: `fit` with nothing set ends .88 of where AdamW tuned over seven rates ends, and nowhere behind it.

The workloads of `workloads.py`, one thread each. AdamW: a plain loop, betas .9 and .999, decay .01, warmup and cosine, seven rates
half a decade apart, one more where the best is at an edge, chosen on seed 0; then other seeds. Ours: steps and batch are given, as
they are to AdamW, and nothing else. The same data, weights to begin with, and number of examples. Ratios are geometric means over
paired seeds, with a 90 % interval by bootstrap; time is processor time of a run by one of AdamW's, in turn, compiled steps on disk.

--variants: what a user may come with who has not read how it is usually done; AdamW is tuned anew for each. --peers: the best of
other updates, each tuned. What has been run is kept in build/no_tuning.jsonl; a run of an older plan is not taken for ours.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

import measure
from measure import Row
from no_tuning_runs import VARIANTS, Result, Runs, adamw, key_of, ours, peer, plan_digest, varied
from workloads import Workload, workloads

RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
CONVEX = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0]
PEERS: dict[str, list[float]] = {
    "sgd": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0],
    "schedule_free": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
    "prodigy": [0.3, 1.0, 3.0],
    "muon": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
    "soap": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
}
BY_HEART = "softmax"  # 784 inputs, 5,000 examples: what brings this loss down most is worst on other examples
PEERS_CLAIM = "`fit` with nothing set ends where the best of six updates ends, each tuned on every workload: columns are ratios."
VARIED = ("digits", "friedman", "fashion")


def tuned(run: Callable[[float], Result], rates: Sequence[float]) -> float:
    """The rate whose run ends best; the grid goes on by one where that is at its edge."""
    found = {lr: run(lr)["metric"] for lr in rates}
    best = min(found, key=lambda lr: found[lr])
    if best in (min(rates), max(rates)):
        step = rates[1] / rates[0]
        more = best / step if best == min(rates) else best * step
        found[more] = run(more)["metric"]
        best = min(found, key=lambda lr: found[lr])
    return best


def against(w: Workload, runs: Runs, seeds: int, name: str, run: Callable[[Workload, int, float], Result], rates: list[float]):
    """(the rate chosen on seed 0, results of the other seeds) of one tuned contender."""
    lr = tuned(lambda lr: runs.get(key_of(w, name, f"{lr:.3g}", 0), partial(run, w, 0, lr)), rates)
    return lr, [runs.get(key_of(w, name, f"{lr:.3g}", s), partial(run, w, s, lr)) for s in range(1, seeds + 1)]


def own(w: Workload, runs: Runs, seeds: int, settings: dict[str, Any], again: bool = False) -> list[Result]:
    """Our runs of the seeds after 0."""
    key = partial(key_of, w, "ours", plan_digest(), json.dumps(settings, sort_keys=True))
    return [runs.get(key(s), partial(ours, w, s, settings), again) for s in range(1, seeds + 1)]


def ratio_of(mine: Sequence[Result], theirs: Sequence[Result]) -> tuple[float, float, float]:
    """The geometric mean of paired ratios, and the ends of its 90 % interval by bootstrap over the pairs."""
    logs = [math.log(a["metric"] / b["metric"]) if b["metric"] < math.inf else -math.inf for a, b in zip(mine, theirs, strict=True)]
    if not all(map(math.isfinite, logs)):
        value = math.exp(statistics.fmean(logs)) if math.inf not in logs or -math.inf not in logs else math.nan
        return value, value, value
    draw = random.Random(0)
    means = sorted(statistics.fmean(draw.choices(logs, k=len(logs))) for _ in range(2000))
    return math.exp(statistics.fmean(logs)), math.exp(means[100]), math.exp(means[1899])


def timed(w: Workload, runs: Runs, lr: float, settings: dict[str, Any], again: bool = False) -> float:
    """Processor time of one of our runs by one of AdamW's: the two in turn, the fastest of three each.

    Our first run is not counted: what it compiles is on disk for all others.
    """

    def make() -> Result:
        ours(w, 1, settings)
        pairs = [(ours(w, 1, settings)["seconds"], adamw(w, 1, lr)["seconds"]) for _ in range(3)]
        mine, theirs = min(a for a, _ in pairs), min(b for _, b in pairs)
        return {"ours": mine, "adamw": theirs, "ratio": mine / theirs}

    return runs.get(key_of(w, "time", plan_digest(), json.dumps(settings, sort_keys=True)), make, again)["ratio"]


def row_of(w: Workload, mine: list[Result], theirs: list[Result], lr: float, time: float) -> Row:
    """One line of the table."""
    ratio, low, high = ratio_of(mine, theirs)
    row: Row = {"workload": w.name, "kind": w.kind, "held out": w.held_out, "lr": lr}
    row |= {"adamw": statistics.fmean(r["metric"] for r in theirs), "ours": statistics.fmean(r["metric"] for r in mine)}
    return row | {"ratio": ratio, "low": low, "high": high, "time": time, "seeds": len(mine)}


def mean_of(rows: Sequence[Row], key: str = "ratio") -> float:
    """The geometric mean of a column."""
    return math.exp(statistics.fmean(math.log(row[key]) for row in rows))


def judge(rows: Sequence[Row]) -> list[Row]:
    """The bars of the main table."""
    bars = [measure.bar("ours by tuned AdamW, geometric mean", mean_of(rows), 0.88)]
    for held, name in ((False, "where rules may be fitted"), (True, "held out")):
        part = [row for row in rows if row["held out"] is held]
        if part:
            bars.append(measure.bar(f"the same, {name} ({len(part)})", mean_of(part), 0.88))
    worst = max(rows, key=lambda row: row["ratio"])
    bars.append(measure.bar(f"the worst, {worst['workload']}", worst["ratio"], 1.05))
    timed = [row for row in rows if math.isfinite(row["time"])]
    if timed:
        bars.append(measure.bar("time by one run of AdamW's, geometric mean", mean_of(timed, "time"), 1.2))
        slow = max(timed, key=lambda row: row["time"])
        bars.append(measure.bar(f"time by one run of AdamW's, the worst, {slow['workload']}", slow["time"], 1.2))
    return bars


def value_of(text: str) -> Any:
    """A number, a list, a truth value, or the word itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def main_table(chosen: list[Workload], runs: Runs, arguments: argparse.Namespace, settings: dict[str, Any]) -> list[Row]:
    """Each workload as it is; one line as soon as it is done."""
    rows = []
    for w in chosen:
        lr, theirs = against(w, runs, arguments.seeds, "adamw", adamw, CONVEX if w.convex else RATES)
        mine = own(w, runs, arguments.seeds, settings, arguments.ours_only)
        time = math.nan if arguments.no_time else timed(w, runs, lr, settings, arguments.ours_only)
        rows.append(row_of(w, mine, theirs, lr, time))
        r = rows[-1]
        print(f"  {w.name}: adamw {r['adamw']:.4f} at {lr:g}, ours {r['ours']:.4f}, {r['ratio']:.3f}, {r['time']:.2f}", flush=True)
    return rows


def peer_table(chosen: list[Workload], runs: Runs, arguments: argparse.Namespace, settings: dict[str, Any]) -> list[Row]:
    """Each workload against the best of all tuned updates there."""
    rows = []
    for w in chosen:
        rates = CONVEX if w.convex else RATES
        found = {"adamw": against(w, runs, arguments.seeds, "adamw", adamw, rates)}
        for name, grid in PEERS.items():
            run = lambda v, seed, lr, name=name: peer(v, seed, name, lr)  # noqa: E731
            found[name] = against(w, runs, arguments.seeds, name, run, grid)
        mine = own(w, runs, arguments.seeds, settings, arguments.ours_only)
        means = {name: ratio_of(mine, theirs)[0] for name, (_, theirs) in found.items()}
        best = max(means, key=lambda name: means[name])
        rows.append(row_of(w, mine, found[best][1], found[best][0], math.nan) | {"best": best} | means)
        print(f"  {w.name}: best {best}, ours by it {means[best]:.3f}", flush=True)
    return rows


def main() -> int:
    parser = measure.options(__doc__)
    parser.add_argument("--only", action="append", help="a workload; may be repeated", choices=list(workloads()))
    parser.add_argument("--seeds", type=int, default=5, help="seeds after the one that rates are chosen on")
    parser.add_argument("--ours-only", action="store_true", help="run our side anew, whatever is kept")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any argument of fit, for experiments")
    parser.add_argument("--variants", action="store_true", help="batch, steps, width, inputs, first weights changed")
    parser.add_argument("--no-time", action="store_true", help="leave out the timing, on a busy machine")
    parser.add_argument("--peers", action="store_true", help="against the best of other tuned updates")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = {name.replace(".", "__"): value_of(value) for name, _, value in (text.partition("=") for text in arguments.set)}
    if arguments.quick:
        arguments.seeds, arguments.only = 1, arguments.only or ["digits", "cancer"]
    named = workloads()
    chosen = [named[name] for name in arguments.only or (VARIED if arguments.variants else named)]
    runs = Runs()
    if arguments.variants:
        chosen = [varied(w, variant) for variant in VARIANTS for w in chosen]
    rows = (peer_table if arguments.peers else main_table)(chosen, runs, arguments, settings)
    if arguments.variants:
        worst = max(rows, key=lambda row: row["ratio"])
        bars = [measure.bar(f"the worst, {worst['workload']}", worst["ratio"], 1.15)]
    elif arguments.peers:
        bars = [measure.bar("ours by the best of six tuned updates, geometric mean", mean_of(rows), 1.02)]
        others = [row for row in rows if row["workload"] != BY_HEART]
        bars.append(
            measure.bar(f"the same without {BY_HEART}, whose score is the loss of its training data", mean_of(others), 1.02)
        )
    else:
        bars = judge(rows)
    measure.table([{k: v for k, v in row.items() if k not in ("kind",)} for row in rows], f"settings: {settings or 'none'}")
    measure.table(bars, measure.first_line(__doc__))
    name = "no_tuning" + ("_variants" if arguments.variants else "_peers" if arguments.peers else "")
    if not settings:
        claim = PEERS_CLAIM if arguments.peers else measure.first_line(__doc__)
        payload = {"claim": claim, "bars": bars, "rows": rows}
        measure.write(name, payload, arguments.quick or bool(arguments.only))
    return 0


if __name__ == "__main__":
    sys.exit(main())
