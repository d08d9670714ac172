"""One session of a run of a task: begin it or come back to it, train, and leave a model and an account behind.

    begin:  read -> plan -> (measure) -> run folder        resume: run folder -> read -> checkpoint
    both:   train -> score -> save -> tell

The command line's `train` and `resume`. Everything that can be wrong with what was given is said before the run folder is made.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch

from gradlearn.comeback import bring_back
from gradlearn.errors import CheckpointTrouble, InputTrouble, NumericsTrouble
from gradlearn.loop import Descent, evaluating, keep_shown
from gradlearn.plan import (
    SMALL,
    Plan,
    batch_size,
    check_names,
    choose_batch,
    choose_descent,
    choose_length,
    choose_threads,
    plan_from,
    seconds_of,
)
from gradlearn.program.choice import again, choose_program
from gradlearn.record import folder as folders
from gradlearn.record import settings as run_toml
from gradlearn.record.log import columns
from gradlearn.record.record import Record
from gradlearn.record.stop import Signals
from gradlearn.record.weights import write_model
from gradlearn.run import Clock, Show, build, carry_out, failed, measure, measure_score, settings, story_of, summarise
from gradlearn.seen import write_pictures
from gradlearn.tasks.images import Images, prepare

Say = Callable[[str], None]
USUAL = 32  # width of the network that the first measurement is made with
ENDING = 2.0  # seconds for pictures, report and the end of the process, on a machine that is busy just then


def begin(
    path: Path | None,
    user: dict[str, Any],
    reading: dict[str, Any],
    runs: Path,
    name: str | None,
    begun: float,
    show: Show,
    say: Say,
) -> dict[str, Any]:
    """`gradlearn train images`: returns the summary that --json prints."""
    plan = Plan(user)
    plan.choose("seed", 0, "the usual one")
    plan.choose("device", _device(), "what this machine has", "data")
    check_names(plan)
    if name is not None:
        folders.check_name(runs, name)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        task = _read(path, plan, reading, runs)
        say(_found(task))
        _warn_lint(task, say)
        task.choose()
        descent, clock = _plan(task, plan, begun, say)
        _trim()
        _stop_if_asked(signals)
        place = {} if path is None else {"path": str(path.resolve())}  # a resume may be asked for from another folder
        about = settings("images", plan, task.described() | place | {"reading": _plain(reading)})
        folder = folders.begin(runs, "images", name, lambda new: run_toml.write(new, about))
        stack.enter_context(folders.lock(folder))
        record = Record(folder, warn=lambda line: say(f"warning: {line}"))
        return _to_the_end(task, plan, descent, record, clock, show, say, signals, begun)


def resume(folder: Path, show: Show, say: Say, begun: float) -> dict[str, Any]:
    """`gradlearn resume RUN`: on from the newest checkpoint that verifies; a finished run is told and left alone."""
    folder = folders.open_run(folder)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        stack.enter_context(folders.lock(folder))
        saved = run_toml.read(folder)
        if saved.get("task") != "images":
            raise InputTrouble(
                f"{folder}: a run of {saved.get('task')!r}; resume it from Python with fit(..., resume={str(folder)!r})"
            )
        plan = plan_from(saved)
        finished = _finished(folder)
        if finished is not None:
            say(f"{folder}: is finished, nothing to do ({finished['stop']['message']})")
            return finished
        _warn_machine(saved, say)
        source = Path(saved["data"]["path"]) if "path" in saved["data"] else None
        task = _read(source, plan, dict(saved["data"]["reading"]), folder.parent)
        if task.pictures.fingerprint != saved["data"]["fingerprint"]:
            raise CheckpointTrouble(
                f"{folder}: the data at {saved['data']['source']} changed since the run began; put it back or start anew"
            )
        descent = _build(task, plan)
        again(descent, plan)
        record = bring_back(descent, folder, lambda line: say(f"warning: {line}"))
        say(f"{folder}: resumed at step {descent.t} of {descent.controls.end}")
        return _to_the_end(task, plan, descent, record, None, show, say, signals, begun)


def _read(path: Path | None, plan: Plan, reading: dict[str, Any], runs: Path) -> Images:
    """The pictures; a file for those beyond the memory limit loses its name once it is open: nothing can be left behind."""
    limit = reading.get("memory") or _quarter_of_memory()
    cache = runs / f".decoded-{os.getpid()}"
    made = [folder for folder in (runs, *runs.parents) if not folder.exists()]
    runs.mkdir(parents=True, exist_ok=True)
    try:
        task = prepare(path, plan, **{k: v for k, v in reading.items() if v is not None} | {"memory": limit, "cache": cache})
        if not task.pictures.pixels.nbytes <= limit:
            task.pictures.notes.append(
                _note(f"pictures of {task.pictures.pixels.nbytes / 1e6:,.0f} MB are read from disk, not memory")
            )
        return task
    finally:
        _trim()
        cache.unlink(missing_ok=True)
        for folder in made:
            if any(folder.iterdir()):
                break
            folder.rmdir()


def _trim() -> None:
    """Hand memory that reading and measuring needed for a moment back to the system, where the C library can (glibc)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _note(what: str) -> dict[str, Any]:
    return {"level": "info", "what": what, "count": 1, "examples": []}


def _quarter_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _plan(task: Images, plan: Plan, begun: float, say: Say) -> tuple[Descent, Clock | None]:
    n = len(task.pictures.split["train"])
    choose_batch(plan, n)
    if "time" not in plan:
        task.choose_size()
        choose_length(plan, n, task.suggested_epochs(n))
        task.choose_augmentation(plan["steps"] * batch_size(plan, n) / n)
        choose_threads(plan, task.work(), _cores())
        descent = _build(task, plan)
        choose_program(descent, plan, plan["steps"])
        return descent, None
    budget = seconds_of(plan["time"])
    left = budget - (time.monotonic() - begun) - ENDING
    if left < 0.5:
        raise InputTrouble(f"--time {plan['time']}: reading the data took {budget - left - ENDING:.1f} s already; give more time")
    pace, scoring, ending = _measure(task, plan, left)
    left = budget - (time.monotonic() - begun) - ending
    plan.choose(
        "steps",
        max(int(0.98 * left / (pace * (1 + scoring))), 1),
        f"{pace * 1e3:.3g} ms a step, {left:.1f} s left for training",
        "measured",
    )
    descent = _build(task, plan)
    choose_program(descent, plan, plan["steps"])
    now = time.monotonic()
    deadline = begun + budget - ending
    return descent, Clock(deadline, max(deadline - now, 0.1))


def _measure(task: Images, plan: Plan, left: float) -> tuple[float, float, float]:
    """(seconds a step, share of time that scoring on the way takes, seconds for everything after the last step)."""
    n = len(task.pictures.split["train"])
    pace = _pace(task, plan, left)
    task.choose_size_in(left, pace / batch_size(plan, n))
    if plan.get("convnet.width", USUAL) != USUAL:
        pace = _pace(task, plan, left)
    task.choose_augmentation(left / pace * batch_size(plan, n) / n)
    d = build(task, _scratch(plan), valid=task.held("valid"), test=task.held("test"))
    valid, test = measure_score(d, d.valid) + measure_score(d, d.sample), measure_score(d, d.test)
    if task.held("valid") is not None:
        plan.choose("looks", min(20, int(0.04 * left / max(valid, 1e-9))), f"each takes {valid:.2g} s", "measured")
    looks = _looks(task, plan)
    return pace, looks * valid / left, 2.0 * (valid + test) + ENDING + 0.015 * left


def _pace(task: Images, plan: Plan, left: float) -> float:
    """Seconds a step, the faster of two looks; with all cores or with one, whichever is faster, unless that is settled."""
    scratch = _scratch(plan)
    d = build(task, scratch)
    choose_program(d, plan, 0, left)
    if "threads" not in plan and (_cores() == 1 or task.work() < SMALL):
        choose_threads(plan, task.work(), _cores())
    paces: dict[int, float] = {}
    for threads in [plan["threads"]] if "threads" in plan else [1, _cores()]:
        torch.set_num_threads(threads)
        paces[threads] = min(measure(d, min(0.75, 0.005 * left)) for _ in range(1 if left < 40 else 2))
    best = min(paces, key=lambda k: paces[k])
    told = ", ".join(f"{1e3 * v:.3g} ms a step with {k}" for k, v in paces.items())
    torch.set_num_threads(plan.choose("threads", best, told, "measured"))
    return paces[best]


def _scratch(plan: Plan) -> Plan:
    """The plan with a length of its own, for measuring."""
    scratch = Plan({k: c.value for k, c in plan.items() if k != "time"} | {"steps": 1000})
    scratch.choose("convnet.width", USUAL, "to measure with")
    choose_descent(scratch)
    return scratch


def _build(task: Images, plan: Plan) -> Descent:
    torch.set_num_threads(plan["threads"])
    choose_descent(plan)
    looks = _looks(task, plan)
    plan.choose("score_every", max(plan["steps"] // (looks + 1), 1) if looks else 0, "follows from the looks")
    check_names(plan)
    return build(task, plan, valid=task.held("valid"), test=task.held("test"))


def _looks(task: Images, plan: Plan) -> int:
    if task.held("valid") is None:
        return plan.choose("looks", 0, "there are no validation pictures", "data")
    return plan.choose("looks", 20, "scores on the way")


def _to_the_end(
    task: Images,
    plan: Plan,
    d: Descent,
    record: Record,
    clock: Clock | None,
    show: Show,
    say: Say,
    signals: Signals,
    begun: float,
) -> dict[str, Any]:
    stop = carry_out(d, record, clock, show, signals, glances=True)
    folder = record.folder
    summary = summarise(task.name, d, folder, stop, time.monotonic() - begun)
    described = run_toml.read(folder)
    steps = columns(folder / "steps.jsonl", ["t", "loss", "norm", "lr", "n", "epoch", "applied", "seconds"])
    summary["story"] = story_of(described, d.history, steps, stop)
    if stop["reason"] == "signal":
        record.write_json("summary.json", summary)
        say(f"{stop['message']}; go on with: gradlearn resume {folder}")
        return summary | {"code": signals.code}
    keep_shown(d)
    with evaluating(d.theta.model):
        write_pictures(task, d, record)
        write_model(folder, d.theta.tensors(), task.card())
    record.write_json("summary.json", summary)
    from gradlearn.report.page import write

    write(folder)
    trouble = failed(stop)
    return summary | ({"code": NumericsTrouble.code, "error": str(trouble)} if trouble else {})


def _finished(folder: Path) -> dict[str, Any] | None:
    """The summary of a run that came to its end, with its model; None if there is anything left to do."""
    from gradlearn.record.strict import read

    if not ((folder / "summary.json").is_file() and (folder / "model").is_dir()):
        return None
    summary = read(folder / "summary.json")
    return None if summary["stop"]["reason"] == "signal" else summary


def _stop_if_asked(signals: Signals) -> None:
    if signals.number:
        raise KeyboardInterrupt


def _plain(reading: dict[str, Any]) -> dict[str, Any]:
    return {k: str(v.resolve()) if isinstance(v, Path) else v for k, v in reading.items() if v is not None}


def _found(task: Images) -> str:
    p = task.pictures
    names = {
        "digits": "scikit-learn's digits",
        "folder": "an image folder",
        "idx": "an IDX folder",
        "parquet": "image Parquet",
    }
    h, w, c = task.shape
    counts = ", ".join(f"{len(rows):,} {split}" if len(rows) else f"none for {split}" for split, rows in p.split.items())
    return f"{names[p.kind]}: {len(p.classes)} classes, pictures of {h} x {w} {'grey' if c == 1 else 'colour'}; {counts}"


def _warn_lint(task: Images, say: Say) -> None:
    for row in task.pictures.notes:
        if row["level"] != "info":
            say(f"{row['level']}: {row['what']} ({row['count']})")


def _warn_machine(saved: dict[str, Any], say: Say) -> None:
    from gradlearn.run import machine

    was, now = saved["machine"], machine()
    changed = [f"{k} {was.get(k)} -> {now[k]}" for k in ("torch", "cpu") if was.get(k) != now[k]]
    if changed:
        say(f"warning: not bit-exact: {', '.join(changed)}")
