"""Front door 1: a module, a loss, data. `fit` trains it, `train` hands out the steps, `load` brings a saved run back.

    run = gradlearn.fit(model, (x, y), loss="cross_entropy")
    run.score.value, run.explain(), run.model

The module is trained in place and afterwards owns its parameters again. Nothing needs to be set; whatever is set wins.
"""

from __future__ import annotations

import math
import time as clock_time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn.adapt import leaves, to_data
from gradlearn.allocation import kept
from gradlearn.errors import InputTrouble, nearest
from gradlearn.layout import members_of
from gradlearn.loop import Descent, keep_shown
from gradlearn.loop import train as steps_of
from gradlearn.plan import (
    Plan,
    batch_size,
    check_names,
    choose_batch,
    choose_descent,
    choose_length,
    choose_update,
    plan_from,
    seconds_of,
    usual_epochs,
)
from gradlearn.program.choice import again, choose_program
from gradlearn.run import (
    Clock,
    build,
    carry_out,
    failed,
    measure,
    measure_score,
    preflight_of,
    sample_of,
    settings,
    story_of,
    summarise,
    usable,
)
from gradlearn.scales import LAYERS, fold, standardise
from gradlearn.supervised import Supervised, operations, predict, split_of, try_out
from gradlearn.symbols import Action, Finding, Score, Step

if TYPE_CHECKING:
    from gradlearn.record.record import Record

SETTINGS = ("time", "epochs", "steps", "batch", "update", "lr", "act", "seed", "device", "compile")
CARE = ("without", "watch", "remedies")
MORE = (
    "rate",
    "average",
    "gradient",
    "batches",
    "penalty",
    "grow",
    "clip",
    "save_every",
    "score_every",
    "inputs",
    "head_first",
    "first_rate",
    *CARE,
)


@dataclass
class Run:
    """What came of a training.

    Attributes:
        model: the trained module, in evaluation mode, owning its parameters.
        score: on validation data; None without any.
        history: series by name: "loss" and "grad_norm" per step; "val_step" and "val_<score>" per scoring, "train_..." of a
            sample of the training data likewise.
        findings: what the watch saw.
        actions: what was done.
        stop: {"reason", "message"}.
        steps: how many were taken, over all sessions of the run.
        seconds: of this call.
        folder: the run folder, if one was asked for.
        settings: every choice, who made it and why: what run.toml says.
        asked, tell: what `preflight` and `story` come from; they are made when somebody asks.
    """

    model: nn.Module
    score: Score | None
    history: dict[str, list[float]]
    findings: list[Finding]
    actions: list[Action]
    stop: dict[str, str]
    steps: int
    seconds: float
    folder: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    asked: Callable[[], list[dict[str, str]]] = list
    tell: Callable[[], str] = lambda: ""

    @property
    def preflight(self) -> list[dict[str, str]]:
        """What was asked before the first step: {"question", "state": "well", "trouble" or "not asked", "sentence"}."""
        return self.asked()

    @property
    def story(self) -> str:
        """The account in one paragraph."""
        return self.tell()

    def explain(self) -> str:
        """The account of the run in one paragraph."""
        return self.story

    def report(self) -> Path:
        """Write report.html into the run folder and return its path. Raises InputTrouble where `fit` was given no `run`."""
        if self.folder is None:
            raise InputTrouble("report: this run has no folder; call fit with run='runs/name'")
        from gradlearn.report.page import write

        return write(self.folder)

    def predict(self, x: Any) -> Tensor:
        """The model's outputs for x, without gradients: (n, ...)."""
        return predict(self.model, x)


def fit(
    model: nn.Module,
    data: Any,
    loss: str | Callable[..., Any] = "cross_entropy",
    *,
    valid: Any = "auto",
    time: float | str | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    batch: int | str = "auto",
    update: str = "auto",
    lr: float | str = "auto",
    act: bool = True,
    seed: int | None = None,
    run: str | Path | None = None,
    resume: str | Path | None = None,
    class_weight: Any = None,
    device: str = "auto",
    compile: str | bool = "auto",
    show: Callable[[Descent, Step], None] | None = None,
    **options: Any,
) -> Run:
    """Train a module in place.

    Args:
        model: any `nn.Module`; called as model(x), model(*x) for tuples, model(**x) for dicts.
        data: (x, y) arrays, tensors, or tuples and dicts of them; a torch Dataset or DataLoader of (x, y) items.
        loss: "cross_entropy", "mse", a torch loss, or a callable (output, target) -> one number per example, or one in all.
        valid: "auto" holds out a tenth (from 50 examples on), a share in (0, 1), data like `data`, or None.
        time: seconds, or "60s", "5m", "2h", counted from this call. One of time, epochs, steps; without any, the plan's choice.
        epochs: passes over the training data.
        steps: steps of the equation.
        batch: examples a step, "full", or "auto".
        update: name of an update (`gradlearn list update`), or "auto".
        lr: the peak learning rate, or "auto".
        act: whether remedies act; False only watches, and ends at the first non-finite step.
        seed: of everything that is drawn; 0, or that of the run that is resumed.
        run: a folder to write log, checkpoints, model and report to; none unless asked.
        resume: a run folder of the same call to go on from; its choices are taken over, a different one is refused.
        class_weight: one weight per class, for cross_entropy.
        device: "cpu", "cuda", "cuda:1", or "auto": where the model's parameters are.
        compile: "on": the step becomes one compiled program; "off"; "auto": where the forecast says that it pays within this run.
        show: called with (descent, step) after every step.
        options: of plug-ins, dots as double underscores: adamw__weight_decay=0.1, ema__decay=0.99; rate=["warmup", "cosine"].

    Returns:
        The run: `.model`, `.score`, `.history`, `.findings`, `.explain()`, `.report()`.

    Raises:
        InputTrouble: data, loss or options that cannot be used.
        NumericsTrouble: the training left the finite numbers for good; the model then holds the last good weights.
    """
    begun = clock_time.monotonic()
    named = (time, epochs, steps, batch, update, lr, act, seed, device, compile)
    given: dict[str, Any] = dict(zip(SETTINGS, named, strict=True))
    user = choices_of(given, options)
    random_state = torch.get_rng_state()
    with ExitStack() as stack:
        stack.callback(torch.set_rng_state, random_state)
        task = task_of(model, data, loss, valid, user, class_weight, _seed(user, resume))
        descent, plan, record, clock = _open(task, user, run, resume, begun, stack)
        begun -= descent.seconds  # of a run that is resumed, the steps that are kept are part of its time
        stack.callback(descent.theta.release)
        stack.callback(fold, task)
        signals = None
        if record is not None:
            from gradlearn.record.stop import Signals

            signals = stack.enter_context(Signals())
        stop = carry_out(descent, record, clock, show, signals)
        if stop["reason"] != "signal":
            keep_shown(descent)
        fold(task)
        result = result_of(descent, plan, stop, clock_time.monotonic() - begun, record)
    trouble = failed(stop)
    if trouble is not None:
        raise trouble
    return result


def train(
    model: nn.Module, data: Any, loss: str | Callable[..., Any] = "cross_entropy", *, valid: Any = None, **given: Any
) -> Iterator[Step]:
    """The loop itself: yields every step when it is done. Arguments as for `fit`, less `run`, `resume`, `show` and `time`.

    Stop iterating whenever you like; the module then holds the weights of the last step and owns them.
    """
    for name in ("run", "resume", "show", "time"):
        if given.get(name) is not None:
            raise InputTrouble(f"train: takes no {name!r}; use fit")
    weight = given.pop("class_weight", None)
    plain = {k: given.pop(k, None) for k in SETTINGS}
    user = choices_of(plain, given)
    task = task_of(model, data, loss, valid, user, weight, _seed(user, None))
    descent, _ = planned(task, Plan({"inputs": "as given"} | user), 0.0)  # who looks at the module shall see it as it is
    try:
        yield from steps_of(descent)
    finally:
        descent.theta.release()


def load(run: str | Path, model: nn.Module | None = None) -> Any:
    """A trained model back from its run folder.

    Args:
        run: the folder, `runs/images-001`.
        model: for a run of `fit`: a module of the same architecture; its parameters are overwritten.

    Returns:
        An object with `.model`, `.card`, `.classes` and `.predict(x)`.

    Raises:
        CheckpointTrouble, InputTrouble: damaged, or not a model that gradlearn wrote.
    """
    from gradlearn.loaded import load as from_folder

    return from_folder(Path(run), model)


def choices_of(given: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What the caller set, by the plan's names."""
    user = {k: given[k] for k in SETTINGS if given.get(k) not in (None, "auto")}
    if user.get("act") is True:
        del user["act"]
    user |= {k.replace("__", "."): v for k, v in options.items()}
    user = {k: v.item() if isinstance(v, np.generic) else v for k, v in user.items()}
    for several in ("rate", "penalty", *CARE):
        if isinstance(user.get(several), str):
            user[several] = user[several].split(",")
    for name in user:
        if "." not in name and name not in (*SETTINGS, *MORE):
            raise InputTrouble(f"fit: unknown argument {name!r}{nearest(name, [*SETTINGS, *MORE, 'valid', 'run', 'resume'])}")
    if sum(k in user for k in ("time", "epochs", "steps")) > 1:
        raise InputTrouble("fit: time, epochs and steps exclude each other; give one")
    return user


def _seed(user: Mapping[str, Any], resume: str | Path | None) -> int:
    """What the data are split by: a run that is resumed must see the same examples."""
    if "seed" in user or resume is None:
        return user.get("seed", 0)
    from gradlearn.record.folder import open_run
    from gradlearn.record.settings import read

    open_run(Path(resume))
    return plan_from(read(Path(resume)))["seed"]


def task_of(model: nn.Module, data: Any, loss: Any, valid: Any, user: dict[str, Any], weight: Any, seed: int) -> Supervised:
    """The task of a module: its data split, its loss tried on two examples. Raises InputTrouble."""
    if not isinstance(model, nn.Module):
        raise InputTrouble(f"fit: expected an nn.Module, got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise InputTrouble("fit: a ScriptModule keeps its parameters to itself; give the nn.Module that it was made from")
    task = Supervised(model, loss, split_of(to_data(data), valid, seed), weight)
    if "device" in user:
        model.to(usable(user["device"]))
    try_out(task, model)
    return task


def _open(
    task: Supervised,
    user: dict[str, Any],
    run: str | Path | None,
    resume: str | Path | None,
    begun: float,
    stack: ExitStack,
) -> tuple[Descent, Plan, Record | None, Clock | None]:
    """The descent, and its run folder if one is asked for, new or old."""
    if run is not None and resume is not None:
        raise InputTrouble("fit: give run for a new run or resume for an old one, not both")
    if resume is not None:
        return *_resumed(task, user, Path(resume), stack), None
    plan = Plan(user)
    descent, clock = planned(task, plan, begun)
    if run is None:
        return descent, plan, None, clock
    from gradlearn.record.folder import begin, lock
    from gradlearn.record.record import Record
    from gradlearn.record.settings import write

    about = _described(task, plan)
    folder = begin(Path(run).parent, "fit", Path(run).name, lambda new: write(new, about))
    stack.enter_context(lock(folder))
    return descent, plan, Record(folder), clock


@kept()
def planned(task: Supervised, plan: Plan, begun: float, runs: int = 1) -> tuple[Descent, Clock | None]:
    """The descent of a plan, and the clock of one whose time is limited; `runs`: how many will share its program."""
    model = task.own
    n = len(task.data("train"))
    plan.choose("seed", 0, "the usual one")
    first = next(model.parameters(), torch.empty(0))
    plan.choose("device", str(first.device), "where the model is", "data")
    plan.choose("threads", torch.get_num_threads(), "as torch is set", "data")
    choose_batch(plan, n)
    task.use(plan)
    standardise(task, plan)
    valid = task.sets["valid"]
    if "update" not in plan:
        tensors = [(m.role, tuple(m.param.shape)) for m in members_of(model)]
        many = n if any(isinstance(m, LAYERS) for m in model.modules()) else math.inf  # else its numbers are no weights of inputs
        choose_update(plan, tensors, operations(task, model) * batch_size(plan, n), many)
    reserve = 0.0
    if "time" in plan:
        budget = seconds_of(plan["time"])
        scratch = Plan({k: c.value for k, c in plan.items() if k != "time"} | {"steps": 1000})
        choose_descent(scratch, n)
        check_names(scratch)
        d = build(task, scratch, model)
        try:
            choose_program(d, plan, 0, budget)
            pace, scoring = measure(d, min(1.0, 0.02 * budget)), measure_score(d, valid)
            scoring += measure_score(d, sample_of(d.data, valid, plan["seed"]))
        finally:
            d.theta.release()
        reserve = scoring + 0.1
        looks = plan.choose("looks", min(20, int(0.04 * budget / max(scoring, 1e-9))), "scores on the way", "measured")
        left = budget - (clock_time.monotonic() - begun) - reserve - looks * scoring
        plan.choose("steps", max(int(0.98 * left / pace), 1), f"{pace * 1e3:.3g} ms a step, {left:.1f} s left", "measured")
    else:
        choose_length(plan, n, usual_epochs(plan, n))
    choose_descent(plan, n, targets_of(task.data("train")) / max(sum(p.numel() for p in model.parameters()), 1))
    looks = plan.choose("looks", 20, "scores on the way")
    if valid is not None and looks:
        plan.choose("score_every", max(plan["steps"] // (looks + 1), 1), "follows from the looks")
    check_names(plan)
    d = build(task, plan, model, valid=valid)
    choose_program(d, plan, plan["steps"] * runs)
    if "time" not in plan:
        return d, None
    deadline = begun + seconds_of(plan["time"]) - reserve
    return d, Clock(deadline, max(deadline - clock_time.monotonic(), 0.1))


def targets_of(data: Any) -> float:
    """How many classes the examples ask for in all: a row of words asks for each of them. An answer in numbers counts once."""
    y = getattr(data, "y", None)
    classes = [t for t in leaves(y) if not t.is_floating_point()] if y is not None else []
    return float(max(sum(t.numel() for t in classes), len(data)))


def _resumed(task: Supervised, user: dict[str, Any], folder: Path, stack: ExitStack) -> tuple[Descent, Plan, Record]:
    from gradlearn.comeback import bring_back
    from gradlearn.record.folder import lock, open_run
    from gradlearn.record.settings import read

    stack.enter_context(lock(open_run(folder)))
    plan = plan_from(read(folder))
    for name, value in user.items():
        if name in plan and plan[name] != (list(value) if isinstance(value, tuple) else value):
            raise InputTrouble(f"fit: {name}={value!r}, but the run in {folder} has {plan[name]!r}; leave it out to resume")
    stack.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(plan.get("threads", torch.get_num_threads()))
    task.use(plan)
    standardise(task, plan)
    descent = build(task, plan, task.own, valid=task.sets["valid"])
    again(descent, plan)
    return descent, plan, bring_back(descent, folder)


def _described(task: Supervised, plan: Plan) -> dict[str, Any]:
    counts = {name: len(data) for name, data in task.sets.items() if data is not None}
    return settings("fit", plan, {"source": "memory", "kind": "fit"} | counts)


def result_of(d: Descent, plan: Plan, stop: dict[str, str], seconds: float, record: Record | None) -> Run:
    """What came of a descent that is over."""
    h = d.history
    series: dict[str, list[float]] = {"loss": h.loss, "grad_norm": h.norm}
    last = None
    for t, split, found in h.scores:
        own = "val" if split == "valid" else split
        last = found if split == "valid" else last
        series.setdefault(f"{own}_step", []).append(t)
        for name, value in found.all.items():
            series.setdefault(f"{own}_{name}", []).append(value)
    task = d.task
    assert isinstance(task, Supervised), "fit trains its own task"
    described = _described(task, plan)

    @lru_cache(maxsize=1)
    def tell() -> str:
        count = len(h.loss)
        steps: dict[str, list[Any]] = {"t": list(range(count)), "loss": h.loss, "norm": h.norm, "lr": h.lr, "applied": h.applied}
        steps["epoch"] = [d.seen / len(d.data) * (t + 1) / count for t in range(count)]
        steps["seconds"] = [d.seconds / count] * count
        return story_of(described, h, steps, stop)

    def ask() -> list[dict[str, str]]:
        return preflight_of(h, d.controls.end)

    folder = None
    if record is not None:
        folder = record.folder
        if stop["reason"] != "signal":
            from gradlearn.record.weights import write_model

            write_model(folder, d.theta.tensors(), {"task": "fit"})
            record.write_json("summary.json", summarise("fit", d, folder, stop, seconds) | {"story": tell()})
    d.theta.model.eval()
    return Run(d.theta.model, last, series, h.findings, h.actions, stop, d.t, seconds, folder, described, ask, tell)
