"""Claim: `--help` and `list` answer in 0.5 s, a second `make demo` trains in 10 s; a first step comes in 1.2 of PyTorch's time.

Wall time of whole commands, warm page cache, .pyc files there: medians. For the demo: from the start of `make demo`,
everything being set up, to the first row of its run's log; then it is ended.

The first step of the MLP 32-64-64-10 (`first_step.py`), one core: from the start of the process to the end of the step, ours and
every other library's in turn; ratios are to a hand-written step with torch.optim.AdamW in the same round, medians. For
`gradlearn train images --steps 1` it is the whole command: a convolutional network, two scorings, checkpoint and model.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import measure
from measure import ROOT, Row

LIMIT = 0.5
DEMO_LIMIT = 10.0
STEP_LIMIT = 1.2
COMMAND = ("train", "images", "--steps", "1")
PROGRAMS = {  # in words, by environment of `.peers/` (none: ours), name in `first_step.py` and backend of Keras
    ("", "torch", ""): "import torch",
    ("", "raw", ""): "hand-written, torch.optim.AdamW",
    ("", "ours", ""): "gradlearn.fit",
    ("", "ours_folder", ""): "gradlearn.fit, run folder",
    ("", "sklearn", ""): "scikit-learn MLPClassifier",
    ("torch", "skorch", ""): "skorch",
    ("torch", "lightning", ""): "Lightning, minimal",
    ("transformers", "transformers", ""): "transformers Trainer, minimal",
    ("torch", "keras", "torch"): "Keras on torch",
    ("jax", "keras", "jax"): "Keras on JAX",
}
BARE, RAW, OURS = PROGRAMS["", "torch", ""], PROGRAMS["", "raw", ""], (PROGRAMS["", "ours", ""], PROGRAMS["", "ours_folder", ""])
WHOLE = "gradlearn " + " ".join(COMMAND) + ", whole"


def answers(arguments: list[str], repeats: int) -> Row:
    """One command, called `repeats` times after one call that warms the caches."""
    times = [wall(arguments) for _ in range(repeats + 1)]
    return row("gradlearn " + " ".join(arguments), times[1:])


def wall(arguments: list[str]) -> float:
    """Seconds of one command."""
    done = measure.command(*arguments)
    if done.code:
        raise SystemExit(f"gradlearn {' '.join(arguments)}: exit code {done.code}\n{done.said}")
    return done.wall


def row(what: str, times: list[float]) -> Row:
    """One row of the table."""
    spread = {name: round(value, 3) for name, value in measure.spread(times).items()}
    return {"command": what, **spread, "repeats": len(times)}


def first_step(patience: float) -> float:
    """Seconds from the start of `make demo` to the first logged step of its run, in a folder of its own."""
    with measure.scratch() as runs:
        start = time.perf_counter()
        demo = ["make", "demo", f"ARGS=--runs {runs.relative_to(ROOT)}"]
        void = subprocess.DEVNULL
        process = subprocess.Popen(demo, cwd=ROOT, start_new_session=True, stdout=void, stderr=void)
        try:
            while time.perf_counter() - start < patience:
                if any(stepped(run) for run in runs.glob("*/")):
                    return time.perf_counter() - start
                if process.poll() is not None:
                    raise SystemExit(f"make demo ended with {process.returncode} before its run had a step")
                time.sleep(0.01)
            raise SystemExit(f"make demo: no step in {patience:.0f} s")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def stepped(run: Path) -> bool:
    """Whether a run's log has a row."""
    log = run / "steps.jsonl"
    return log.exists() and log.stat().st_size > 0


@contextmanager
def one_core() -> Iterator[None]:
    """Inside, this process and all that it starts have one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def step_of(environment: str, name: str, backend: str, runs: Path) -> float:
    """Seconds from the start of a process to the end of its first step."""
    python = str(measure.PEERS / environment / "bin" / "python") if environment else sys.executable
    extra = {"RUNS": str(runs), "KERAS_BACKEND": backend or "torch", "JAX_PLATFORMS": "cpu"}
    start = time.monotonic()
    command = [python, "-W", "ignore", str(ROOT / "benchmarks" / "first_step.py"), name]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | extra, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"first_step.py {name}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1]) - start


def first_steps(repeats: int) -> list[dict[str, float]]:
    """Rounds of all programs, after one that warms the caches; every other round the other way round."""
    found = []
    with measure.scratch() as runs, one_core():
        for i in range(repeats + 1):
            order = [*PROGRAMS, None] if i % 2 else [None, *reversed(PROGRAMS)]
            row = {}
            for program in order:
                if program is None:
                    row[WHOLE] = wall([*COMMAND, "--runs", str(runs / "whole"), "--json"])
                else:
                    row[PROGRAMS[program]] = step_of(*program, runs)
            print(f"  {i}/{repeats}: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in row.items()), flush=True)
            found.append(row)
    return found[1:]


def compared(found: list[dict[str, float]]) -> list[Row]:
    """A row a program, with its ratio to the hand-written step."""
    rows = []
    for name in (*PROGRAMS.values(), WHOLE):
        times = [one[name] for one in found]
        ratio = statistics.median(one[name] / one[RAW] for one in found)
        what = name if name in (BARE, WHOLE) else f"{name}: to the first step"
        rows.append(row(what, times) | {"ratio": round(ratio, 3)})
    return rows


def main() -> None:
    arguments = measure.options(__doc__).parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # ours is imported from a checkout: let it have .pyc files as peers have
    repeats, demos = (2, 1) if arguments.quick else (9, 3)
    missing = [name for name, *_ in PROGRAMS if name and not (measure.PEERS / name).exists()]
    if missing:
        raise SystemExit(f"no .peers/{missing[0]}; run benchmarks/peers.sh first")
    rows = [answers(["--help"], repeats), answers(["list"], repeats)]
    bars = [measure.bar(f"{one['command']}, s", one["median"], LIMIT) for one in rows]
    if (ROOT / "Makefile").exists():
        first_step(3600)  # the first one may have to set everything up
        rows.append(row("make demo, to the first step", [first_step(120) for _ in range(demos)]))
        bars.append(measure.bar("second make demo: to the first step, s", rows[-1]["median"], DEMO_LIMIT))
    found = first_steps(1 if arguments.quick else 7)
    steps = compared(found)
    bars += [
        measure.bar(f"{name} / hand-written", statistics.median(one[name] / one[RAW] for one in found), STEP_LIMIT)
        for name in (*OURS, WHOLE)
    ]
    measure.table(rows, "start-up, seconds")
    measure.table(steps, "process start to the end of the first step, seconds; ratio: to the hand-written one")
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows + steps}
    measure.write("start_up", {**payload, "seconds": found}, arguments.quick, peers=True)


if __name__ == "__main__":
    main()
