"""Claim: under a Pilot, loops of others come out of faults as our own loop does, and without faults they are bit for bit theirs.

Four loops (`pilot_contenders.py`): ours, a plain PyTorch loop, a LightningModule with automatic optimisation, and the Trainer of
transformers; each without and with remedies (ours: `act`; the others: a Pilot with nothing set), seven faults at step 250 of 600.
A run has come back if its cross-entropy on validation data exceeds that of the clean run of its seed by no more than the larger of
2 % and two standard deviations of clean runs over the seeds (of one loop, pooled over the loops): the spread.
"""

from __future__ import annotations

import math
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

import measure
from measure import Row
from pilot_contenders import FAULTS, LOOPS

SEEDS, CLEAN = 3, 8  # of each fault; of the clean runs
PYTHON = {"ours": sys.executable, "plain": sys.executable}
PYTHON |= {"lightning": str(measure.PEERS / "torch/bin/python"), "transformers": str(measure.PEERS / "transformers/bin/python")}


def keep_digits(path: Path) -> None:
    """1,200 digits to train on, 597 to score on; targets as ten shares each."""
    from gradlearn.data.digits import read_digits

    part = read_digits().parts["train"]
    x = np.concatenate([np.asarray(chunk) for chunk in part.chunks()]).reshape(-1, 64).astype(np.float32) / 255.0
    y = np.eye(10, dtype=np.float32)[part.labels]
    order = np.random.default_rng(0).permutation(len(x))
    a, b = order[:1200], order[1200:]
    np.savez(path, x=x[a], y=y[a], valid_x=x[b], valid_y=y[b])


def rows_of(loop: str, seeds: int, clean: int, faults: tuple[str, ...], extra: dict[str, str]) -> list[dict[str, Any]]:
    """Every run of one loop, in a warm process."""
    worker = measure.Worker(PYTHON[loop], "pilot_contenders.py", loop, extra)
    rows = []
    for fault in faults:
        for seed in range(clean if fault == "none" else seeds):
            for pilot in (False, True):
                row = {"loop": loop, "fault": fault, "seed": seed, "pilot": pilot}
                rows.append(row | worker.ask(fault=fault, seed=seed, pilot=pilot))
                print(f"  {loop}, {fault}, seed {seed}, {'with' if pilot else 'without'}: {rows[-1]['loss']:.4g}", flush=True)
    worker.close()
    return rows


def judge(rows: list[dict[str, Any]]) -> float:
    """Add to each row its `excess` over the clean run of its seed, and `back`: whether that is within doubt, which is returned."""
    clean = {(r["loop"], r["pilot"], r["seed"]): r["loss"] for r in rows if r["fault"] == "none"}
    runs = [[v for (loop, pilot, _), v in clean.items() if (loop, pilot) == key] for key in {key[:2] for key in clean}]
    spread = math.sqrt(statistics.mean(statistics.variance(some) if len(some) > 1 else 0.0 for some in runs))
    doubt = max(0.02 * statistics.mean(clean.values()), 2.0 * spread)
    for row in rows:
        excess = row["loss"] - clean[row["loop"], row["pilot"], row["seed"]]
        row["excess"] = excess if math.isfinite(excess) else math.inf
        row["back"] = row["excess"] <= doubt
    return doubt


def shown(rows: list[dict[str, Any]], faults: tuple[str, ...], loops: list[str]) -> list[Row]:
    """A row for each fault: per loop, runs that came back without and with remedies, and the median loss with them."""
    table: list[Row] = []
    for fault in faults:
        row: Row = {"fault": fault}
        for loop in loops:
            for pilot in (False, True):
                some = [r for r in rows if (r["loop"], r["fault"], r["pilot"]) == (loop, fault, pilot)]
                middle = statistics.median(r["loss"] if math.isfinite(r["loss"]) else math.inf for r in some)
                row[f"{loop}{' +' if pilot else ''}"] = f"{sum(r['back'] for r in some)}/{len(some)} ({middle:.3g})"
        table.append(row)
    return table


def bars_of(rows: list[dict[str, Any]], loops: list[str], doubt: float) -> list[Row]:
    """What is claimed: each loop under a Pilot ends, fault by fault, where ours does, and no clean run is changed."""
    faults = [fault for fault in FAULTS if fault != "none" and any(r["fault"] == fault for r in rows)]

    def excess(loop: str, fault: str) -> float:
        return statistics.median(r["excess"] for r in rows if (r["loop"], r["fault"], r["pilot"]) == (loop, fault, True))

    def back(loop: str) -> int:
        return sum(r["back"] for r in rows if r["loop"] == loop and r["pilot"] and r["fault"] != "none")

    bars = []
    for loop in [loop for loop in loops if loop != "ours"]:
        if "ours" in loops:
            worst = max(faults, key=lambda fault: excess(loop, fault) - excess("ours", fault))
            apart = (excess(loop, worst) - excess("ours", worst)) / doubt
            bars.append(measure.bar(f"{loop}: excess loss over ours, worst fault ({worst}), in units of the spread", apart, 1.0))
            bars.append(
                measure.bar(
                    f"{loop}: runs that came back, less those of ours ({back('ours')})", back(loop) - back("ours"), 0, False
                )
            )
        clean = [(r["seed"], r["loss"]) for r in rows if r["loop"] == loop and r["fault"] == "none"]
        bars.append(measure.bar(f"{loop}: clean runs that a Pilot changed", len(set(clean)) - len({s for s, _ in clean}), 0))
    return bars


def main() -> int:
    parser = measure.options(__doc__)
    parser.add_argument("--only", action="append", choices=list(LOOPS))
    arguments = parser.parse_args()
    loops = [loop for loop in arguments.only or LOOPS if Path(PYTHON[loop]).exists()]
    faults = FAULTS[:3] if arguments.quick else FAULTS
    seeds, clean = (1, 2) if arguments.quick else (SEEDS, CLEAN)
    rows: list[dict[str, Any]] = []
    with measure.scratch() as folder:
        keep_digits(folder / "digits.npz")
        extra = {"PILOT_DATA": str(folder / "digits.npz"), "PYTHONPATH": str(measure.ROOT / "src")}
        for loop in loops:
            rows += rows_of(loop, seeds, clean, faults, extra)
    doubt = judge(rows)
    table, bars = shown(rows, faults, loops), bars_of(rows, loops, doubt)
    measure.table(table, "runs that came back (median validation loss); +: with remedies, a Pilot")
    measure.table(bars)
    kept = [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()} for row in rows]
    whole = arguments.quick or len(loops) < len(LOOPS)
    measure.write(
        "pilot_loops", {"claim": measure.first_line(__doc__), "bars": bars, "rows": table, "runs": kept}, whole, peers=True
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
