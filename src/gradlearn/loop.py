"""The loop: train() is a generator of steps, written as straight code. Who wants to look or to interfere writes a `for` loop.

    for step in train(descent): ...

No events, no callbacks. Between two steps all of `descent` may be read, and its dials turned. A `record` is passed in where a run
folder is wanted; it is closed however the loop ends. Where the step is a compiled program and nobody looks in between, several are
taken in one call; they are logged and watched one by one all the same, and taken back to the one that a remedy acts upon.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.batchnorm import renew
from gradlearn.errors import NumericsTrouble
from gradlearn.optimizer import pack, unpack
from gradlearn.step import schedule
from gradlearn.step import step as take
from gradlearn.symbols import (
    Action,
    Average,
    Batches,
    Check,
    Controls,
    Data,
    Finding,
    Gradient,
    History,
    Now,
    Objective,
    Rate,
    Remedy,
    Score,
    Step,
    Task,
    Update,
)
from gradlearn.theta import Theta

if TYPE_CHECKING:
    from gradlearn.program.compiled import Program

GLANCE = 0.03  # seconds of steps that are taken in one call at most: a clock and a signal wait that long


class Recorder(Protocol):
    """What the loop asks of a run folder; `record.record.Record` is one."""

    def step(self, step: Step) -> None:
        """One row of steps.jsonl."""

    def score(self, t: int, split: str, score: Score, seconds: float) -> None:
        """One row of scores.jsonl."""

    def finding(self, finding: Finding) -> None:
        """One row of findings.jsonl."""

    def action(self, action: Action) -> None:
        """One row of actions.jsonl."""

    def checkpoint(self, t: int, parts: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> bool:
        """Commit the state after t steps; False where the disk refused and the run may go on."""
        ...

    def close(self) -> None:
        """Write out what is buffered; nothing is written afterwards."""


@dataclass(slots=True)
class Snapshot:
    """A point of the run to come back to, in memory; the ring of them is in every checkpoint."""

    t: int
    theta: list[Tensor]
    update: dict[str, Tensor]
    groups: list[dict[str, Any]]
    average: dict[str, Tensor]


@dataclass(slots=True)
class Cadence:
    """How often the loop looks up from the steps. All of it is a function of t or of the clock, never of the weights."""

    score: int = 0  # steps between two scores on the validation data; 0 = only at the end
    snapshot: int = 50  # steps between two snapshots
    save: int = 0  # steps between two checkpoints; 0 = by time
    save_seconds: float = 60.0
    ring: int = 3


@dataclass(slots=True)
class Descent:
    """One descent: its parts, and its whole state."""

    task: Task
    theta: Theta
    objective: Objective
    data: Data
    batches: Batches
    gradient: Gradient
    update: Update
    rate: Sequence[Rate]
    average: Average
    controls: Controls
    checks: Sequence[Check] = ()
    remedies: Sequence[Remedy] = ()
    valid: Data | None = None  # scored while the run goes on, and at its end
    test: Data | None = None  # scored once, at the end
    seed: int = 0
    cadence: Cadence = field(default_factory=Cadence)
    history: History = field(default_factory=History)
    t: int = 0
    seen: int = 0
    round: int = 0
    seconds: float = 0.0  # spent so far, over all processes of this run
    ring: list[Snapshot] = field(default_factory=list)
    replay: list[Action] = field(default_factory=list)  # decided by a clock in a process that is gone
    interrupted: bool = False  # set by who must end before the end: the loop saves and leaves
    program: Program | None = None  # the step, compiled; None: step by step in PyTorch

    def now(self) -> Now:
        """When we are."""
        return Now(self.t, self.controls.end, self.seen, self.seed, self.round, self.controls.batch)

    def finite(self, more: Iterable[Tensor] | None = None) -> bool:
        """Whether every number of the state is one: theta, running statistics, update, average; an infinite mask is meant so.

        `more`: the tensors of update and average, where they have been gathered already.
        """
        buffers = self.theta.buffers()
        kept = self.ring[-1].theta[len(self.theta.blocks) :] if self.ring else buffers
        state = [b.flat for b in self.theta.blocks] + [b for b, k in zip(buffers, kept, strict=True) if torch.isfinite(k).all()]
        state += [*pack(self.update)[0].values(), *self.average.state().values()] if more is None else more
        norms = [torch.linalg.vector_norm(t).double().cpu() for t in state if t.is_floating_point()]
        total = torch.stack(norms).sum().item()
        return total - total == 0.0

    def risen(self) -> bool:
        """Whether the loss stands far above where it began: no state to come back to."""
        losses = self.history.loss
        first, last = sorted(losses[:3]), sorted(losses[-9:])
        return len(losses) > 20 and not last[4] <= 3.0 * abs(first[1]) + 1e-12

    def remember(self) -> None:
        """Take a snapshot, if there is nothing in it that nobody would come back to; the oldest falls out of the ring."""
        (tensors, groups), shown = pack(self.update), self.average.state()
        state = (*tensors.values(), *shown.values())
        if self.ring and not (self.history.applied[-1:] == [True] and self.finite(state) and not self.risen()):
            return
        copy = {k: v.clone() for k, v in tensors.items()}
        average = {k: v.clone() for k, v in shown.items()}
        self.ring.append(Snapshot(self.t, self.theta.snapshot(), copy, groups, average))
        del self.ring[: -self.cadence.ring]

    def clean_buffers(self) -> None:
        """A forward pass over a bad example leaves NaN in running statistics: such buffers go back to the last snapshot."""
        kept = self.ring[-1].theta[len(self.theta.blocks) :]
        for place, value in zip(self.theta.buffers(), kept, strict=True):
            if place.is_floating_point() and not torch.isfinite(place).all():
                place.copy_(value)

    def rewind(self, before: int) -> int:
        """Go back to the newest snapshot that is at least `before` steps old (else the oldest); t goes on. Returns its t."""
        good = [s for s in self.ring if s.t <= self.t - before] or self.ring[:1]
        snapshot = good[-1]
        self.theta.restore(snapshot.theta)
        unpack(self.update, snapshot.update, snapshot.groups)
        self.average.load(snapshot.average)
        self.ring = [s for s in self.ring if s.t <= snapshot.t]
        return snapshot.t


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
    modes = _modes(model)
    model.train()
    try:
        while d.t < d.controls.end and d.controls.stop < 0 and not d.interrupted:
            steps, back = advance(d, ahead)
            for k, step in enumerate(steps):
                _count(d, step)
                if record is not None:
                    record.step(step)
                settle = partial(back, k + 1) if back is not None and k + 1 < len(steps) else None
                acted = _watch(d, step, record, settle)
                d.seconds = spent + time.perf_counter() - start
                last = acted or k + 1 == len(steps)
                if last:
                    _obey_clock(d, clock, record)
                    if d.cadence.score and d.t % d.cadence.score == 0 and d.t < d.controls.end:
                        score(d, record, "valid", d.valid)
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


def advance(d: Descent, ahead: bool) -> tuple[list[Step], Callable[[int], None] | None]:
    """The next step of the equation, a snapshot before it where one is due; or the next few, and what takes back all but some."""
    begin = time.perf_counter()
    if not d.ring or (d.t % d.cadence.snapshot == 0 and d.ring[-1].t != d.t):
        d.remember()
    if d.program is not None and d.program.whole and d.program.fits(d):
        return d.program.advance(d, _room(d) if ahead else 1)
    now = d.now()
    batch = d.data(d.batches(now), chance.key(d.seed, "batch", d.t))
    gradient = d.gradient if d.program is None or d.program.whole else d.program.gradient
    step = take(d.theta, batch, d.objective, gradient, d.update, d.rate, d.average, now, d.controls, len(d.data), begin)
    return [step], None


def _room(d: Descent) -> int:
    """How many steps may be taken before something has to look at theta, or the time for a glance is over."""
    every = [d.cadence.snapshot, d.cadence.score if d.valid is not None else 0, d.cadence.save]
    every += [check.every for check in d.checks if getattr(check, "looks", True)]
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


def _conclude(d: Descent, record: Recorder | None) -> None:
    """After the last step: scores that a process that is gone has not taken yet, and the last checkpoint."""
    if d.controls.stop >= 0 and not d.finite():
        d.rewind(0)
    elif d.controls.stop < 0 and not d.interrupted and d.history.count("rewind") and d.risen():
        perform(d, Action(d.t - 1, "rewind", "the run ends with its last good weights"), record)
    if d.t >= d.controls.end and d.valid is not None and hasattr(d.average, "choose"):
        d.average.choose(d.theta, lambda: _scored(d, d.valid))  # pyright: ignore[reportAttributeAccessIssue]
    for split, data in (("valid", d.valid), ("test", d.test)):
        if (d.t >= d.controls.end or not d.interrupted) and not any(t == d.t and name == split for t, name, _ in d.history.scores):
            score(d, record, split, data)
    if record is not None:
        save(d, record, d.ring if d.interrupted else ())


def _watch(d: Descent, step: Step, record: Recorder | None, settle: Callable[[], None] | None = None) -> bool:
    """Let every check that is due look and speak; let the first remedy that has an answer act. Whether one did.

    `settle` is called before the first act: it takes back steps that were taken ahead.
    """
    acted = False
    for check in d.checks:
        if (step.t + 1) % check.every or (step.applied and getattr(check, "of", "") == "blocked"):
            continue
        values = check.measure(step, d.theta, d.objective)
        if isinstance(values, Mapping):
            d.history.note(step.t, type(check).__module__.rpartition(".")[2], values)
        finding = check.judge(d.history)
        if finding is None:
            continue
        d.history.findings.append(finding)
        if record is not None:
            record.finding(finding)
        for remedy in d.remedies:
            actions = remedy(finding, d.history, d.controls) if finding.name in remedy.answers else None
            if actions:
                if settle is not None and not acted:
                    settle()
                acted = True
                for action in actions:
                    perform(d, action, record)
                break
    return acted


def perform(d: Descent, action: Action, record: Recorder | None = None) -> None:
    """Carry out one action and log it."""
    if action.name == "rewind":
        back = d.rewind(d.cadence.snapshot if d.history.applied and d.history.applied[-1] else 0)
        action = Action(action.t, "rewind", action.why, "t", float(d.t), float(back), action.by)
    elif action.name == "finish" and action.after is not None:
        d.controls.level = schedule(d.rate, d.now(), d.controls)
        d.controls.finish, d.controls.end = d.t, int(action.after)
    elif action.dial and action.after is not None:
        kind = type(getattr(d.controls, action.dial))
        setattr(d.controls, action.dial, kind(action.after))
    d.history.actions.append(action)
    if record is not None:
        record.action(action)


def _obey_clock(d: Descent, clock: Callable[[Descent], Action | None] | None, record: Recorder | None) -> None:
    while d.replay and d.replay[0].t <= d.t - 1:
        perform(d, d.replay.pop(0), record)
    action = clock(d) if clock is not None else None
    if action is not None:
        perform(d, action, record)


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
    with d.average.shown(d.theta):
        result = _scored(d, data)
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
        renew(d.theta.model, lambda batch: d.task.losses(d.theta.model, batch), d.data, d.seed)


def keep_shown(d: Descent) -> None:
    """theta <- theta-bar: what was shown is what the module holds from now on; for the end of a run."""
    with d.average.shown(d.theta):
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
    state = {
        "t": d.t,
        "seen": d.seen,
        "round": d.round,
        "seconds": d.seconds,
        "controls": {name: getattr(d.controls, name) for name in Controls.__slots__},
        "groups": groups,
        "measured": d.history.measured,
        "ring": [{"t": s.t, "groups": s.groups} for s in snapshots],
    }
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
    own = {k.removeprefix("objective."): v for k, v in parts["task"].items() if k.startswith("objective.")}
    if own:
        d.objective.load(own)  # pyright: ignore[reportAttributeAccessIssue]
    d.history.measured = {k: [(int(t), float(v)) for t, v in rows] for k, rows in state.get("measured", {}).items()}
    d.t, d.seen, d.round, d.seconds = state["t"], state["seen"], state["round"], state["seconds"]
    for name, value in state["controls"].items():
        setattr(d.controls, name, value)
    d.ring = [_snapshot(i, meta, parts["ring"]) for i, meta in enumerate(state["ring"])]


def _snapshot_tensors(s: Snapshot) -> dict[str, Tensor]:
    own = {f"theta.{i}": t for i, t in enumerate(s.theta)}
    return own | {f"update.{k}": v for k, v in s.update.items()} | {f"average.{k}": v for k, v in s.average.items()}


def _snapshot(i: int, meta: Mapping[str, Any], ring: Mapping[str, Tensor]) -> Snapshot:
    def part(name: str) -> dict[str, Tensor]:
        prefix = f"{i}.{name}."
        return {k.removeprefix(prefix): v for k, v in ring.items() if k.startswith(prefix)}

    theta = part("theta")
    return Snapshot(meta["t"], [theta[str(k)] for k in range(len(theta))], part("update"), meta["groups"], part("average"))
