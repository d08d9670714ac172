"""Claim: `gradlearn --help` and `gradlearn list` answer in half a second; a second `make demo` trains within 10 s.

Wall time of whole commands, warm page cache, .pyc files there: medians. For the demo: from the start of `make demo`,
everything being set up, to the first row of its run's log; then it is ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import measure
from measure import ROOT, Row

LIMIT = 0.5
DEMO_LIMIT = 10.0


def answers(arguments: list[str], repeats: int) -> Row:
    """One command, called `repeats` times after one call that warms the caches."""
    times = []
    for _ in range(repeats + 1):
        done = measure.command(*arguments)
        if done.code:
            raise SystemExit(f"gradlearn {' '.join(arguments)}: exit code {done.code}\n{done.said}")
        times.append(done.wall)
    return row("gradlearn " + " ".join(arguments), times[1:])


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


def main() -> None:
    arguments = measure.options(__doc__).parse_args()
    repeats, demos = (2, 1) if arguments.quick else (9, 3)
    rows = [answers(["--help"], repeats), answers(["list"], repeats)]
    bars = [measure.bar(f"{one['command']}, s", one["median"], LIMIT) for one in rows]
    if (ROOT / "Makefile").exists():
        first_step(3600)  # the first one may have to set everything up
        rows.append(row("make demo, to the first step", [first_step(120) for _ in range(demos)]))
        bars.append(measure.bar("second make demo: to the first step, s", rows[-1]["median"], DEMO_LIMIT))
    measure.table(rows, "start-up, seconds")
    measure.table(bars)
    measure.write("start_up", {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows}, arguments.quick)


if __name__ == "__main__":
    main()
