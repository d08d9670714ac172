"""A run: names and options become objects, objects are trained, the end is scored, told and saved.

    plan -> build -> (measure) -> carry_out -> finish

The one place where the parts meet. `learn.py` (Python) and `cli.py` (command line) are doors to it.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn import __version__, chance, fine_tune
from gradlearn.adapt import InPieces, Subset, about, placed
from gradlearn.allocation import kept
from gradlearn.descent import ring_of
from gradlearn.errors import InputTrouble, NumericsTrouble
from gradlearn.find import default, describe, find, wrapped
from gradlearn.loop import Cadence, Descent, Flushed, Recorder, advance, evaluating, train
from gradlearn.penalty import penalised, penalties
from gradlearn.plan import PIECE, Plan
from gradlearn.regular import Regular, forgetting, ways
from gradlearn.symbols import Action, Batch, Controls, Data, History, Losses, Now, Step, Task
from gradlearn.theta import Theta

SAMPLE = 1000  # training examples that are scored beside the validation data
SHARE = 0.005  # of the time of the run that one check may take
Show = Callable[[Descent, Step], None]


class TaskObjective:
    """L for one task and model."""

    def __init__(
        self, task: Task, model: nn.Module, data: Data | None = None, valid: Data | None = None, controls: Controls | None = None
    ) -> None:
        self.task, self.model, self.data, self.valid = task, model, data, valid
        self.controls = Controls() if controls is None else controls
        self.regular = Regular(task, model, data)

    def __call__(self, batch: Batch) -> Losses:
        """The task's losses of this batch, under the dials."""
        return self.task.losses(self.model, batch) if self.controls.plain else self.regular(batch, self.controls)

    @property
    def steps(self) -> int:
        """How many the run has, as things stand."""
        return self.controls.end


@dataclass(slots=True)
class Clock:
    """Keeps the time that was asked for: where the steps left do not fit the time left, the end is moved, and the rate falls to it.

    Attributes:
        deadline: `time.monotonic()` at which training must be over; scoring and writing come after it.
        span: seconds that the training was given, for the length of a look.
        pace: as it was measured; how much quicker the first part of the run is than the rest counts.
        look: seconds of each scoring on the way, as measured, then as the last ones took; no steps are taken meanwhile.
    """

    deadline: float
    span: float
    pace: Pace | None = None
    look: float = 0.0
    looked: float = 0.0
    at: int = -1
    scoring: float = 0.0

    def __call__(self, d: Descent) -> Action | None:
        """A `finish` action where the forecast misses the deadline by more than noise."""
        now = time.monotonic()
        left = self.deadline - now
        if self.at < 0 or d.t == self.at:
            self.looked, self.at, self.scoring = now, d.t, d.history.scoring
            return None
        late = left < 0.1 * self.span
        if now - self.looked < (0.02 if late else 0.06) * self.span + 0.3 or d.t >= d.controls.end:
            return None
        scoring, before = d.history.scoring - self.scoring, self.at
        if looks := self._looks(d, before, d.t):
            self.look = scoring / looks
        left -= self.look * self._looks(d, d.t, d.controls.end)
        pace = (now - self.looked - scoring) / (d.t - before)
        self.looked, self.at, self.scoring = now, d.t, d.history.scoring
        turn = self.pace.until * d.controls.end if self.pace is not None else 0.0
        if before < turn <= d.t:
            return None  # neither the pace of the one part nor of the other
        fits = d.t + max(int(self.steps(left / pace, d.t, d.t < turn)), 1)
        if self.pace is not None and 0.0 < turn <= d.t:
            fits = min(fits, int(d.t / self.pace.until))  # the first part is over, and does not come back
        miss = (fits - d.controls.end) / max(d.controls.end - d.t, 1)
        if d.t < 0.1 * d.controls.end or -0.03 < miss < (1e9 if late else 0.08):
            return None
        word = "slower" if miss < 0 else "faster"
        why = f"the machine is {word} than measured: {pace * 1e3:.3g} ms a step now, {left:.0f} s left"
        return Action(d.t - 1, "finish", why, "end", float(d.controls.end), float(fits), "clock")

    @staticmethod
    def _looks(d: Descent, first: int, last: int) -> int:
        """Scorings from before step `first` to before step `last`; the clock is asked before the one that is due."""
        every = d.cadence.score
        return max((last - 1) // every - (first - 1) // every, 0) if every and d.valid is not None else 0

    def steps(self, same: float, t: int, early: bool) -> float:
        """How many more there is time for, where there is for `same` such as at step t, which is in the first part (early) or not.

        A step until `until` * end takes as long as `quick` later ones; the end is where both parts together take the time.
        """
        if not early or self.pace is None:
            return same
        quick, until = self.pace.early / self.pace.late, self.pace.until
        end = (same * quick + quick * t) / (quick * until + 1.0 - until)
        return end - t if until * end > t else same * quick  # with so little time the first part is over at once


def build(task: Task, plan: Plan, model: nn.Module | None = None, valid: Data | None = None, test: Data | None = None) -> Descent:
    """The objects that a plan names. Without `model`, the task's own, a pure function of the seed."""
    seed = plan.get("seed", 0)
    model = (begun(task, plan, seed) if model is None else model).to(usable(plan.get("device", "cpu")))
    turned = by_channels(model) if plan.get("device", "cpu") == "cpu" else set()
    theta = Theta(model)
    theta.turned = turned
    try:
        return _assemble(task, plan, theta, valid, test)
    except BaseException:
        theta.release()
        raise


def fresh(task: Task, seed: int) -> nn.Module:
    """The task's own model before its first step."""
    with chance.preserved():
        chance.reseed(chance.key(seed, "model"))
        return task.model(seed)


def begun(task: Task, plan: Plan, seed: int) -> nn.Module:
    """The task's own model, with the weights that the run begins with, if there are some: the plan learns what of it is new."""
    model, start = fresh(task, seed), getattr(task, "start", None)
    if start is not None:
        new = start.take_over(model, task.card().get("classes", ())).fresh  # pyright: ignore[reportAttributeAccessIssue]
        plan.choose("fresh", list(new), "follows from the weights that the run begins with", "data")
        if not new:
            plan.replace("head_first", 0.0, "nothing is new")
    return model


def by_channels(model: nn.Module) -> set[int]:
    """Lay the weights of plane convolutions out by channels, as a processor's library works fastest; returns which, by `id`."""
    kernels = [m.weight for m in model.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    found = {id(w) for w in kernels if isinstance(w, nn.Parameter) and w.is_contiguous() and w.requires_grad}
    for weight in kernels:
        if id(weight) in found:  # `.contiguous` leaves a weight of one channel as it is, and the layer then works plane by plane
            weight.data = torch.empty_like(weight.data, memory_format=torch.channels_last).copy_(weight.data)
    return found


def _assemble(task: Task, plan: Plan, theta: Theta, valid: Data | None, test: Data | None) -> Descent:
    seed, device = plan.get("seed", 0), plan.get("device", "cpu")
    data = placed(task.data("train"), device)
    chooser = find("batches", plan["batches"])
    known = {what: about(data, what) for what in getattr(chooser, "wants", ())}
    batches = chooser(len(data), **known, **plan.options(plan["batches"]))
    part = plan.options(plan["gradient"]).get("part", PIECE if plan["gradient"] == "accumulate" else 0)
    if plan["batches"] == "full" and part:
        data = InPieces(data, part)
    kind = find("update", plan["update"])
    groups = fine_tune.ordered(theta.groups if _elementwise(plan["update"], plan) else theta.views, theta, plan)
    update = kind(groups, lr=plan["lr"], **options("update", plan["update"], plan, {"seed": seed, "n": len(data)}))
    valid, test = (None if given is None else placed(given, device) for given in (valid, test))
    controls = Controls(end=plan.get("steps", 0), clip=plan["clip"])
    for group in update.param_groups:
        group["initial_lr"] = group["lr"]
    if "regularise" in plan.get("remedies", ()):
        plan.choose("regularise.ways", ways(task, theta.model, update, task.data("train")), "what does something here", "data")
        forgets = float(f"{forgetting(update, controls.end):.3g}")
        plan.choose("regularise.forget", forgets or 1.0, "rate x weight decay x steps, half of it as the rate falls")
    return Descent(
        task=task,
        theta=theta,
        objective=penalised(TaskObjective(task, theta.model, data, valid, controls), penalties(plan)),
        data=data,
        batches=batches,
        gradient=find("gradient", plan["gradient"])(**options("gradient", plan["gradient"], plan)),
        update=update,
        rate=[find("rate", name)(**plan.options(name)) for name in plan["rate"]],
        average=_average(plan, theta, update),
        controls=controls,
        checks=checks_of(plan),
        remedies=remedies_of(plan),
        valid=valid,
        test=test,
        sample=sample_of(data, valid, seed),
        seed=seed,
        cadence=Cadence(
            score=plan.get("score_every", 0),
            snapshot=max(plan.get("steps", 0) // 100, min(50, max(plan.get("steps", 0) // 30, 10))),
            ring=ring_of(len(theta)),
            save=plan.get("save_every", 0),
        ),
    )


def sample_of(data: Data, valid: Data | None, seed: int) -> Data | None:
    """As many training examples as there are for validation, SAMPLE at most: what the two score tells how far they are apart."""
    if valid is None or not len(valid):
        return None
    rows = chance.permutation(len(data), seed, "sample")[: min(len(valid), SAMPLE)]
    return Subset(data, torch.from_numpy(np.sort(rows)))


def _elementwise(name: str, plan: Plan) -> bool:
    """Whether an update, and every one that it wraps, goes by single coordinates: it gets the flat vector then."""
    inner = (plan.get(f"{name}.{o}") or default("update", name, o) for o in wrapped("update", name))
    return getattr(find("update", name), "elementwise", True) and all(_elementwise(other, plan) for other in inner if other)


def options(kind: str, name: str, plan: Plan, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The options of a plug-in; one that names another of its folder (`wraps`) becomes that: a gradient, what makes an update."""
    own = {o.name for o in describe(kind, name).options}
    chosen = {k: v for k, v in (known or {}).items() if k in own} | plan.options(name)
    for option in getattr(find(kind, name), "wraps", ()):
        inner = chosen.get(option) or default(kind, name, option)
        if not inner:
            continue
        factory = partial(find(kind, inner), **options(kind, inner, plan, known))
        chosen[option] = factory() if kind == "gradient" else factory
    return chosen


def _average(plan: Plan, theta: Theta, update: Any) -> Any:
    """theta-bar; one that shows the update's own average is told of the update."""
    kind, chosen = find("average", plan["average"]), plan.options(plan["average"])
    return kind(theta, update=update, **chosen) if getattr(kind, "of_update", False) else kind(theta, **chosen)


def usable(device: str) -> str:
    """The device, if torch has it. Raises InputTrouble."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputTrouble(f"--device {device}: not to be had here ({str(error).splitlines()[0][:80]}); use cpu") from error
    return device


def checks_of(plan: Plan) -> list[Any]:
    """The health checks that a plan names, each looking no oftener than its share of the time allows."""
    found = []
    for name in plan.get("watch", ["finite", "divergence"]):
        kind = find("watch", name)
        check = kind(**plan.options(name))
        if kind.cost and f"{name}.every" not in plan:
            check.every = max(check.every, math.ceil(kind.cost / SHARE))
        found.append(check)
    return found


def remedies_of(plan: Plan) -> list[Any]:
    """The remedies that a plan names, in the order in which they are asked."""
    return [find("remedy", name)(**plan.options(name)) for name in plan.get("remedies", ["skip", "rewind", "stop"])]


class Pace(NamedTuple):
    """Seconds of a step: in the first part of a run, in the rest, and the share of the run where one becomes the other."""

    early: float
    late: float
    until: float

    @property
    def mean(self) -> float:
        """Over a whole run."""
        return self.until * self.early + (1.0 - self.until) * self.late


class At:
    """Training data as they are at one time of a run."""

    def __init__(self, data: Any, now: Now) -> None:
        self.data, self.now = data, now

    def __len__(self) -> int:
        return len(self.data)

    def __call__(self, index: Tensor, draw: int) -> Batch:
        """A batch."""
        self.data.follow(self.now)
        return self.data(index, draw)


def pace_of(d: Descent, seconds: float) -> Pace:
    """The pace of both parts of a run, from steps for so many seconds; everything is bitwise as found afterwards."""
    until = float(getattr(d.data, "until", 0.0))
    if not until:
        found = measure(d, seconds)
        return Pace(found, found, 0.0)
    data = d.data
    try:
        paces = []
        for now in (Now(0, 1 << 30, 0, 0), Now(1, 1, 0, 0)):  # the beginning and the end
            d.data = At(data, now)
            paces.append(measure(d, 0.5 * seconds))
    finally:
        d.data = data
    return Pace(paces[0], paces[1], until)


def measure(d: Descent, seconds: float) -> float:
    """Median seconds of one step, from steps on this very model and data for so long; everything is bitwise as found afterwards.

    At least three steps are taken, the first does not count.
    """
    end, t, seen = d.controls.end, d.t, d.seen
    d.remember()
    d.controls.end = 1 << 40
    times: list[float] = []
    start = time.perf_counter()
    modes, flushed = [(m, m.training) for m in d.theta.model.modules()], Flushed()
    d.theta.model.train()
    with chance.preserved():
        while len(times) < 3 or (time.perf_counter() - start < seconds and len(times) < 2000):
            begin = time.perf_counter()
            with flushed:
                steps, _ = advance(d, True)
            d.t, d.seen = d.t + len(steps), d.seen + sum(step.n for step in steps)
            times += [(time.perf_counter() - begin) / len(steps)] * len(steps)
    for module, mode in modes:
        module.training = mode
    d.t, d.seen, d.controls.end = t, seen, end
    d.rewind(0)
    d.ring.clear()
    times = sorted(times[1:])
    return times[len(times) // 2]


def measure_score(d: Descent, data: Data | None) -> float:
    """Seconds that one scoring of this data takes: from a part of it that is no larger than it need be, everything as found."""
    if data is None or len(data) == 0:
        return 0.0
    with evaluating(d.theta.model):
        d.task.score(d.theta.model, Subset(data, torch.arange(min(len(data), 32))))  # what comes first takes longer
        for n in (32, 128, 512, 1000):
            part, start = Subset(data, torch.arange(min(len(data), n))), time.perf_counter()
            d.task.score(d.theta.model, part)
            took = time.perf_counter() - start
            if took > 0.2 or len(part) == len(data):
                break
    return took * len(data) / len(part)


def carry_out(
    d: Descent,
    record: Recorder | None = None,
    clock: Clock | None = None,
    show: Show | None = None,
    stopped: Any = None,
    glances: bool = False,
) -> dict[str, str]:
    """Train, score and save. Returns why it ended: {"reason": done | time | signal | numerics, "message"}.

    `stopped.number` is looked at after every step: a signal saves and ends. `glances`: `show` looks at the steps and the history,
    not at theta, so that several steps may be taken in one call.
    """
    with kept():
        for step in train(d, record, clock, ahead=show is None or glances):
            if show is not None:
                show(d, step)
            if getattr(stopped, "number", 0):
                d.interrupted = True
    if d.interrupted and d.t < d.controls.end:
        return {"reason": "signal", "message": f"stopped by signal {stopped.number} after step {d.t - 1}; saved"}
    if d.controls.stop >= 0:
        last = next(a for a in reversed(d.history.actions) if a.name == "stop")
        return {"reason": "numerics", "message": last.why}
    if any(a.name == "finish" and a.by == "clock" for a in d.history.actions):
        return {
            "reason": "time",
            "message": f"the time was used up at step {d.t}; the learning rate had been brought to zero",
        }
    early = [a for a in d.history.actions if a.name == "finish" and a.by == "watch" and a.after == a.t + 2]
    if early:
        return {"reason": "done", "message": f"ended early at step {d.t}: {early[-1].why}"}
    return {"reason": "done", "message": f"all {d.t} steps are done"}


def failed(reason: dict[str, str]) -> NumericsTrouble | None:
    """The error that a reason stands for; None for an end that is none."""
    return NumericsTrouble(reason["message"]) if reason["reason"] == "numerics" else None


def machine(device: str = "cpu") -> dict[str, Any]:
    """What this run ran on, for run.toml."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gradlearn": __version__,
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "device": device,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def settings(task: str, plan: Plan, data: dict[str, Any]) -> dict[str, Any]:
    """The content of run.toml."""
    choices = {name: {"value": c.value, "by": c.by, "why": c.why} for name, c in plan.items()}
    return {
        "format": 1,
        "program": f"gradlearn {__version__}",
        "task": task,
        "data": data,
        "machine": machine(plan.get("device", "cpu")),
        "choice": choices,
    }


def summarise(task: str, d: Descent, folder: Path, stop: dict[str, str], seconds: float) -> dict[str, Any]:
    """What --json prints, less the story."""
    last = {split: s for _, split, s in d.history.scores}
    main = last.get("test") or last.get("valid")
    score: dict[str, Any] = {}
    if main is not None:
        score = {"name": main.name, "higher": main.higher}
        score |= {split: s.value for split, s in last.items()}
        score["all"] = {f"{split}_{k}": v for split, s in last.items() for k, v in s.all.items()}
    return {
        "run": str(folder),
        "task": task,
        "score": score,
        "steps": d.t,
        "seconds": round(seconds, 3),
        "stop": stop,
        "findings": [asdict(f) for f in d.history.findings],
        "preflight": preflight_of(d.history, d.controls.end),
    }


def preflight_of(history: History, steps: int) -> list[dict[str, str]]:
    """What was asked before the first step, in words."""
    from gradlearn.report.preflight import sentences

    early = {name: rows[0][1] for name, rows in history.measured.items() if rows[0][0] == 0 or name.startswith("precision.")}
    return sentences(early, [asdict(f) for f in history.findings], steps)


def story_of(settings: dict[str, Any], history: History, steps: dict[str, list[Any]], stop: dict[str, str]) -> str:
    """The account of the run in one paragraph."""
    from gradlearn.report.story import paragraph

    scores = [
        {"t": t, "split": split, "name": s.name, "higher": s.higher, "value": s.value, "all": dict(s.all)}
        for t, split, s in history.scores
    ]
    return paragraph(settings, steps, scores, [asdict(f) for f in history.findings], [asdict(a) for a in history.actions], stop)
