"""Claim: in 2 s of one core `minimize` finds the global minima of six shifted, rotated functions at least as often as any peer.

Shifted Rastrigin, Ackley, Rosenbrock, Griewank, Schwefel and Levy, each also rotated, in 10 and 30 dimensions; the seed decides
shift, rotation and start. Solved: within 1e-6 of the minimum, at a point within the bounds, computed again in numpy. Every
program is stopped when it has solved, or at 2 s of processor time of one thread, imports not counted; the peers' functions are
numpy, with gradients by hand, rows where a program takes them; ours is the torch function. Peers: SciPy's dual annealing (with
exact gradients, and at its defaults), differential evolution and basin hopping, CMA-ES (package cma), Nevergrad's NGOpt. Results
are kept as they come in build/benchmarks/minimize_global.jsonl: a run that was stopped goes on.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import measure
from global_functions import NAMES, problem
from measure import Row

PEERS = ("dual_annealing", "dual_annealing_plain", "differential_evolution", "basinhopping", "cma", "nevergrad")
SECONDS, GOAL = 2.0, 1e-6
HERE = Path(__file__).parent


def ours(jobs: list[Row], seconds: float) -> Iterator[Row]:
    """gradlearn, in this process: one thread, processor time."""
    import torch

    from gradlearn import descend
    from gradlearn.minimum import function as counting

    torch.set_num_threads(1)
    counting.clock = time.process_time
    warm = problem("rastrigin", 5, True, 0)
    descend.minimize(warm.torch(), torch.from_numpy(warm.start), bounds=(-warm.side, warm.side), time=0.3)
    for job in jobs:
        p = problem(job["name"], job["n"], job["rotated"], job["seed"])
        start, box = torch.from_numpy(p.start), (-p.side, p.side)
        r = descend.minimize(p.torch(), start, bounds=box, time=seconds, seed=job["seed"], target=GOAL)
        x = r.x.numpy()
        value = float(p.value(x))
        when = [f.seconds for f in r.found if f.value <= GOAL and f.seconds <= seconds]
        solved = bool(when) and value <= GOAL * (1 + 1e-6) and bool((abs(x) <= p.side).all())
        row = job | {"program": "gradlearn", "value": value, "solved": solved, "evaluations": r.nfev}
        yield row | {"seconds": when[0] if solved else None, "failed": ""}


def peer(name: str, jobs: list[Row], seconds: float) -> Iterator[Row]:
    """A peer, in its own environment."""
    python = measure.PEERS / "optimise" / "bin" / "python"
    command = [str(python), str(HERE / "global_peers.py"), name, str(seconds), str(GOAL)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    lines = "".join(json.dumps(job) + "\n" for job in jobs)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | threads)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(lines)
    process.stdin.close()
    for line in process.stdout:
        yield json.loads(line)
    if process.wait():
        raise SystemExit(f"{name}: ended with {process.returncode}")


def key(row: Row) -> tuple[str, str, int, bool, int]:
    return row["program"], row["name"], row["n"], row["rotated"], row["seed"]


def results(jobs: list[Row], programs: list[str], seconds: float, kept: Path, fresh: bool) -> list[Row]:
    """Every program on every job; what is kept is not run again."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    rows = {} if fresh or not kept.exists() else {key(r): r for r in map(json.loads, kept.read_text().splitlines())}
    with kept.open("w" if fresh else "a") as file:
        for name, n, rotated in dict.fromkeys((j["name"], j["n"], j["rotated"]) for j in jobs):
            for program in programs:
                part = [j for j in jobs if (j["name"], j["n"], j["rotated"]) == (name, n, rotated)]
                part = [j for j in part if key(j | {"program": program}) not in rows]
                if not part:
                    continue
                for row in ours(part, seconds) if program == "gradlearn" else peer(program, part, seconds):
                    rows[key(row)] = row
                    file.write(json.dumps(row) + "\n")
                    file.flush()
            print(f"  {name} {n}{' rotated' if rotated else ''}: done", flush=True)
    wanted = {key(j | {"program": p}) for j in jobs for p in programs}
    return [row for k, row in rows.items() if k in wanted]


def summary(rows: list[Row], programs: list[str]) -> list[Row]:
    """One line for each row of the table: solved and median seconds (unsolved counts as infinite) of each program."""
    table = []
    for name, n, rotated in dict.fromkeys((r["name"], r["n"], r["rotated"]) for r in rows):
        line: Row = {"function": f"{name}{' rotated' if rotated else ''}", "n": n}
        for program in programs:
            mine = [r for r in rows if key(r)[:4] == (program, name, n, rotated)]
            line[program] = sum(r["solved"] for r in mine)
            times = sorted(r["seconds"] if r["solved"] else float("inf") for r in mine)
            middle = statistics.median_low(times)
            line[f"{program} s"] = None if middle == float("inf") else round(middle, 4)
        table.append(line)
    return table


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds (default 20)")
    parser.add_argument("--fresh", action="store_true", help="forget what was kept of an earlier run")
    parser.add_argument("--functions", default=",".join(NAMES), help="some of the functions")
    parser.add_argument("--ours", action="store_true", help="only gradlearn; nothing is kept")
    arguments = parser.parse_args()
    quick = arguments.quick or arguments.ours or arguments.functions != ",".join(NAMES)
    seeds, dimensions = (2, [10]) if arguments.quick else (arguments.seeds, [10, 30])
    seconds = 0.5 if arguments.quick else SECONDS
    programs = ["gradlearn"] if arguments.ours else ["gradlearn", *PEERS]
    jobs: list[Row] = [
        {"name": name, "n": n, "rotated": rotated, "seed": seed}
        for name in arguments.functions.split(",")
        for rotated in (False, True)
        for n in dimensions
        for seed in range(seeds)
    ]
    kept = measure.SMOKE / ("minimize_global_quick.jsonl" if quick else "minimize_global.jsonl")
    rows = results(jobs, programs, seconds, kept, arguments.fresh or quick)
    table = summary(rows, programs)
    measure.table([{k: v for k, v in line.items() if not k.endswith(" s")} for line in table], f"solved of {seeds}")
    measure.table(
        [{k.removesuffix(" s"): v for k, v in line.items() if k in ("function", "n") or k.endswith(" s")} for line in table],
        "median s",
    )
    if arguments.ours:
        return
    never = float("inf")
    most = [max(line[p] for p in PEERS) for line in table]
    behind = sum(line["gradlearn"] < best for line, best in zip(table, most, strict=True))
    quickest = [min(line[f"{p} s"] or never for p in PEERS) for line in table]
    ahead = sum((line["gradlearn s"] or never) <= other for line, other in zip(table, quickest, strict=True))
    bars = [
        measure.bar("rows where a peer solves more", behind, 0),
        measure.bar(
            "solved in all, over the best peer of each row", sum(line["gradlearn"] for line in table) - sum(most), 1, below=False
        ),
        measure.bar("share of rows with a median time at most the best peer's", ahead / len(table), 2 / 3, below=False),
    ]
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "bars": bars, "rows": table, "seeds": seeds}
    measure.write("minimize_global", payload, quick or seeds < 20, peers=True)


if __name__ == "__main__":
    sys.exit(main())
