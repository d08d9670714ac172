"""Claim: a run killed (SIGKILL) at any instant resumes, and ends bit for bit as if it had never been killed.

`gradlearn train images` on digits with a checkpoint after every step, killed at 200 instants drawn uniformly from the
time between the moment its folder exists and its end: amid steps, checkpoints, scores, pictures, model and report.
Then `gradlearn resume`. Equal to the unbroken run must be what `fingerprint.py` reads: the whole last checkpoint, every
log row but for its seconds, the bytes of `model/`. A run that is over before it is killed does not count and is drawn
again. Processes are forked from a warm parent (`forks.py`), which saves seconds a kill. Then half as many of runs with
`--compile on`: the step is a compiled program.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import fingerprint
import forks
import measure
from measure import Row

STEPS = 30
BATCH = 16


COMPILE = ["off"]  # what `train` is told


def train(run: Path) -> int:
    """The command, in process."""
    from gradlearn.cli import run as command

    options = [
        "--steps",
        str(STEPS),
        "--batch",
        str(BATCH),
        "--model",
        "convnet",
        "--convnet.width",
        "8",
        "--save-every",
        "1",
        "--compile",
        COMPILE[0],
        "--json",
    ]
    return command(["train", "images", *options, "--name", run.name, "--runs", str(run.parent)])


def resume(run: Path) -> int:
    """The command, in process."""
    from gradlearn.cli import run as command

    return command(["resume", str(run)])


def exists(run: Path, pid: int) -> None:
    """Waits until the run folder is there."""
    while not run.exists():
        if os.waitpid(pid, os.WNOHANG)[0]:
            raise SystemExit("the run ended before its folder existed")
        time.sleep(0.0005)


def unbroken(run: Path, log: Path) -> float:
    """Trains to the end; seconds between the moment that the folder exists and the end."""
    pid = forks.start(train, run, log=log)
    exists(run, pid)
    start = time.perf_counter()
    code = forks.wait(pid)
    if code:
        raise SystemExit(f"the unbroken run: exit code {code}\n{log.read_text()[-3000:]}")
    return time.perf_counter() - start


def killed(run: Path, log: Path, seconds: float) -> bool:
    """Trains and kills so long after the folder exists; False if the run was over by then."""
    pid = forks.start(train, run, log=log)
    exists(run, pid)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return forks.wait(pid) == -signal.SIGKILL


def phase(run: Path) -> str:
    """Where the kill found the run, from what it left."""
    steps = len(list(run.glob("checkpoints/step-*")))
    if not steps:
        return "before the first checkpoint"
    if any(run.glob(f"checkpoints/step-{STEPS:012d}")):
        return "after the last checkpoint"
    return "among steps and checkpoints"


def once(run: Path, log: Path, seconds: float, expected: dict[str, str], files: set[str]) -> Row | None:
    """One kill and its resume; None if the run was over already."""
    if not killed(run, log, seconds):
        return None
    row: Row = {"after_s": round(seconds, 4), "phase": phase(run)}
    code = forks.wait(forks.start(resume, run, log=log))
    differing = fingerprint.differing(expected, fingerprint.fingerprint(run)) if code == 0 else ["not resumed"]
    left = sorted(name for name in names(run) - files if ".lost-" not in name)
    said = log.read_text(errors="replace")[-600:].replace(str(measure.ROOT), ".") if code else ""
    return row | {
        "resumed": code == 0,
        "equal": not differing,
        "differing": ", ".join(differing),
        "left": left,
        "said": said,
    }


def names(run: Path) -> set[str]:
    """Every path in a run folder."""
    return {str(path.relative_to(run)) for path in run.rglob("*")}


def series(wanted: int, chance: random.Random) -> tuple[list[Row], float, int]:
    """So many kills and their resumes; seconds that a run lasts; how many were over before the kill."""
    rows: list[Row] = []
    over = 0
    with measure.scratch() as place:
        log, whole = place / "log", [place / f"unbroken-{i}" for i in range(3)]
        lasts = min(unbroken(run, log) for run in whole)
        prints = [fingerprint.fingerprint(run) for run in whole]
        expected, files = prints[0], names(whole[0])
        if odd := [name for one in prints[1:] for name in fingerprint.differing(expected, one)]:
            raise SystemExit(f"unbroken runs differ from one another in {', '.join(odd)}")
        while len(rows) < wanted:
            run = place / f"killed-{len(rows) + over}"
            row = once(run, log, chance.uniform(0, lasts), expected, files)
            over += row is None
            rows += [{"compile": COMPILE[0]} | row] if row else []
            measure.remove(run)
            print("" if row is None else "." if row["equal"] else "X", end="", flush=True)
        print()
    return rows, lasts, over


def main() -> int:
    parser = measure.options(__doc__)
    parser.add_argument("--kills", type=int, default=200, help="default 200")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    arguments = parser.parse_args()
    forks.warm()
    wanted, chance = 6 if arguments.quick else arguments.kills, random.Random(arguments.seed)
    rows: list[Row] = []
    over = 0
    for COMPILE[0], many in (("off", wanted), ("on", max(wanted // 2, 3))):
        more, lasts, too_late = series(many, chance)
        rows, over = rows + more, over + too_late
    resumed, equal = (sum(row[key] for row in rows) for key in ("resumed", "equal"))
    bars = [measure.bar(f"resumed of {len(rows)}", resumed, len(rows), below=False)]
    bars.append(measure.bar(f"equal to the unbroken run, of {len(rows)}", equal, len(rows), below=False))
    phases = Counter(row["phase"] for row in rows)
    if wrong := [row for row in rows if not row["equal"] or row["left"]]:
        measure.table(wrong, "not equal, or files left behind")
    measure.table([{"killed": name, "times": n} for name, n in phases.items()], f"{over} runs were over before the kill")
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "run_s": round(lasts, 3), "over": over, "phases": dict(phases)}
    measure.write("kill", {**payload, "bars": bars, "rows": rows}, arguments.quick)
    return 0 if equal == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
