"""Claim: a fit that decides by itself whether to compile is never slower than an eager one, and 1.8 times faster over a minute.

Whole fits, set-up and compiling included, of the applications of `applications.py` and an MLP 32-64-64-10, for as many steps as
take an eager fit 3, 10 and 60 seconds. `eager` is `compile="off"`; `auto` decides; `cold` finds no machine code on disk, `warm`
that of the fit before. Every fit is a process of its own, one thread, one core; they are called in turn; the time is that of
`fit`, from its call to its return, the fastest of the rounds. AdamW, no validation data. Where `auto` decides against a program the
steps are the very same code, and two readings of it differ by up to a tenth: what is judged there is the time that deciding took,
beside that of an eager fit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measure
from measure import Row

SECONDS = {3: 8, 10: 3, 60: 1}  # of an eager fit -> rounds; the minute for the MLP alone
NAMES = ("MLP", "GRU", "PPO update", "circuit", "physics", "LSTM", "CNN")


def fit(name: str, steps: int, compiled: str) -> dict[str, Any]:
    """In a child: one fit, timed."""
    import torch
    from torch import nn

    import gradlearn
    import gradlearn.learn
    from application_models import applications

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if name == "MLP":
        g = torch.Generator().manual_seed(0)
        x, y = torch.randn(20_480, 32, generator=g), torch.randint(10, (20_480,), generator=g)
        layers = [nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
        model, data, loss, batch = nn.Sequential(*layers), (x, y), "cross_entropy", 32
    else:
        app = applications()[name]
        model, data, loss, batch = app.make(), (app.x, app.y), app.loss, app.batch
    deciding = [0.0]
    choose = gradlearn.learn.choose_program

    def timed(*given: Any, **more: Any) -> None:
        begin = time.perf_counter()
        choose(*given, **more)
        deciding[0] += time.perf_counter() - begin

    gradlearn.learn.choose_program = timed
    start = time.perf_counter()
    run = gradlearn.fit(model, data, loss, valid=None, steps=steps, batch=batch, update="adamw", lr=1e-3, compile=compiled)
    chosen = run.settings["choice"]["compile"]
    took = time.perf_counter() - start
    return {"seconds": took, "compile": chosen["value"], "why": chosen["why"], "deciding": deciding[0]}


def child(name: str, steps: int, compiled: str, cache: Path) -> dict[str, Any]:
    """One fit in a process of its own."""
    command = [sys.executable, __file__, "--child", name, str(steps), compiled]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"XDG_CACHE_HOME": str(cache)})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def pace(name: str, cache: Path) -> tuple[float, float]:
    """Seconds of the set-up of an eager fit, and of one step of it, from a short and a longer one."""
    short = min(child(name, 50, "off", cache)["seconds"] for _ in range(2))
    more, took = 50, 0.0
    while took < 1.5:  # below, the set-up's own differences would be taken for steps
        more *= 3
        took = child(name, 50 + more, "off", cache)["seconds"] - short
    return max(short - 50 * took / more, 0.0), took / more


def rows_of(name: str, wanted: dict[int, int]) -> list[Row]:
    """The readings of one model, eager, cold and warm in turn."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        setup, step = pace(name, Path(scratch) / "none")
        for seconds, rounds in wanted.items():
            steps = max(int((seconds - setup) / step), 10)
            found: dict[str, list[float]] = {"eager": [], "cold": [], "warm": [], "deciding": []}
            answer: dict[str, Any] = {}
            for k in range(rounds):
                cache = Path(scratch) / f"{seconds}-{k}"
                found["eager"].append(child(name, steps, "off", cache)["seconds"])
                for how in ("cold", "warm"):
                    answer = child(name, steps, "auto", cache)
                    found[how].append(answer["seconds"])
                    found["deciding"].append(answer["deciding"])
            fastest = {how: min(readings) for how, readings in found.items()}
            row: Row = {"model": name, "for": seconds, "steps": steps, "compile": answer["compile"], **fastest}
            row |= {f"{how}/eager": fastest[how] / fastest["eager"] for how in ("cold", "warm")}
            same = answer["compile"] == "off"
            row["judged"] = 1.0 + fastest["deciding"] / fastest["eager"] if same else row["cold/eager"]
            row["why"] = answer["why"]
            rows.append(row)
            said = f"eager {row['eager']:.2f} s, cold {row['cold']:.2f}, warm {row['warm']:.2f}"
            print(f"  {name} {seconds} s, {steps} steps: {row['compile']}; {said}", flush=True)
    return rows


def main() -> int:
    if "--child" in sys.argv:
        name, steps, compiled = sys.argv[2:5]
        print(json.dumps(fit(name, int(steps), compiled)))
        return 0
    parser = measure.options(__doc__)
    parser.add_argument("--only", action="append", choices=NAMES)
    arguments = parser.parse_args()
    wanted = {3: 1} if arguments.quick else SECONDS
    shorter = {k: v for k, v in wanted.items() if k < 60}
    rows = [row for name in arguments.only or NAMES for row in rows_of(name, wanted if name == "MLP" else shorter)]
    worst = max(rows, key=lambda row: row["judged"])
    bars = [measure.bar(f"slowest against eager, cold: {worst['model']}, {worst['for']} s", worst["judged"], 1.05)]
    for row in rows:
        if row["model"] == "MLP" and row["for"] == max(wanted):
            bars.append(measure.bar(f"MLP, {row['for']} s: eager / warm", 1.0 / row["warm/eager"], 1.8, below=False))
    measure.table([{k: v for k, v in row.items() if k != "why"} for row in rows], "seconds of whole fits")
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows}
    measure.write("fit_total", payload, arguments.quick or bool(arguments.only))
    return 0


if __name__ == "__main__":
    sys.exit(main())
