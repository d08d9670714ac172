"""One descent: its parts, its whole state, and the ring of points that it may come back to.

A rewind restores theta, the update's state, the average and the buffers from a snapshot in memory; t goes on, so that rows of the
log, schedules and the order of the data stay unique.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from gradlearn.optimizer import pack, unpack
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

LARGE = 1 << 22  # parameters of which three snapshots are kept, of smaller models five


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
class Best:
    """The weights that were shown when the score on the validation data was best; kept where a remedy asks for them (`keeps`)."""

    t: int
    score: Score
    theta: list[Tensor]
    chosen: bool = False  # whether the run ends with them


@dataclass(slots=True)
class Cadence:
    """How often the loop looks up from the steps. All of it is a function of t or of the clock, never of the weights."""

    score: int = 0  # steps between two scores on the validation data; 0 = only at the end
    snapshot: int = 50  # steps between two snapshots
    save: int = 0  # steps between two checkpoints; 0 = by time
    save_seconds: float = 60.0
    ring: int = 3


def ring_of(parameters: int) -> int:
    """Snapshots that are kept of a model of so many parameters."""
    return 5 if parameters < LARGE else 3


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
    sample: Data | None = None  # some of the training data, scored where the validation data are
    seed: int = 0
    cadence: Cadence = field(default_factory=Cadence)
    history: History = field(default_factory=History)
    t: int = 0
    seen: int = 0
    round: int = 0
    seconds: float = 0.0  # spent so far, over all processes of this run
    ring: list[Snapshot] = field(default_factory=list)
    best: Best | None = None
    replay: list[Action] = field(default_factory=list)  # decided by a clock in a process that is gone
    interrupted: bool = False  # set by who must end before the end: the loop saves and leaves
    program: Program | None = None  # the step, compiled; None: step by step in PyTorch
    _timed: tuple[Sequence[Check] | None, dict[str, list[Check]]] = (None, {})  # the checks by when they look

    def __post_init__(self) -> None:
        """The objective obeys these dials, also where it is another descent's."""
        objective: Any = self.objective
        while not hasattr(objective, "controls") and hasattr(objective, "inner"):
            objective = objective.inner  # penalties
        if hasattr(objective, "controls"):
            objective.controls = self.controls

    def looking(self, when: str) -> list[Check]:
        """The checks that look "before" the first step, "during" the run, where data were "scored", "after" the last step."""
        if self._timed[0] is not self.checks:  # asked for every step: they are sorted once
            found: dict[str, list[Check]] = {}
            for check in self.checks:
                found.setdefault(getattr(check, "when", "during"), []).append(check)
            self._timed = (self.checks, found)
        return self._timed[1].get(when, [])

    def now(self) -> Now:
        """When we are."""
        return Now(self.t, self.controls.end, self.seen, self.seed, self.round, self.controls.batch)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside, the module holds the weights that are scored and saved; afterwards it is bitwise as before."""
        if self.best is None or not self.best.chosen:
            with self.average.shown(self.theta):
                yield
            return
        own = self.theta.snapshot()
        self.theta.restore(self.best.theta)
        try:
            yield
        finally:
            self.theta.restore(own)

    def judged(self, score: Score) -> None:
        """The module as it stands has this score on the validation data; kept if it is the best so far and a remedy asks for it."""
        keeper: Any = next((remedy for remedy in self.remedies if getattr(remedy, "keeps", False)), None)
        if keeper is None or self.valid is None or (self.best is not None and self.best.chosen) or not self.finite():
            return
        if self.best is None or keeper.better(score, self.best.score, len(self.valid)):
            self.best = Best(self.t, score, self.theta.snapshot())

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

    def unlearned(self) -> bool:
        """Whether the loss is about where it began, or higher."""
        losses = self.history.loss
        return len(losses) < 20 or not median(losses[-9:]) < 0.9 * median(losses[:3])

    def settled(self) -> bool:
        """Whether the last losses are where those before them were: what is taken in the middle of trouble helps nobody."""
        losses, back = self.history.loss, self.history.last_action("rewind") + 1
        last = losses[max(back, len(losses) - 9) :]
        before = [losses[t] for t in self.history.standing(len(losses) - len(last), 50)]
        if len(before) < 20 or not last:
            return True
        level = median(before)
        spread = 1.4826 * median(abs(x - level) for x in before)
        return median(last) <= max(level + 4.0 * spread + 0.1 * abs(level), sorted(before)[-len(before) // 10])

    def remember(self) -> None:
        """Take a snapshot, if there is nothing in it that nobody would come back to; the oldest falls out of the ring."""
        (tensors, groups), shown = pack(self.update), self.average.state()
        state = (*tensors.values(), *shown.values())
        calm = self.history.applied[-1:] == [True] and self.settled() and not self.risen()
        if self.ring and not (calm and self.finite(state)):
            return
        copy = {k: v.clone() for k, v in tensors.items()}
        average = {k: v.clone() for k, v in shown.items()}
        self.ring.append(Snapshot(self.t, self.theta.snapshot(), copy, groups, average))
        first = self.ring[:1] if self.ring[0].t == 0 and self.unlearned() else []  # nothing better is known yet
        self.ring = [*first, *self.ring[max(len(self.ring) - self.cadence.ring, len(first)) :]]

    def clean_buffers(self) -> None:
        """A forward pass over a bad example leaves NaN in running statistics: such buffers go back to the last snapshot."""
        kept = self.ring[-1].theta[len(self.theta.blocks) :]
        for place, value in zip(self.theta.buffers(), kept, strict=True):
            if place.is_floating_point() and not torch.isfinite(place).all():
                place.copy_(value)

    def rewind(self, before: int, whole: bool = True) -> int:
        """Go back to the newest snapshot that is at least `before` steps old (else the oldest); t goes on. Returns its t.

        Not `whole`: the update's state alone comes from there.
        """
        good = [s for s in self.ring if s.t <= self.t - before] or self.ring[:1]
        snapshot = good[-1]
        unpack(self.update, snapshot.update, snapshot.groups)
        if not whole:
            return snapshot.t
        self.theta.restore(snapshot.theta)
        self.average.load(snapshot.average)
        self.ring = [s for s in self.ring if s.t <= snapshot.t]
        return snapshot.t
