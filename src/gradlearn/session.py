"""One session of a run of a task: begin it or come back to it, train, and leave a model and an account behind.

    begin:  read -> plan -> (measure) -> run folder        resume: run folder -> read -> checkpoint
    both:   train -> score -> save -> tell

The command line's `train` and `resume`. Everything that can be wrong with what was given is said before the run folder is made.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gradlearn.comeback import bring_back
from gradlearn.errors import CheckpointTrouble, InputTrouble, NumericsTrouble
from gradlearn.exports import describe_model
from gradlearn.find import names
from gradlearn.loop import Descent, evaluating, keep_shown
from gradlearn.opening import Say, begun_plan, built, planned, read, start_of, trim
from gradlearn.plan import Plan, plan_from
from gradlearn.program.choice import again
from gradlearn.record import folder as folders
from gradlearn.record import settings as run_toml
from gradlearn.record.log import columns
from gradlearn.record.record import Record
from gradlearn.record.stop import Signals
from gradlearn.record.weights import write_model
from gradlearn.run import Clock, Show, carry_out, failed, settings, story_of, summarise
from gradlearn.start import Start, read_start
from gradlearn.symbols import Offered

PARTS = ("train", "valid", "test")


def begin(
    kind: str,
    path: Path | None,
    user: dict[str, Any],
    reading: dict[str, Any],
    runs: Path,
    name: str | None,
    begun: float,
    show: Show,
    say: Say,
) -> dict[str, Any]:
    """`gradlearn train TASK`, the task by its name: returns the summary that --json prints."""
    plan = begun_plan(user)
    if name is not None:
        folders.check_name(runs, name)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        start = start_of(plan, reading)
        task = read(kind, path, plan, reading, runs)
        task.start = start
        say(task.found())
        _warn_lint(task, say)
        task.choose()
        descent, clock = planned(task, plan, begun, say)
        if start is not None:
            classes = task.card().get("classes", ())
            say(start.told(start.match(descent.theta.model, classes), classes))
        trim()
        _stop_if_asked(signals)
        place = {} if path is None else {"path": str(path.resolve())}  # a resume may be asked for from another folder
        weights = {} if start is None else {"start": {"sha256": start.digest}}
        about = settings(kind, plan, task.described() | place | weights | {"reading": _plain(reading)})
        folder = folders.begin(runs, kind, name, lambda new: run_toml.write(new, about))
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
        if saved.get("task") not in names("tasks"):
            raise InputTrouble(
                f"{folder}: a run of {saved.get('task')!r}; resume it from Python with fit(..., resume={str(folder)!r})"
            )
        plan = plan_from(saved)
        finished = _finished(folder)
        if finished is not None:
            say(f"{folder}: is finished, nothing to do ({finished['stop']['message']})")
            return finished
        _warn_machine(saved, say)
        task = _read_again(folder, saved, plan)
        task.start, lost = _start_again(plan, saved)
        descent = built(task, plan)
        again(descent, plan)
        record = bring_back(descent, folder, lambda line: say(f"warning: {line}"))
        if lost and not descent.t:
            raise CheckpointTrouble(f"{folder}: {lost}")
        say(f"{folder}: resumed at step {descent.t} of {descent.controls.end}")
        begun -= descent.seconds  # the steps that are kept are part of the run's time
        return _to_the_end(task, plan, descent, record, None, show, say, signals, begun)


def _read_again(folder: Path, saved: dict[str, Any], plan: Plan) -> Offered:
    """The task with its data, divided as the run had them: how much is set aside where nothing is said may have changed since."""
    data, reading = saved["data"], dict(saved["data"]["reading"])
    source = Path(data["path"]) if "path" in data else None
    task = read(saved["task"], source, plan, reading, folder.parent)
    if task.fingerprint != data["fingerprint"]:
        raise CheckpointTrouble(f"{folder}: the data at {data['source']} changed since the run began; put it back or start anew")
    left, now = sum(data[part] for part in PARTS), task.described()
    for part in ("test", "valid"):
        if now[part] != data[part] and reading.get(part) is None:
            reading[part] = data[part] / left
        left -= data[part]
    if reading != data["reading"]:
        task = read(saved["task"], source, plan, reading, folder.parent)
        now = task.described()
    if any(now[part] != data[part] for part in PARTS):
        had = ", ".join(f"{data[part]:,} for {part}" for part in PARTS)
        raise CheckpointTrouble(f"{folder}: this version divides the data in another way, the run had {had}; start anew")
    return task


def _start_again(plan: Plan, saved: dict[str, Any]) -> tuple[Start | None, str]:
    """The same weights once more, and why they cannot be had: they are needed where no step has been saved yet."""
    if "from" not in plan:
        return None, ""
    try:
        start = read_start(Path(plan["from"]))
    except InputTrouble as error:
        return None, str(error)
    if start.digest != saved["data"]["start"]["sha256"]:
        return None, f"the weights at {plan['from']} changed since the run began; put them back or start anew"
    return start, ""


def _to_the_end(
    task: Offered,
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
        task.show(d, record)
        write_model(folder, d.theta.tensors(), task.card())
    record.write_json("summary.json", summary)
    from gradlearn.report.page import write

    write(folder)
    describe_model(task, folder, d.valid)
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


def _warn_lint(task: Offered, say: Say) -> None:
    for row in task.notes:
        if row["level"] != "info":
            say(f"{row['level']}: {row['what']} ({row['count']})")


def _warn_machine(saved: dict[str, Any], say: Say) -> None:
    from gradlearn.run import machine

    was, now = saved["machine"], machine()
    changed = [f"{k} {was.get(k)} -> {now[k]}" for k in ("torch", "cpu") if was.get(k) != now[k]]
    if changed:
        say(f"warning: not bit-exact: {', '.join(changed)}")
