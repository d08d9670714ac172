"""Between two steps of somebody else's loop: history, checks, remedies, and the copies to come back to.

    step -> history -> checks -> finding -> the first remedy that can -> dial | rewind | stop

What `loop.py` does for a loop of ours, less what only the owner of a loop can do: a larger batch, another end, other data. A
remedy that asks for that is passed over, and its advice is kept for the account.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import torch

from gradlearn.connect.foreign import Foreign, Told
from gradlearn.connect.memory import Memory, remember
from gradlearn.errors import InputTrouble, nearest
from gradlearn.find import attribute, find, names
from gradlearn.step import limit, shrinking
from gradlearn.symbols import Action, Controls, Finding, History, Step

DIALS = ("rate", "clip", "bound", "most", "stop")  # what can be turned from outside of a loop
TIMES = {"scored": "it needs scores on validation data", "after": "a loop does not say when it is over"}
SHARE = 0.005  # of the time of the run that one check may take
RING = 3
OFTEN = 10  # steps between two parts of what a remedy does bit by bit

log = logging.getLogger("gradlearn.pilot")


class Steering:
    """The state of a watched loop.

    Args:
        theta: the parameters that are watched.
        objective: what checks get as objective.
        act: whether remedies act.
        without: names of checks and remedies to leave out.
        snapshot: steps between two copies; 0: none.
        steps: in the whole run; 0: not known.
        also: what else is kept and rewound.

    Raises:
        InputTrouble: an unknown name in `without`.
    """

    def __init__(
        self, theta: Foreign, objective: Told, act: bool, without: Sequence[str], snapshot: int, steps: int, also: Sequence[Any]
    ) -> None:
        self.theta, self.objective, self.snapshot, self.also = theta, objective, snapshot, tuple(also)
        self.history, self.controls, self.t = History(), Controls(end=steps), 0
        self.ring: list[Memory] = []
        known = (*names("watch"), *names("remedy"))
        for name in without:
            if name not in known:
                raise InputTrouble(f"Pilot: without={name!r}: no check or remedy of this name{nearest(name, known)}")
        self.shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.act = act and not self.shared  # each process would act on what it alone has seen
        self.left_out = dict.fromkeys(sorted({*without} & {*names("watch")}), "as asked")  # check -> why it is not asked
        self.refused: dict[str, None] = {}  # reasons of actions that only the owner of the loop can take
        self.checks = {name: self._check(name) for name in usual("watch") if name not in without}
        chosen = [name for name in usual("remedy") if name not in without] if self.act else []
        self.remedies = [find("remedy", name)() for name in chosen]

    def _check(self, name: str) -> Any:
        check = find("watch", name)()
        check.every = max(check.every, math.ceil(check.cost / SHARE))
        return check

    def due(self) -> bool:
        """Whether a copy is to be taken before this step."""
        return self.snapshot > 0 and (not self.ring or (self.t % self.snapshot == 0 and self.ring[-1].t != self.t))

    def remember(self, buffers: Any) -> None:
        """A copy to come back to, unless the last step was bad, the loss stands high or something in it is not finite."""
        calm = self.history.applied[-1:] == [True] and self.settled() and not self.risen()
        if self.ring and not calm:
            return
        memory = remember(self.t, self.theta, buffers, self.also)
        if memory.finite(buffers=not self.ring or self.ring[-1].finite()):
            self.ring.append(memory)
            del self.ring[:-RING]

    def renew(self) -> None:
        """At a snapshot: remedies renew a bound that they keep on every step."""
        for remedy in self.remedies:
            for action in (remedy.renew(self.history, self.controls) or ()) if hasattr(remedy, "renew") else ():
                if self._can(action):
                    self._perform(action)

    def settled(self) -> bool:
        """Whether the last losses are where those before them were: what is kept in the middle of trouble helps nobody."""
        losses = self.history.loss[self.history.last_action("rewind") + 1 :][-59:]
        before, last = ([x for x in some if x - x == 0.0] for some in (losses[:-9], losses[-9:]))
        if len(before) < 20 or not last:
            return True
        level = median(before)
        spread = 1.4826 * median(abs(x - level) for x in before)
        return median(last) <= level + 4.0 * spread + 0.1 * abs(level)

    def risen(self) -> bool:
        """Whether the loss stands far above where it began."""
        losses = [x for x in self.history.loss[-40:] if x - x == 0]
        first = sorted([x for x in self.history.loss[:40] if x - x == 0][:3])
        last = sorted(losses[-9:])
        return len(self.history.loss) > 20 and len(last) == 9 and last[4] > 3.0 * abs(first[1]) + 1e-12

    def count(self, step: Step, told: bool) -> bool:
        """One more step is done: ask every check that is due, let remedies act. Whether one of them went back.

        `told`: whether the loss of this step is known.
        """
        rewinds = self.history.count("rewind")
        if self.t == 0:
            self._round(Step(0, math.nan, math.nan, 0.0, step.n, 0.0, True, 0.0), told, "before")
        self.history.add(step)
        if 0.0 < limit(self.controls) < step.norm < math.inf:
            self.history.shorten(step.t, step.norm * shrinking(self.controls, step.norm))
        self.t += 1
        self._round(step, told, "during")
        if self.history.actions and self.t % OFTEN == 0:
            self._go_on()
        return self.history.count("rewind") > rewinds

    def _go_on(self) -> None:
        """Remedies go on with what takes a while: a rate that was cooled comes back."""
        for remedy in self.remedies:
            for action in (remedy.onward(self.history, self.controls) or ()) if hasattr(remedy, "onward") else ():
                if self._can(action):
                    self._perform(action)

    def _round(self, step: Step, told: bool, when: str) -> None:
        """Ask the checks of this time, one after the other."""
        for name, check in list(self.checks.items()):
            time = getattr(check, "when", "during")
            if time in TIMES:
                self.left_out[name] = TIMES[time]
                del self.checks[name]
                continue
            due = time == when and (when == "before" or self.t % check.every == 0)
            blind = not told and name != "finite" and not getattr(check, "looks", True)  # lives on losses, and nobody tells them
            silent = step.applied and getattr(check, "of", "") == "blocked"
            finding = self._ask(name, check, step) if due and not blind and not silent else None
            if finding is not None:
                self._answer(finding)

    def _ask(self, name: str, check: Any, step: Step) -> Finding | None:
        self.objective.missed = ""
        try:
            more = (self.theta.optimizer,) if getattr(check, "of", "") == "update" else ()
            found = check.measure(step, self.theta, self.objective, *more)
            if isinstance(found, Mapping):
                self.history.note(step.t, name, found)
            said = check.judge(self.history)
        except Exception as error:  # a watch must not end what it watches
            said, self.objective.missed = None, self.objective.missed or str(error) or type(error).__name__
        if said is None and self.objective.missed:
            self.left_out[name] = self.objective.missed
            del self.checks[name]
        return said

    def _answer(self, finding: Finding) -> None:
        """Note it, say it, and let the first remedy that can do something about it do so."""
        self.history.findings.append(finding)
        log.log(logging.INFO if finding.level == "info" else logging.WARNING, "%s: %s", finding.name, finding.what)
        for remedy in self.remedies:
            actions = (remedy(finding, self.history, self.controls) if finding.name in remedy.answers else None) or ()
            possible = [self._can(action) and not hasattr(remedy, "enact") for action in actions]
            if actions and all(possible):
                for action in actions:
                    self._perform(action)
                return
            self.refused |= {action.why: None for action, can in zip(actions, possible, strict=True) if not can}

    def _can(self, action: Action) -> bool:
        """Whether an action is possible from outside of a loop."""
        if action.name in ("rewind", "restore"):
            return bool(self.ring)
        return action.name in ("skip", "clip") or action.dial in DIALS

    def _perform(self, action: Action) -> None:
        if action.name in ("rewind", "restore"):  # `after`: of when the copy must be at the latest
            usual = self.snapshot if self.history.applied[-1:] == [True] else 0
            latest = self.t - usual if action.after is None else int(action.after)
            memory = ([m for m in self.ring if m.t <= latest] or self.ring[:1])[-1]
            memory.restore(self.theta.optimizer, whole=action.name == "rewind")
            if action.name == "rewind":
                self.ring = [m for m in self.ring if m.t <= memory.t]
            action = Action(action.t, action.name, action.why, "t", float(self.t), float(memory.t), action.by)
        elif action.after is not None:
            setattr(self.controls, action.dial, type(getattr(self.controls, action.dial))(action.after))
        self.history.actions.append(action)
        log.warning("%s: %s", action.name, action.why)


def usual(kind: str) -> list[str]:
    """The checks or remedies that are asked where nobody chose, in the order in which they are."""
    known = [name for name in names(kind) if attribute(kind, name, "usual") is not False]
    return sorted(known, key=lambda name: (attribute(kind, name, "order") or 0, name not in ("finite", "skip"), name == "stop"))
