"""One try at a trap, and the tries of one cell: an update as `run.py` builds it, the equation step by step, a walk over rates."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

import measure
from gradlearn.find import default, find, wrapped
from gradlearn.layout import members_of
from gradlearn.plan import Plan, choose_descent, choose_update
from gradlearn.run import options as plug_in_options
from gradlearn.step import step as take
from gradlearn.symbols import Controls, Now
from gradlearn.theta import Theta
from measure import Row
from trap_problems import Problem, Trap

TRIES = 10  # at most
LOOKS = 50  # at the gap, in one try
BLOCKED = 25  # steps without a finite loss after which a try is given up
SHARED = {"symbols", "errors", "chance", "theta", "sweep", "optimizer"}  # what these compute has tests of its own


class Contender(NamedTuple):
    """Who tries: what is said to the plan, and what is built instead, if anything."""

    name: str
    said: dict[str, Any]
    kind: str  # "plan", "update", "torch", or "twin": torch's class with the options of ours
    torch_class: str = ""


class Attempt(NamedTuple):
    """One try."""

    passed: bool
    gap: float  # the last one seen, to three digits; infinite where there was no number
    steps: int  # evaluations of loss and gradient
    seconds: float = 0.0
    trouble: str = ""
    as_now: bool = True  # made by the problem and the update as they are now


def descent_of(who: Contender, steps: int, trap: Trap) -> Plan:
    """What the plan makes of what is said; of the model, where an update is not."""
    plan = Plan({**who.said, "steps": steps})
    if "update" not in plan:
        tensors = [(m.role, tuple(m.param.shape)) for m in members_of(trap.model)]
        choose_update(plan, tensors, 6.0 * trap.examples * sum(math.prod(shape) for _, shape in tensors))
    choose_descent(plan)
    return plan


def usual_rate(who: Contender, plan: Plan) -> float:
    """Where the tries begin: what the plan chooses for this update, or torch's default."""
    if who.kind == "torch":
        return inspect.signature(getattr(torch.optim, who.torch_class)).parameters["lr"].default
    return plan["lr"]


class Bare:
    """A class of torch, told of estimates like one of ours."""

    def __init__(self, groups: Any, name: str, **options: Any) -> None:
        self.inner = getattr(torch.optim, name)(groups, **options)
        self.param_groups, self.state = self.inner.param_groups, self.inner.state
        self.step = self.inner.step

    def observe(self, estimate: Any) -> None:
        """It has no use for it."""


def build_update(who: Contender, plan: Plan, theta: Theta, lr: float) -> Any:
    """The update as `run.py` builds it, or torch's."""
    if who.kind == "torch":
        more = {"momentum": 0.9} if who.torch_class == "SGD" else {}
        return Bare([{"params": g["params"]} for g in theta.groups()], who.torch_class, lr=lr, **more)
    kind = find("update", plan["update"])
    groups = theta.groups() if getattr(kind, "elementwise", True) else theta.views()
    update = kind(groups, lr=lr, **plug_in_options("update", plan["update"], plan))
    if who.kind != "twin":
        return update
    known = inspect.signature(getattr(torch.optim, who.torch_class)).parameters
    groups = [{k: v for k, v in g.items() if k in ("params", "weight_decay")} for g in update.param_groups]
    more = {"decoupled_weight_decay": True} if "decoupled_weight_decay" in known else {}
    return Bare(groups, who.torch_class, **{k: v for k, v in update.defaults.items() if k in known}, **more)


def attempt(who: Contender, problem: Problem, level: str, seed: int, power: float) -> Attempt:
    """One try at 10^power times the usual rate: the equation, step by step, until the gap is small or the steps are used up."""
    begun, trap = time.perf_counter(), problem.trap(level, seed)
    theta = Theta(trap.model)
    try:
        plan = descent_of(who, problem.steps, trap)
        update = build_update(who, plan, theta, usual_rate(who, plan) * 10.0**power)
        gap = descend(plan, problem.steps, trap, theta, update, seed)
        trouble = ""
    except Exception as error:  # an update that breaks has not solved it; the row says so
        gap, trouble = math.inf, f"{type(error).__name__}: {error}"[:200]
    return Attempt(gap <= trap.goal, float(f"{gap:.3g}"), trap.calls, round(time.perf_counter() - begun, 3), trouble)


def descend(plan: Plan, steps: int, trap: Trap, theta: Theta, update: Any, seed: int) -> float:
    """theta <- theta - eta u(g) until `steps` evaluations are spent, a step is one or more. The last of 50 looks at the gap."""
    gradient = find("gradient", plan["gradient"])(**plug_in_options("gradient", plan["gradient"], plan))
    rate = [find("rate", name)(**plan.options(name)) for name in plan["rate"]]
    kind, chosen = find("average", plan["average"]), plan.options(plan["average"])
    average = kind(theta, update=update, **chosen) if getattr(kind, "of_update", False) else kind(theta, **chosen)
    controls = Controls(end=steps, clip=plan["clip"])
    for group in update.param_groups:
        group["initial_lr"] = group["lr"]
    t, blocked, gap, look = 0, 0, math.inf, steps // LOOKS
    while trap.calls < steps:
        now = Now(t, steps, t * trap.examples, seed)
        done = take(theta, trap.batch(seed, t), trap, gradient, update, rate, average, now, controls, trap.examples)
        blocked = 0 if done.applied else blocked + 1
        if blocked == BLOCKED:
            return math.inf
        if trap.calls >= look:
            look += steps // LOOKS
            with torch.no_grad(), average.shown(theta):
                gap = trap.gap(t)
            gap = math.inf if math.isnan(gap) else gap
            if gap <= trap.goal:
                break
        t += 1
    return gap


class Tries:
    """Tries that were made, in a file of one line each; a try is made only once while problem and update are what they were.

    Args:
        path: the file.
        make: False: nothing is computed, and a try that an older update made counts too.
    """

    def __init__(self, path: Path, make: bool = True) -> None:
        self.path, self.make = path, make
        self.known: dict[tuple[str, ...], dict[str, Attempt]] = {}  # by place, then by fingerprint, oldest first
        for line in path.read_text().splitlines() if path.exists() else ():
            row = json.loads(line)
            self._learn(row["place"], row["print"], Attempt(*row["try"]))

    def _learn(self, place: Sequence[str], mark: str, done: Attempt) -> None:
        if not done.trouble:  # what broke may have been mended since, in a file that no fingerprint covers
            self.known.setdefault(tuple(place), {})[mark] = done

    def __call__(self, who: Contender, problem: Problem, level: str, seed: int, power: float) -> Attempt:
        """The try, remembered or made. Raises KeyError where it may not be made."""
        place, mark = (who.name, problem.name, level, str(seed), f"{power:g}"), fingerprint(who, problem, level)
        known = self.known.get(place, {})
        if mark in known:
            return known[mark]
        if not self.make:
            return list(known.values())[-1]._replace(as_now=False) if known else self.known[place][mark]
        done = attempt(who, problem, level, seed, power)
        self._learn(place, mark, done)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps({"place": place, "print": mark, "try": done[:5]}) + "\n")
        return done


def cell(tries: Tries, who: Contender, problem: Problem, level: str, seed: int, most: int = TRIES) -> Row:
    """Tries until one passes. `solved`: which one, from 1; 0: none."""
    done: list[tuple[float, Attempt]] = []
    for power in walk(done, most):
        done.append((power, tries(who, problem, level, seed, power)))
    return {
        "who": who.name,
        "problem": problem.name,
        "level": level,
        "seed": seed,
        "solved": len(done) if done[-1][1].passed else 0,
        "powers": [power for power, _ in done],
        "gaps": [one.gap for _, one in done],
        "steps": sum(one.steps for _, one in done),
        "seconds": sum(one.seconds for _, one in done),
        "trouble": next((one.trouble for _, one in done if one.trouble), ""),
        "as_now": all(one.as_now for _, one in done),
    }


def walk(done: Sequence[tuple[float, Attempt]], most: int) -> Iterator[float]:
    """Powers of ten, times the usual rate: up while the gap gets smaller, until it was not twice running; if up was no good, down.

    `done`, the tries so far, grows while this is walked; it ends where one has passed. A gap equal to a tenth says nothing.
    """
    yield 0.0
    for way in (0.5, -0.5):
        best, worse = done[0][1].gap, 0
        while worse < 2:
            if done[-1][1].passed or len(done) == most:
                return
            yield done[-1][0] + way if done[-1][0] * way > 0 else way
            gap = done[-1][1].gap
            worse = 0 if gap < 0.9 * best else worse + (gap > 1.1 * best or math.isinf(gap))
            best = min(best, gap)
        if best < 0.9 * done[0][1].gap:
            return


@cache
def text_of(update: str) -> str:
    """The file of an update, and those of ours that it alone imports, as they were when they were first used."""
    path = measure.ROOT / "src" / "gradlearn" / "update" / f"{update}.py"
    text = path.read_text()
    near = sorted(set(re.findall(r"^from gradlearn\.(\w+) import", text, re.MULTILINE)) - SHARED)
    return text + "".join((path.parent.parent / f"{name}.py").read_text() for name in near)


def fingerprint(who: Contender, problem: Problem, level: str) -> str:
    """Of all that decides a try: the problem's text and level, what the plan chose, the texts of the updates in it."""
    plan = descent_of(who, problem.steps, problem.trap(level, 0))
    parts = [problem.source, str(problem.steps), str(problem.levels[level]), str(who)]
    parts += [f"{name}={choice.value}" for name, choice in plan.items()] + [str(usual_rate(who, plan))]
    todo = [] if who.kind == "torch" else [plan["update"]]
    while todo:
        name = todo.pop()
        parts.append(text_of(name))
        todo += [plan.get(f"{name}.{o}", default("update", name, o)) for o in wrapped("update", name)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
