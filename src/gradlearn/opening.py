"""What comes before step 0 of a task of the command line: the device, the data, and every choice, the clock's among them.

    task = read(...);   task.choose();   descent, clock = planned(task, plan, begun, say)

With `--time` a few steps are taken and one scoring is done, to be forgotten; from what they took follow the size of the model, the
augmentation, the number of steps. For `session.py` (train, resume) and `showing.py` (probe, twins).
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gradlearn import fine_tune
from gradlearn.allocation import kept
from gradlearn.errors import InputTrouble
from gradlearn.find import find
from gradlearn.loop import Descent
from gradlearn.plan import (
    SMALL,
    Plan,
    batch_size,
    check_names,
    choose_batch,
    choose_descent,
    choose_length,
    choose_threads,
    seconds_of,
)
from gradlearn.program.choice import choose_program
from gradlearn.run import Clock, Pace, build, measure_score, pace_of
from gradlearn.start import Start, read_start
from gradlearn.symbols import Offered

Say = Callable[[str], None]
LARGE = 1e11  # operations in a step from which all cores are faster, and looking whether they are takes long
ENDING = 2.0  # seconds for pictures, report and the end of the process, on a machine that is busy just then


def begun_plan(user: dict[str, Any]) -> Plan:
    """The plan of these wishes, with seed and device. Raises InputTrouble for unknown names among them."""
    plan = Plan(user)
    plan.choose("seed", 0, "the usual one")
    plan.choose("device", "cuda" if torch.cuda.is_available() else "cpu", "what this machine has", "data")
    check_names(plan)
    return plan


def read(name: str, path: Path | None, plan: Plan, reading: dict[str, Any], runs: Path) -> Offered:
    """The task with its data; a file for those beyond the memory limit loses its name once it is open: nothing is left behind.

    Raises InputTrouble for a wish that the task does not read by.
    """
    kind = find("tasks", name)
    known = (*kind.reads, "channels")  # these come from weights to begin with, not from the command line
    if foreign := next((k for k, v in reading.items() if v is not None and k not in known), None):
        raise InputTrouble(f"--{foreign.replace('_', '-')}: is not for {name}; leave it out")
    limit = reading.get("memory") or _quarter_of_memory()
    cache = runs / f".decoded-{os.getpid()}"
    made = [folder for folder in (runs, *runs.parents) if not folder.exists()]
    runs.mkdir(parents=True, exist_ok=True)
    try:
        wishes = {k: v for k, v in reading.items() if v is not None} | {"memory": limit, "cache": cache}
        task: Offered = kind.read(path, plan, **wishes)
        if not task.nbytes <= limit:
            what = f"pictures of {task.nbytes / 1e6:,.0f} MB are read from disk, not memory"
            task.notes.append({"level": "info", "what": what, "count": 1, "examples": []})
        return task
    finally:
        trim()
        cache.unlink(missing_ok=True)
        for folder in made:
            if any(folder.iterdir()):
                break
            folder.rmdir()


def start_of(plan: Plan, reading: dict[str, Any]) -> Start | None:
    """The weights that --from names; network and pictures are chosen as they want them. Raises InputTrouble."""
    if "from" not in plan:
        return None
    start = read_start(Path(plan["from"]))
    start.settle(plan, reading)
    plan.choices["from"] = replace(plan.choices["from"], value=str(Path(plan["from"]).resolve()))
    return start


def trim() -> None:
    """Hand memory that reading and measuring needed for a moment back to the system, where the C library can (glibc)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _quarter_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@kept()
def planned(task: Offered, plan: Plan, begun: float, say: Say) -> tuple[Descent, Clock | None]:
    """All that was left open is chosen, for the time that is left where there is a limit; the descent stands before step 0."""
    n = task.n
    choose_batch(plan, n)
    if "time" not in plan:
        task.choose_size()
        choose_length(plan, n, task.suggested_epochs(n))
        task.choose_augmentation(round(plan["steps"] * batch_size(plan, n) / n, 2))  # whole steps are not whole epochs
        choose_threads(plan, task.work(), _cores())
        descent = built(task, plan)
        choose_program(descent, plan, plan["steps"])
        return descent, None
    budget = seconds_of(plan["time"])
    left = budget - (time.monotonic() - begun) - ENDING
    if left < 0.5:
        raise InputTrouble(f"--time {plan['time']}: reading the data took {budget - left - ENDING:.1f} s already; give more time")
    paces, look, ending = _measure(task, plan, left)
    pace = paces.mean
    left = budget - (time.monotonic() - begun) - ending - plan["looks"] * look
    plan.choose(
        "steps",
        max(int(0.98 * left / pace), 1),
        f"{pace * 1e3:.3g} ms a step, {left:.1f} s left for training",
        "measured",
    )
    descent = built(task, plan)
    choose_program(descent, plan, plan["steps"])
    now = time.monotonic()
    deadline = begun + budget - ending
    return descent, Clock(deadline, max(deadline - now, 0.1), paces, look)


def _measure(task: Offered, plan: Plan, left: float) -> tuple[Pace, float, float]:
    """(seconds of a step, seconds of each scoring on the way, seconds for everything after the last step)."""
    n = task.n
    pace = _pace(task, plan, left)
    measured = task.usual
    task.choose_size_in(left, pace.mean / batch_size(plan, n))
    if any(plan.get(name, value) != value for name, value in measured.items()):
        pace = _pace(task, plan, left)
        while task.reduce_size_in(left, pace.mean / batch_size(plan, n)):
            pace = _pace(task, plan, left)
    task.choose_augmentation(left / pace.mean * batch_size(plan, n) / n)
    d = build(task, _scratch(task, plan), valid=task.held("valid"), test=task.held("test"))
    again, test = measure_score(d, d.valid), measure_score(d, d.test)
    valid = again + measure_score(d, d.sample)
    if task.held("valid") is not None:
        plan.choose("looks", min(20, int(0.04 * left / max(valid, 1e-9))), f"each takes {valid:.2g} s", "measured")
    _looks(task, plan)
    return pace, valid, 2.0 * (valid + again + test) + ENDING + task.seconds_after() + 0.025 * left


def _pace(task: Offered, plan: Plan, left: float) -> Pace:
    """Seconds a step, the faster of two looks where there is time; with all cores or one, whichever is faster, unless settled."""
    scratch = _scratch(task, plan)
    d = build(task, scratch)
    choose_program(d, plan, 0, left)
    if "threads" not in plan and (_cores() == 1 or not SMALL <= task.work() < LARGE):
        choose_threads(plan, task.work(), _cores())
    paces: dict[int, Pace] = {}
    for threads in [plan["threads"]] if "threads" in plan else [1, _cores()]:
        torch.set_num_threads(threads)
        start = time.monotonic()
        paces[threads] = pace_of(d, min(0.75, 0.005 * left))
        if left >= 40 and time.monotonic() - start < 0.01 * left:  # of large steps even the fewest take longer than planned
            paces[threads] = min(paces[threads], pace_of(d, min(0.75, 0.005 * left)), key=lambda pace: pace.mean)
    best = min(paces, key=lambda k: paces[k].mean)
    told = ", ".join(f"{1e3 * v.mean:.3g} ms a step with {k}" for k, v in paces.items())
    torch.set_num_threads(plan.choose("threads", best, told, "measured"))
    return paces[best]


def _scratch(task: Offered, plan: Plan) -> Plan:
    """The plan with a length of its own, for measuring."""
    scratch = Plan({k: c.value for k, c in plan.items() if k != "time"} | {"steps": 1000})
    for name, value in task.usual.items():
        scratch.choose(name, value, "to measure with")
    choose_descent(scratch, task.n)
    return scratch


def built(task: Offered, plan: Plan) -> Descent:
    """The descent of a plan whose length is known."""
    torch.set_num_threads(plan["threads"])
    if "from" in plan:
        fine_tune.choose(plan)
    choose_descent(plan, task.n, task.targets)
    looks = _looks(task, plan)
    plan.choose("score_every", max(plan["steps"] // (looks + 1), 1) if looks else 0, "follows from the looks")
    check_names(plan)
    return build(task, plan, valid=task.held("valid"), test=task.held("test"))


def _looks(task: Offered, plan: Plan) -> int:
    if task.held("valid") is None:
        return plan.choose("looks", 0, "there are no validation pictures", "data")
    return plan.choose("looks", 20, "scores on the way")
