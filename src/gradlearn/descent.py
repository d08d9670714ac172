"""One descent: its parts, its whole state, and the ring of points that it may come back to.

A rewind restores theta, the update's state, the average and the buffers from a snapshot in memory; t goes on, so that rows of the
log, schedules and the order of the data stay unique.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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
    sample: Data | None = None  # some of the training data, scored where the validation data are
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
