"""Care: every check that is due looks and speaks; the first remedy that has an answer acts.

    finding = check.judge(history);   actions = remedy(finding, history, controls);   perform(descent, action)

The one place where findings become actions. Actions turn dials, rewind or stop; what is more than that, a remedy does itself
(`enact`), and says what it did. All of it is logged with its reason.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from gradlearn.descent import Descent, Recorder
from gradlearn.regular import settle
from gradlearn.step import schedule
from gradlearn.symbols import Action, Check, Finding, Step

OFTEN = 10  # steps between two parts of what a remedy does bit by bit


def look(d: Descent, step: Step, record: Recorder | None = None, settle: Callable[[], None] | None = None) -> bool:
    """After a step: let every check that is due look and speak, and remedies act. Whether one did.

    `settle` is called before the first act: it takes back steps that were taken ahead.
    """
    acted, now = False, step.t + 1
    for check in [check for check in d.looking("during") if not now % check.every]:
        if step.applied and getattr(check, "of", "") == "blocked":
            continue
        finding = ask(d, check, step, record)
        if finding is not None:
            acted = answer(d, finding, record, None if acted else settle) or acted
    if d.history.actions and now % OFTEN == 0:
        acted = _go_on(d, record, None if acted else settle) or acted
    return acted


def _go_on(d: Descent, record: Recorder | None, settle: Callable[[], None] | None) -> bool:
    """Let remedies go on with what takes a while. Whether one did."""
    begun: list[Any] = [remedy for remedy in d.remedies if hasattr(remedy, "onward")]
    acted = False
    for remedy in begun:
        for action in remedy.onward(d.history, d.controls) or ():
            if settle is not None and not acted:
                settle()
            perform(d, action, record)
            acted = True
    return acted


def look_around(d: Descent, when: str, record: Recorder | None = None) -> bool:
    """Before the first step, after scores, after the last: let the checks of that time look, and remedies act. Whether one did."""
    acted = False
    blank = Step(0, math.nan, math.nan, 0.0, d.batches.size, 0.0, True, 0.0)
    for check in d.looking(when):
        finding = ask(d, check, d.history.last or blank, record)
        acted = (finding is not None and answer(d, finding, record)) or acted
    if when == "scored":
        followers: list[Any] = [remedy for remedy in d.remedies if hasattr(remedy, "follow")]
        for remedy in followers:
            actions = remedy.follow(d.history, d.controls)
            for action in actions or ():
                perform(d, action, record, remedy)
            acted = bool(actions) or acted
    return acted


def ask(d: Descent, check: Check, step: Step, record: Recorder | None) -> Finding | None:
    """What one check has to say now; noted and logged. One that cannot look at this model is left out from now on, and named."""
    try:
        if getattr(check, "of", "") == "update":
            values = check.measure(step, d.theta, d.objective, d.update)  # pyright: ignore[reportCallIssue]
        else:
            values = check.measure(step, d.theta, d.objective)
        if values.__class__ is not float and isinstance(values, Mapping):  # the second takes a while
            d.history.note(step.t, name_of(check), {k: v for k, v in values.items() if math.isfinite(v)})
        finding = check.judge(d.history)
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, ArithmeticError) as error:
        d.checks = [other for other in d.checks if other is not check]
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.warn(
            f"the check {name_of(check)!r} cannot look at this model and is left out: {line}", RuntimeWarning, stacklevel=2
        )
        return None
    if finding is not None:
        d.history.findings.append(finding)
        if record is not None:
            record.finding(finding)
    return finding


def name_of(check: Check) -> str:
    """What a check is called: its file."""
    return type(check).__module__.rpartition(".")[2]


def answer(d: Descent, finding: Finding, record: Recorder | None, settle: Callable[[], None] | None = None) -> bool:
    """Let the first remedy that has an answer to this finding act. Whether one did."""
    for remedy in d.remedies:
        actions = remedy(finding, d.history, d.controls) if finding.name in remedy.answers else None
        if actions:
            if settle is not None:
                settle()
            for action in actions:
                perform(d, action, record, remedy)
            return True
    return False


def perform(d: Descent, action: Action, record: Recorder | None = None, remedy: Any = None) -> None:
    """Carry out one action and log it. `remedy`: who asked for it; where it has an `enact`, that does what no dial can."""
    if action.name in ("rewind", "restore"):  # `after`: of when the snapshot must be at the latest
        usual = d.cadence.snapshot if d.history.applied and d.history.applied[-1] else 0
        back = d.rewind(usual if action.after is None else d.t - int(action.after), whole=action.name == "rewind")
        action = Action(action.t, action.name, action.why, "t", float(d.t), float(back), action.by)
    elif action.name == "keep" and d.best is not None:
        d.best.chosen = True
    elif action.name == "finish" and action.after is not None:
        d.controls.level = schedule(d.rate, d.now(), d.controls)
        d.controls.finish, d.controls.end = d.t, int(action.after)
    elif action.dial and action.after is not None:
        kind = type(getattr(d.controls, action.dial))
        setattr(d.controls, action.dial, kind(action.after))
    if action.dial:  # a rewind's too: a snapshot has the weight decay of its time
        settle(d.controls, d.update, d.data)
    if hasattr(remedy, "enact"):
        action = remedy.enact(action, d.theta, d.objective, d.update) or action
    d.history.actions.append(action)
    if record is not None:
        record.action(action)


def renew(d: Descent) -> None:
    """At a snapshot: remedies that keep a bound of their own on every step renew it from the run so far."""
    for remedy in d.remedies:
        if hasattr(remedy, "renew"):
            remedy.renew(d.history, d.controls)  # pyright: ignore[reportAttributeAccessIssue]
