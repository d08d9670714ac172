"""The loop: train() is a generator of steps, written as straight code. Who wants to look or to interfere writes a `for` loop.

    for step in train(descent): ...

No events, no callbacks. Between two steps all of `descent` may be read, and its dials turned. A `record` is passed in where a run
folder is wanted; it is closed however the loop ends. Where the step is a compiled program and nobody looks in between, several are
taken in one call; they are logged and watched one by one all the same, and taken back to the one that a remedy acts upon.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.batchnorm import renew as renew_statistics
from gradlearn.care import look, look_around, name_of, perform, renew
from gradlearn.descent import Best, Cadence, Descent, Recorder, Snapshot
from gradlearn.errors import NumericsTrouble
from gradlearn.optimizer import pack, unpack
from gradlearn.regular import settle
from gradlearn.step import limit, shrinking
from gradlearn.step import step as take
from gradlearn.symbols import Action, Check, Controls, Data, Score, Step

__all__ = ["Cadence", "Descent", "Flushed", "Recorder", "Snapshot", "advance", "evaluating", "keep_shown"]
__all__ += ["restore", "save", "score", "train"]

GLANCE = 0.03  # seconds of steps that are taken in one call at most: a clock and a signal wait that long


def train(
    descent: Descent,
    record: Recorder | None = None,
    clock: Callable[[Descent], Action | None] | None = None,
    ahead: bool = False,
) -> Iterator[Step]:
    """Step until the end of the run, yield each step when it is done, then score and save.

    `clock` is asked after every step whether the time left asks for another end. The caller may stop iterating at any time; the
    state is then as after the last step yielded, unless `ahead` says that nobody looks at theta in between: a compiled step then
    takes several in one call. A checkpoint is written on the way, at the end, and when `interrupted` is set.
    """
    d, model = descent, descent.theta.model
    saved = start = time.perf_counter()
    spent = d.seconds
    modes, flushed = _modes(model), Flushed()
    model.train()
    try:
        if d.t == 0:
            look_around(d, "before", record)
        while d.t < d.controls.end and d.controls.stop < 0 and not d.interrupted:
            with flushed:
                steps, back = advance(d, ahead)
            for k, step in enumerate(steps):
                _count(d, step)
                if record is not None:
                    record.step(step)
                settle = partial(back, k + 1) if back is not None and k + 1 < len(steps) else None
                d.history.end = d.controls.end
                acted = look(d, step, record, settle)
                d.seconds = spent + time.perf_counter() - start
                last = acted or k + 1 == len(steps)
                if last:
                    _obey_clock(d, clock, record)
                    if d.cadence.score and d.t % d.cadence.score == 0 and d.t < d.controls.end:
                        _score_all(d, record, {"train": d.sample, "valid": d.valid})
                yield step
                if last:
                    break
            if record is not None and _save_due(d, saved):
                save(d, record, d.ring)
                saved = time.perf_counter()
        _conclude(d, record)
    finally:
        for module, mode in modes:
            module.training = mode
        if record is not None:
            record.close()


class Flushed:
    """Inside, numbers too small to be normal are zero; afterwards as it was.

    A unit that is dead has no gradient, its momentum falls by a tenth a step and after 800 steps can be written as no normal
    number: a processor then takes ten times as long over every step, for something that is nothing.
    """

    def __init__(self) -> None:
        self.was = (torch.full((1,), 1e-39) * 1.0).item() == 0.0

    def __enter__(self) -> None:
        torch.set_flush_denormal(True)

    def __exit__(self, *trouble: object) -> None:
        torch.set_flush_denormal(self.was)


def advance(d: Descent, ahead: bool) -> tuple[list[Step], Callable[[int], None] | None]:
    """The next step of the equation, a snapshot before it where one is due; or the next few, and what takes back all but some."""
    begin = time.perf_counter()
    if not d.ring or (d.t % d.cadence.snapshot == 0 and d.ring[-1].t != d.t):
        d.remember()
        renew(d)
    program = d.program if d.controls.plain else None
    if program is not None and program.whole and program.fits(d):
        return program.advance(d, _room(d) if ahead else 1)
    now = d.now()
    if hasattr(d.data, "follow"):
        d.data.follow(now)  # pyright: ignore[reportAttributeAccessIssue]
    batch = d.data(d.batches(now), chance.key(d.seed, "batch", d.t))
    d.history.waited += time.perf_counter() - begin
    gradient = d.gradient if program is None or program.whole else program.gradient
    step = take(d.theta, batch, d.objective, gradient, d.update, d.rate, d.average, now, d.controls, len(d.data), begin)
    return [step], None


def _room(d: Descent) -> int:
    """How many steps may be taken before something has to look at theta, or the time for a glance is over."""
    every = [d.cadence.snapshot, d.cadence.score if d.valid is not None else 0, d.cadence.save]
    every += [check.every for check in d.looking("during") if getattr(check, "looks", True)]
    room = min([n - d.t % n for n in every if n] + [d.controls.end - d.t])
    if d.replay:
        room = min(room, max(d.replay[0].t + 1 - d.t, 1))
    pace = d.history.last.seconds if d.history.last is not None else GLANCE
    return max(min(room, int(GLANCE / max(pace, 1e-6))), 1)


def _count(d: Descent, step: Step) -> None:
    """One more step is done."""
    if not step.applied:
        d.clean_buffers()
    d.t += 1
    d.seen += step.n
    d.history.add(step)
    if 0.0 < limit(d.controls) < step.norm < math.inf:
        d.history.shorten(step.t, step.norm * shrinking(d.controls, step.norm))


def _conclude(d: Descent, record: Recorder | None) -> None:
    """After the last step: scores that a process that is gone has not taken yet, and the last checkpoint."""
    if d.controls.stop >= 0 and not d.finite():
        d.rewind(0)
    elif not d.interrupted and any("diverged" in r.answers for r in d.remedies) and not d.finite():
        perform(d, Action(d.t - 1, "rewind", "the last steps have left no finite weights", after=float(d.t)), record)
    elif d.controls.stop < 0 and not d.interrupted and d.history.count("rewind") and d.risen():
        perform(d, Action(d.t - 1, "rewind", "the run ends with its last good weights"), record)
    if d.t >= d.controls.end and d.valid is not None and hasattr(d.average, "choose"):
        d.average.choose(d.theta, lambda: _scored(d, d.valid))  # pyright: ignore[reportAttributeAccessIssue]
    if d.t >= d.controls.end and d.valid is not None and d.best is not None and not d.best.chosen:
        _compare_best(d, d.best, d.valid, record)
    if d.t >= d.controls.end or not d.interrupted:
        _score_all(d, record, {"train": d.sample, "valid": d.valid, "test": d.test})
        look_around(d, "after", record)
    if record is not None:
        save(d, record, d.ring if d.interrupted else ())


def _compare_best(d: Descent, best: Best, valid: Data, record: Recorder | None) -> None:
    """At the end: whether the best weights of the run take the place of the last, which is a remedy's to say."""
    with d.shown():
        last = _scored(d, valid)
    for remedy in d.remedies:
        chooser: Any = remedy if getattr(remedy, "keeps", False) else None
        action = chooser.choose(best.score, best.t, last, d.t, len(valid)) if chooser is not None else None
        if action is not None:
            perform(d, action, record, remedy)


def _obey_clock(d: Descent, clock: Callable[[Descent], Action | None] | None, record: Recorder | None) -> None:
    while d.replay and d.replay[0].t <= d.t - 1:
        perform(d, d.replay.pop(0), record)
    action = clock(d) if clock is not None else None
    if action is not None:
        perform(d, action, record)


def _score_all(d: Descent, record: Recorder | None, sets: Mapping[str, Data | None]) -> None:
    """Score what has not been scored at this step, then let the checks that go by scores look."""
    done = [
        score(d, record, k, data) for k, data in sets.items() if not any(t == d.t and name == k for t, name, _ in d.history.scores)
    ]
    if any(done):
        look_around(d, "scored", record)


def _save_due(d: Descent, saved: float) -> bool:
    if d.t >= d.controls.end or d.controls.stop >= 0 or d.interrupted:
        return False  # the end is saved after its scores
    if d.cadence.save:
        return d.t % d.cadence.save == 0
    return time.perf_counter() - saved > d.cadence.save_seconds


def score(d: Descent, record: Recorder | None, split: str, data: Data | None) -> Score | None:
    """Score the shown weights; leaves weights, buffers, modes and random state bitwise as found. None without data."""
    if data is None or len(data) == 0:
        return None
    start = time.perf_counter()
    with d.shown():
        result = _scored(d, data)
        if split == "valid":
            d.judged(result)
    d.history.scoring += time.perf_counter() - start
    d.history.scores.append((d.t, split, result))
    if split == "valid" and hasattr(d.average, "judged"):
        d.average.judged(d.theta, result)  # pyright: ignore[reportAttributeAccessIssue]
    if record is not None:
        record.score(d.t, split, result, time.perf_counter() - start)
    return result


def _scored(d: Descent, data: Data | None) -> Score:
    """The score of the model as it stands."""
    assert data is not None
    with evaluating(d.theta.model):
        _refresh(d)
        return d.task.score(d.theta.model, data)


def _refresh(d: Descent) -> None:
    """BatchNorm's statistics of the weights shown, where the average asks for it."""
    if getattr(d.average, "refresh", False):
        renew_statistics(d.theta.model, lambda batch: d.task.losses(d.theta.model, batch), d.data, d.seed)


def keep_shown(d: Descent) -> None:
    """theta <- theta-bar: what was shown is what the module holds from now on; for the end of a run."""
    with d.shown():
        _refresh(d)
        shown = d.theta.snapshot()
    d.theta.restore(shown)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside: evaluation mode and no gradients; afterwards modes, buffers and the random state are as before."""
    modes, kept = _modes(model), {name: b.clone() for name, b in model.named_buffers()}
    with chance.preserved(), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for name, buffer in model.named_buffers():
                if name in kept:
                    buffer.copy_(kept[name])


def _modes(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    return [(m, m.training) for m in model.modules()]


def save(d: Descent, record: Recorder, snapshots: Sequence[Snapshot]) -> bool:
    """Write a checkpoint of the whole state, with these points to come back to (none where the run is over).

    False: it could not be written, and the run goes on.
    """
    tensors, groups = pack(d.update)
    ring = {f"{i}.{k}": v for i, s in enumerate(snapshots) for k, v in _snapshot_tensors(s).items()}
    parts = {"model": d.theta.tensors(), "update": tensors, "average": d.average.state(), "ring": ring}
    parts["task"] = {f"buffer.{name}": b for name, b in d.theta.transient().items()}
    parts["task"] |= {f"objective.{k}": v for k, v in getattr(d.objective, "state", dict)().items()}
    for check in d.checks:
        parts["task"] |= {f"{_name_of(check)}.{k}": v for k, v in getattr(check, "state", dict)().items()}
    state = {
        "t": d.t,
        "seen": d.seen,
        "round": d.round,
        "seconds": d.seconds,
        "controls": {name: getattr(d.controls, name) for name in Controls.__slots__},
        "groups": groups,
        "measured": d.history.measured,
        "cut": list(d.history.cut.items()),
        "ring": [{"t": s.t, "groups": s.groups} for s in snapshots],
    }
    if d.best is not None:
        parts["ring"] |= {f"best.{i}": t for i, t in enumerate(d.best.theta)}
        state["best"] = {"t": d.best.t, "score": [*d.best.score[:3], dict(d.best.score.all)], "chosen": d.best.chosen}
    try:
        return record.checkpoint(d.t, parts, state)
    except NumericsTrouble:
        if d.t >= d.controls.end or d.controls.stop >= 0:
            raise
        return False  # not a state to come back to; the last good checkpoint stays the newest


def restore(d: Descent, parts: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
    """The inverse of `save`; history comes from the log (`record`)."""
    d.theta.load(parts["model"])
    unpack(d.update, dict(parts["update"]), state["groups"])
    d.average.load(parts["average"])
    for name, buffer in d.theta.transient().items():
        buffer.copy_(parts["task"][f"buffer.{name}"])
    for what, name in ((d.objective, "objective"), *((check, _name_of(check)) for check in d.checks)):
        own = {k.removeprefix(f"{name}."): v for k, v in parts["task"].items() if k.startswith(f"{name}.")}
        if own:
            what.load(own)  # pyright: ignore[reportAttributeAccessIssue]
    d.history.measured = {k: [(int(t), float(v)) for t, v in rows] for k, rows in state.get("measured", {}).items()}
    d.history.cut = {int(t): float(length) for t, length in state.get("cut", [])}
    d.t, d.seen, d.round, d.seconds = state["t"], state["seen"], state["round"], state["seconds"]
    for name, value in state["controls"].items():
        setattr(d.controls, name, value)
    settle(d.controls, d.update, d.data)
    d.ring = [_snapshot(i, meta, parts["ring"]) for i, meta in enumerate(state["ring"])]
    if (best := state.get("best")) is not None:
        kept = [parts["ring"][f"best.{i}"] for i in range(sum(name.startswith("best.") for name in parts["ring"]))]
        d.best = Best(best["t"], Score._make(best["score"]), kept, best["chosen"])


def _name_of(check: Check) -> str:
    return f"check.{name_of(check)}"


def _snapshot_tensors(s: Snapshot) -> dict[str, Tensor]:
    own = {f"theta.{i}": t for i, t in enumerate(s.theta)}
    return own | {f"update.{k}": v for k, v in s.update.items()} | {f"average.{k}": v for k, v in s.average.items()}


def _snapshot(i: int, meta: Mapping[str, Any], ring: Mapping[str, Tensor]) -> Snapshot:
    def part(name: str) -> dict[str, Tensor]:
        prefix = f"{i}.{name}."
        return {k.removeprefix(prefix): v for k, v in ring.items() if k.startswith(prefix)}

    theta = part("theta")
    return Snapshot(meta["t"], [theta[str(k)] for k in range(len(theta))], part("update"), meta["groups"], part("average"))
