"""The commands `probe` and `twins`: what a training would be is planned as `train` plans it; then it is looked at, not run.

    gradlearn probe images [PATH] [--picture band.svg]        gradlearn twins images [PATH] [--page twins.html]

TASK may also be MODULE:FUNCTION, a function of one's own that returns (model, (x, y), loss). All options are those of `train`, less
what belongs to a run folder; `--time` is what the command itself may take, from its start to its end.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gradlearn import contrast
from gradlearn.band import Band, band
from gradlearn.band import probe as probe_module
from gradlearn.contrast import Twins, shared, side_by_side
from gradlearn.data.augment import DIALS
from gradlearn.errors import InputTrouble
from gradlearn.gradient_check import loaded
from gradlearn.live import Live
from gradlearn.opening import ENDING, begun_plan, planned, read, start_of
from gradlearn.plan import Plan, seconds_of
from gradlearn.symbols import Offered, Task


def probe(options: argparse.Namespace, user: dict[str, Any], reading: dict[str, Any], begun: float) -> int:
    """`gradlearn probe TASK [PATH]`: the band in words and as a small drawing; a picture where it is asked for."""
    seconds = None if "time" not in user else seconds_of(user.pop("time"))
    if ":" in options.task:
        model, data, loss = loaded(options.task)
        found = probe_module(model, data, loss, time=seconds, **_named(user, {"time"}))
    else:
        found = _task_band(options, user, reading, begun, seconds)
    picture = None if options.picture is None else found.picture(options.picture)
    if options.json:
        print(json.dumps(found.document() | {"picture": None if picture is None else str(picture), "explain": found.explain()}))
        return 0
    from gradlearn.report.band import lines

    print("\n".join(lines(found.document())))
    print(f"\n{found.explain()}")
    if picture is not None:
        print(f"\npicture {picture}")
    return 0


def _task_band(
    options: argparse.Namespace, user: dict[str, Any], reading: dict[str, Any], begun: float, given: float | None
) -> Band:
    task, plan = _task(options, {"compile": "off"} | user, reading)
    d, _ = planned(task, plan, begun, lambda line: None)
    left = None if given is None else max(given - (time.monotonic() - begun) - 0.2, 0.1)
    return band(d, lr=plan["lr"], seconds=left)


def _task(options: argparse.Namespace, user: dict[str, Any], reading: dict[str, Any]) -> tuple[Offered, Plan]:
    """The task as `train` reads it, and the plan so far."""
    plan = begun_plan(user)
    start = start_of(plan, reading)
    task = read(options.task, options.path, plan, reading, options.runs)
    task.start = start
    task.choose()
    return task, plan


def _named(user: dict[str, Any], less: set[str]) -> dict[str, Any]:
    """The choices as arguments of the functions for modules."""
    for name in ("model", *DIALS):
        if name in user:
            raise InputTrouble(f"--{name}: for pictures; a module of your own has none")
    return {k.replace(".", "__"): v for k, v in user.items() if k not in less | {"threads"}}


def twins(options: argparse.Namespace, user: dict[str, Any], reading: dict[str, Any], begun: float) -> int:
    """`gradlearn twins TASK [PATH]`: five trainings, a sentence for each, one page."""
    with Live(quiet=options.json) as live:
        if ":" in options.task:
            model, data, loss = loaded(options.task)
            found = contrast.twins(model, data, loss, say=live.say, **_named(user, {"act"}))
        else:
            found = _task_twins(options, user, reading, begun, live.say)
    path = options.page
    if path is None:
        options.runs.mkdir(parents=True, exist_ok=True)
        path = options.runs / "twins.html"
    found.page(path)
    if options.json:
        plain = found.document()
        for t in plain["twins"]:
            del t["loss"], t["lrs"]
        print(json.dumps(plain | {"page": str(path), "explain": found.explain()}))
        return 0
    print(f"\n{found.explain()}\n\npage {path}")
    return 0


def _task_twins(
    options: argparse.Namespace, user: dict[str, Any], reading: dict[str, Any], begun: float, say: Callable[[str], None]
) -> Twins:
    given = seconds_of(user["time"]) if "time" in user else contrast.SECONDS
    task, plan = _task(options, {k: v for k, v in user.items() if k != "time"} | {"act": False}, reading)
    say(task.found())
    spent = time.monotonic() - begun if "time" in user else 0.0
    timed = shared(user | {"time": max(given - spent - 1.0, 1.0)} if not user.keys() & {"steps", "epochs"} else user, ENDING)
    if "time" in timed:
        plan.choose("time", timed["time"], "a fifth of it for each of five")
    planned(task, plan, time.monotonic(), say)

    def make(own: Plan, rows: torch.Tensor | None) -> tuple[Task, nn.Module | None]:
        return task.again(own, rows), None

    valid = task.held("valid")
    found = side_by_side(plan, make, task.data("train"), valid, say)
    return Twins(options.task, found, len(found[0].loss), plan["update"], len(valid or ()), time.monotonic() - begun)
