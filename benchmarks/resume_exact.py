"""Claim: a run stopped after any of 40 steps and resumed in a new process ends bit for bit as if it had never stopped.

Five series of 41 steps, each stopped by SIGTERM after step 1, 2, ... 40 and resumed to the end in a new process:

    images   `gradlearn train images`: BatchNorm, shifted pictures, EMA, scores on the way
    module   `fit` of a module of one's own: dropout, BatchNorm, inputs augmented inside it, EMA
    rewind   the same, with damaged examples in three batches in a row: skipped, skipped, rewound and cooled
    program, program rewind   these two with `compile="on"`; the unbroken run takes many steps a call, the stopped one each alone

Equal must be (`fingerprint.py`): weights and buffers, update, average, ring, dials, every log row but for its seconds,
and the files of `model/`. Processes are forked from a warm parent (`forks.py`); three more resumes are real commands.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import fingerprint
import forks
import measure
from measure import Row

if TYPE_CHECKING:
    from torch import nn

STEPS = 41
BATCH = 16
DAMAGED = (10, 11, 12)  # steps whose batches hold an example that is not a number


class Series(NamedTuple):
    """How a run is trained (stopping after so many steps, or 0: to its end) and resumed, given its folder."""

    train: Callable[[Path, int], object]
    resume: Callable[[Path], object]


def stopper(after: int) -> Callable[[Any, Any], None]:
    """Called after every step; after the right one it sends SIGTERM to this process, as a scheduler would."""

    def show(descent: Any, step: Any) -> None:
        if step.t + 1 == after:
            os.kill(os.getpid(), signal.SIGTERM)

    return show


# ---- images: the command's own functions, in process


def train_images(run: Path, stop: int) -> int:
    """`gradlearn train images --steps 41 ...`, stopped."""
    from gradlearn.session import begin

    user = {"steps": STEPS, "batch": BATCH, "model": "convnet", "convnet.width": 8, "seed": 0}
    return begin(None, user, {}, run.parent, run.name, time.monotonic(), stopper(stop), print).get("code", 0)


def resume_images(run: Path) -> int:
    """`gradlearn resume RUN`."""
    from gradlearn.session import resume

    return resume(run, stopper(0), print, time.monotonic()).get("code", 0)


# ---- module: fit() with a module that uses all that a resume must bring back


def module() -> nn.Module:
    """Dropout, BatchNorm, and an augmentation of the inputs that draws from torch's own generator."""
    import torch
    from torch import nn

    class Noise(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 0.1 * torch.randn_like(x) if self.training else x

    torch.manual_seed(0)
    inner = [nn.Linear(20, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3)]
    return nn.Sequential(Noise(), *inner, nn.Linear(32, 5))


def examples(damaged: bool) -> tuple[Any, Any]:
    """600 rows of 20 numbers, five classes; `damaged`: one NaN in each of the batches of the steps DAMAGED."""
    import torch

    from gradlearn.batches.shuffle import Shuffle
    from gradlearn.symbols import Now

    chance = torch.Generator().manual_seed(1)
    y = torch.randint(5, (600,), generator=chance)
    x = torch.randn(5, 20, generator=chance)[y] + torch.randn(600, 20, generator=chance)
    for t in DAMAGED if damaged else ():
        x[Shuffle(600, size=BATCH)(Now(t, STEPS, t * BATCH, 0))[0], 0] = float("nan")
    return x, y


def train_module(run: Path, stop: int, damaged: bool = False, compiled: str = "off") -> None:
    """fit(..., run=RUN), stopped."""
    import gradlearn

    show = stopper(stop) if stop or compiled == "off" else None  # nobody looks: a program may take several steps a call
    more = {"steps": STEPS, "batch": BATCH, "average": "ema", "compile": compiled}
    gradlearn.fit(module(), examples(damaged), valid=None, run=run, show=show, **more)


def resume_module(run: Path, damaged: bool = False) -> None:
    """fit(..., resume=RUN)."""
    import gradlearn

    gradlearn.fit(module(), examples(damaged), valid=None, resume=run)


SERIES = {
    "images": Series(train_images, resume_images),
    "module": Series(train_module, resume_module),
    "rewind": Series(lambda run, stop: train_module(run, stop, True), lambda run: resume_module(run, True)),
    "program": Series(lambda run, stop: train_module(run, stop, False, "on"), resume_module),
    "program rewind": Series(lambda run, stop: train_module(run, stop, True, "on"), lambda run: resume_module(run, True)),
}


def series(name: str, place: Path, stops: list[int]) -> list[Row]:
    """One row a stop: the parts that differ from the unbroken run, none if all is well."""
    train, resume = SERIES[name]
    log = place / f"{name}.log"
    whole = place / f"{name}-unbroken"
    forks.call(train, whole, 0, log=log)
    expected = fingerprint.fingerprint(whole)
    if name.endswith("rewind") and not any(b'"rewind"' in row for row in fingerprint.rows(whole / "actions.jsonl")):
        raise SystemExit(f"the series {name!r} has no rewind in its unbroken run; its data must be made worse")
    rows = []
    for stop in stops:
        run = place / f"{name}-{stop}"
        forks.call(train, run, stop, log=log, expect=(0, 143))
        saved = fingerprint.fingerprint(run)["t"]
        if int(saved) != stop:
            raise SystemExit(f"{name}: was to stop after step {stop}, its last checkpoint is of step {int(saved)}")
        forks.call(resume, run, log=log)
        rows.append(verdict(name, stop, "forked process", expected, run))
        print("." if rows[-1]["equal"] else "X", end="", flush=True)
    print(f" {name}: {sum(row['equal'] for row in rows)} of {len(rows)} equal", flush=True)
    return rows


def verdict(name: str, stop: int, by: str, expected: dict[str, str], run: Path) -> Row:
    """One row: what of a resumed run differs from the unbroken one."""
    differing = fingerprint.differing(expected, fingerprint.fingerprint(run))
    return {"series": name, "stop": stop, "resumed by": by, "equal": not differing, "differing": ", ".join(differing)}


def commands(place: Path, stops: list[int]) -> list[Row]:
    """The same with real `gradlearn resume` commands, which set their threads by themselves."""
    train, log = SERIES["images"].train, place / "images.log"
    expected = fingerprint.fingerprint(place / "images-unbroken")
    rows = []
    for stop in stops:
        run = place / f"images-command-{stop}"
        forks.call(train, run, stop, log=log, expect=(0, 143))
        done = measure.command("resume", str(run), "--json", extra={"OMP_NUM_THREADS": "2"})
        if done.code:
            raise SystemExit(f"gradlearn resume {run}: exit code {done.code}\n{done.said}")
        rows.append(verdict("images", stop, "gradlearn resume", expected, run))
    return rows


def main() -> int:
    parser = measure.options(__doc__)
    parser.add_argument("--series", choices=tuple(SERIES), action="append", help="default: all")
    arguments = parser.parse_args()
    forks.warm()
    stops = [1, 12, 40] if arguments.quick else list(range(1, STEPS))
    chosen = arguments.series or list(SERIES)
    rows: list[Row] = []
    with measure.scratch() as place:
        for name in chosen:
            rows += series(name, place, stops)
        if "images" in chosen:
            rows += commands(place, [12] if arguments.quick else [1, 20, 40])
    groups = sorted({(row["series"], row["resumed by"]) for row in rows})
    bars = []
    for name, by in groups:
        equal = [row["equal"] for row in rows if (row["series"], row["resumed by"]) == (name, by)]
        bars.append(measure.bar(f"{name}, {by}: equal of {len(equal)}", sum(equal), len(equal), below=False))
    wrong = [row for row in rows if not row["equal"]]
    if wrong:
        measure.table(wrong, "not equal")
    measure.table(bars, f"stopped after each of {len(stops)} steps, resumed, compared with the unbroken run")
    partial = arguments.quick or bool(arguments.series)
    payload = {"claim": measure.first_line(__doc__), "steps": STEPS, "damaged": DAMAGED, "bars": bars, "rows": rows}
    measure.write("resume_exact", payload, partial)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
