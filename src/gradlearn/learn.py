"""Front door 1: a module, a loss, data. `fit` trains it, `train` hands out the steps, `load` brings a saved run back.

    run = gradlearn.fit(model, (x, y), loss="cross_entropy")
    run.score.value, run.explain(), run.model

The module is trained in place and afterwards owns its parameters again. Nothing needs to be set; whatever is set wins.
"""

from __future__ import annotations

import time as clock_time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.adapt import Examples, Items, Subset, leaves, loss_of, rows, to_data, to_tensors
from gradlearn.errors import InputTrouble
from gradlearn.loop import Descent, evaluating, restore
from gradlearn.loop import train as steps_of
from gradlearn.plan import Plan, check_names, choose_batch, choose_descent, choose_length, usual_epochs
from gradlearn.run import Clock, build, carry_out, failed, measure, measure_score, settings, story_of
from gradlearn.symbols import Action, Batch, Data, Finding, Losses, Now, Score, Step

if TYPE_CHECKING:
    from gradlearn.record.record import Record


class Supervised:
    """The task of a module of one's own: outputs against targets, one loss per example."""

    name = "fit"

    def __init__(self, model: nn.Module, loss: Any, sets: Mapping[str, Data | None], class_weight: Any = None) -> None:
        self.own, self.sets = model, sets
        self.classes = loss in ("cross_entropy", nn.functional.cross_entropy) or isinstance(loss, nn.CrossEntropyLoss)
        self.plain = loss in ("mse", "squared_error", nn.functional.mse_loss) or isinstance(loss, nn.MSELoss)
        self.loss = loss_of(loss, class_weight, _ignored(sets["train"]) if self.classes else -100)

    def model(self, seed: int) -> nn.Module:
        """The user's module as it is."""
        return self.own

    def data(self, split: str) -> Data:
        """Train, valid or test examples."""
        found = self.sets[split]
        assert found is not None, f"no {split} data"
        return found

    def collect(self, model: nn.Module, now: Now) -> Data:
        """The same data in every round."""
        return self.data("train")

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        """The loss of each example."""
        return self.loss(_call(model, batch.x), batch.y)

    def score(self, model: nn.Module, data: Data) -> Score:
        """Accuracy for classes, mean squared error for numbers, else the loss itself."""
        total = count = right = terms = 0.0
        for a in range(0, len(data), 1024):
            batch = data(torch.arange(a, min(a + 1024, len(data))), -1)
            output = _call(model, batch.x)
            losses = self.loss(output, batch.y)
            total += losses.total.double().sum().item()
            count += losses.count.double().sum().item()
            if self.classes:
                hit, n = _hits(output, batch.y)
                right, terms = right + hit, terms + n
        loss = total / max(count, 1e-30)
        if self.classes:
            accuracy = right / max(terms, 1.0)
            return Score("accuracy", True, accuracy, {"accuracy": accuracy, "loss": loss})
        name = "mse" if self.plain else "loss"
        return Score(name, False, loss, {name: loss})


@dataclass
class Run:
    """What came of a training.

    Attributes:
        model: the trained module, in evaluation mode, owning its parameters.
        score: on validation data; None without any.
        history: series by name: "loss" per step; "val_loss", "val_<score>" and "val_step" per scoring.
        findings, actions: what the watch saw, and what was done.
        stop: {"reason", "message"}.
        steps, seconds: how long it took.
        folder: the run folder, if one was asked for.
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
    story: str = ""

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
    seed: int = 0,
    run: str | Path | None = None,
    resume: str | Path | None = None,
    class_weight: Any = None,
    device: str = "auto",
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
        batch: examples a step, "full", or "auto".
        update: name of an update (`gradlearn list update`), or "auto".
        lr: the peak learning rate, or "auto".
        act: whether remedies act; False only watches, and ends at the first non-finite step.
        seed: of everything that is drawn.
        run: a folder to write log, checkpoints and report to; none unless asked.
        resume: a run folder of the same call to go on from; then nothing else may differ.
        class_weight: one weight per class, for cross_entropy.
        device: "cpu", "cuda", "cuda:1", or "auto": where the model's parameters are.
        show: called with (descent, step) after every step.
        options: of plug-ins, dots as double underscores: adamw__weight_decay=0.1, ema__decay=0.99.

    Returns:
        The run: `.model`, `.score`, `.history`, `.findings`, `.explain()`, `.report()`.

    Raises:
        InputTrouble: data, loss or options that cannot be used. NumericsTrouble: the training left the finite numbers for good;
        the model then holds the last good weights.
    """
    begun = clock_time.monotonic()
    user = _user(locals(), options)
    random_state = torch.get_rng_state()
    descent, plan, record, clock = _prepare(model, data, loss, valid, user, class_weight, run, resume, begun)
    start = clock_time.monotonic()
    try:
        from gradlearn.record.stop import Signals

        with Signals() as signals:
            stop = carry_out(descent, record, clock, show, signals if record is not None else None)
    finally:
        descent.theta.release()
        torch.set_rng_state(random_state)
    result = _result(descent, plan, stop, clock_time.monotonic() - start, record)
    trouble = failed(stop)
    if trouble is not None:
        raise trouble
    return result


def train(model: nn.Module, data: Any, loss: str | Callable[..., Any] = "cross_entropy", **given: Any) -> Iterator[Step]:
    """The loop itself: yields every step when it is done. Arguments as for `fit`, less `run`, `resume`, `show` and `time`.

    Stop iterating whenever you like; the module then holds the weights of the last step and owns them.
    """
    for name in ("run", "resume", "show", "time"):
        if given.get(name) is not None:
            raise InputTrouble(f"train: takes no {name!r}; use fit")
    valid, weight = given.pop("valid", None), given.pop("class_weight", None)
    plain = {k: given.pop(k, None) for k in ("epochs", "steps", "batch", "update", "lr", "act", "seed", "device")}
    descent, _, _, _ = _prepare(model, data, loss, valid, _user(plain, given), weight, None, None, 0.0)
    state = torch.get_rng_state()
    try:
        yield from steps_of(descent)
    finally:
        descent.theta.release()
        torch.set_rng_state(state)


def predict(model: nn.Module, x: Any) -> Tensor:
    """Outputs of a module for x in evaluation mode, in batches of 1,024, on the module's device: (n, ...) on the CPU."""
    data = Examples(x, None)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    outputs = []
    with evaluating(model):
        for a in range(0, len(data), 1024):
            part = data(torch.arange(a, min(a + 1024, len(data))), -1).x
            outputs.append(_call(model, _moved(part, device)).cpu())
    return torch.cat(outputs)


def _user(given: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What the caller set, by the plan's names."""
    names = ("time", "epochs", "steps", "batch", "update", "lr", "act", "seed", "device")
    user = {k: given[k] for k in names if given.get(k) not in (None, "auto")}
    if user.get("act") is True:
        del user["act"]
    user |= {k.replace("__", "."): v for k, v in options.items()}
    known = [*names, "rate", "average", "gradient", "save_every", "score_every", "clip", "data", "loss", "valid", "run", "resume"]
    for name in user:
        if "." not in name and name not in known:
            from gradlearn.errors import nearest

            raise InputTrouble(f"fit: unknown argument {name!r}{nearest(name, known)}")
    return user


def _prepare(
    model: nn.Module, data: Any, loss: Any, valid: Any, user: dict[str, Any], weight: Any, run: Any, resume: Any, begun: float
) -> tuple[Descent, Plan, Record | None, Clock | None]:
    if not isinstance(model, nn.Module):
        raise InputTrouble(f"fit: expected an nn.Module, got {type(model).__name__}; for a function use minimize")
    if run is not None and resume is not None:
        raise InputTrouble("fit: give run for a new run or resume for an old one, not both")
    seed = user.get("seed", 0)
    whole = to_data(data)
    sets = _split(whole, valid, seed, loss)
    task = Supervised(model, loss, sets, weight)
    _try_out(task, model)
    if resume is not None:
        return _resume(task, model, sets["valid"], Path(resume), user)
    plan = Plan(user)
    descent, clock = _planned(task, model, sets["valid"], plan, begun)
    record = None
    if run is not None:
        from gradlearn.record.folder import create
        from gradlearn.record.record import Record
        from gradlearn.record.settings import write

        folder = create(Path(run).parent, "fit", Path(run).name)
        n = len(task.data("train"))
        write(folder, settings("fit", plan, {"source": "memory", "train": n, "valid": len(sets["valid"] or ())}))
        record = Record(folder)
    return descent, plan, record, clock


def _planned(task: Supervised, model: nn.Module, valid: Data | None, plan: Plan, begun: float) -> tuple[Descent, Clock | None]:
    n = len(task.data("train"))
    plan.choose("seed", 0, "the usual one")
    plan.choose("device", str(next(model.parameters()).device), "where the model is", "data")
    plan.choose("loss", str(getattr(task.loss, "__name__", type(task.loss).__name__)), "as given", "user")
    choose_batch(plan, n)
    timed = "time" in plan and "steps" not in plan and "epochs" not in plan
    if timed:
        budget = seconds_of(plan["time"])
        scratch = Plan({k: c.value for k, c in plan.items() if k != "time"} | {"steps": 1000})
        choose_descent(scratch)
        check_names(scratch)
        d = build(task, scratch, model)
        pace, scoring = measure(d, min(1.0, 0.02 * budget)), measure_score(d, valid)
        d.theta.release()
        left = budget - (clock_time.monotonic() - begun) - 2.0 * scoring - 0.05
        plan.choose("steps", max(int(0.97 * left / pace), 1), f"{pace * 1e3:.3g} ms a step in {left:.1f} s", "measured")
    else:
        choose_length(plan, n, usual_epochs(plan, n))
    choose_descent(plan)
    if valid is not None:
        plan.choose("score_every", max(plan["steps"] // 20, 1), "twenty scores in a run")
    check_names(plan)
    d = build(task, plan, model, valid=valid)
    if not timed:
        return d, None
    now = clock_time.monotonic()
    deadline = begun + seconds_of(plan["time"]) - scoring - 0.05
    return d, Clock(deadline, max(deadline - now, 0.0))


def _resume(
    task: Supervised, model: nn.Module, valid: Data | None, folder: Path, user: dict[str, Any]
) -> tuple[Descent, Plan, Record, None]:
    from gradlearn.record.settings import read

    plan = plan_from(read(folder))
    for name, value in user.items():
        if name != "time" and name in plan and plan[name] != value:
            raise InputTrouble(f"fit: {name}={value!r}, but the run in {folder} has {plan[name]!r}; leave it out to resume")
    descent = build(task, plan, model, valid=valid)
    return descent, plan, bring_back(descent, folder), None


def bring_back(d: Descent, folder: Path) -> Record:
    """Load the newest valid checkpoint of a run folder into a descent; its logs are cut to that point. Returns the open record."""
    from gradlearn.record.record import Record

    record, loaded, told, lost = Record.resume(folder)
    if loaded is None:
        return record
    restore(d, loaded.parts, loaded.state)
    for row in told["steps"]:
        number = [float("nan") if row[k] is None else row[k] for k in ("loss", "norm", "lr")]
        d.history.add(Step(row["t"], *number, row["n"], row["epoch"], row["applied"], row["seconds"]))
    for row in told["scores"]:
        d.history.scores.append((row["t"], row["split"], Score(row["name"], row["higher"], row["value"], row["all"])))
    d.history.findings += [Finding(**row) for row in told["findings"]]
    d.history.actions += [Action(**row) for row in told["actions"]]
    d.replay = [a for a in (Action(**row) for row in lost) if a.by == "clock"]
    return record


def plan_from(saved: Mapping[str, Any]) -> Plan:
    """The plan of a run.toml, every value as it ran."""
    from gradlearn.plan import Choice

    plan = Plan()
    plan.choices = {name: Choice(c["value"], c["by"], c["why"]) for name, c in saved["choice"].items()}
    return plan


def seconds_of(time: float | str) -> float:
    """60, "60", "60s", "5m", "2h" in seconds. Raises InputTrouble otherwise."""
    try:
        text = str(time).strip().lower()
        unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:], 0.0)
        value = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 < value < 1e8:
        raise InputTrouble(f"--time {time}: expected seconds above 0, or such as 60s, 5m, 2h")
    return value


def _split(whole: Data, valid: Any, seed: int, loss: Any) -> dict[str, Data | None]:
    n = len(whole)
    if isinstance(valid, str) and valid != "auto":
        raise InputTrouble(f"valid={valid!r}: expected 'auto', a share in (0, 1), data, or None")
    if valid is None or (isinstance(valid, str) and n < 50):
        return {"train": whole, "valid": None}
    if isinstance(valid, str) or isinstance(valid, (int, float)):
        share = 0.1 if isinstance(valid, str) else float(valid)
        if not 0.0 < share < 1.0:
            raise InputTrouble(f"valid={valid}: a share must be in (0, 1)")
        labels = None
        if isinstance(whole, Examples) and isinstance(whole.y, Tensor) and whole.y.ndim == 1 and not whole.y.is_floating_point():
            labels = whole.y.numpy()
        train, held = (torch.from_numpy(r) for r in rows(n, share, labels, seed))
        if isinstance(whole, Examples):  # one copy now, so that every batch is one plain slice
            return {"train": _taken(whole, train), "valid": _taken(whole, held)}
        return {"train": Subset(whole, train), "valid": Subset(whole, held)}
    return {"train": whole, "valid": to_data(valid)}


def _taken(data: Examples, index: Tensor) -> Examples:
    batch = data(index, -1)
    return Examples(batch.x, batch.y)


def _ignored(train: Data | None) -> int | None:
    """-100 if a target says so; None where no target does, which saves a pass over each batch."""
    if isinstance(train, Examples) and isinstance(train.y, Tensor) and train.y.numel():
        return -100 if train.y.is_floating_point() or bool((train.y < 0).any()) else None
    return -100


def _try_out(task: Supervised, model: nn.Module) -> None:
    """One forward pass on two examples, before anything is written: shapes and labels that do not fit are said here."""
    data = task.data("train")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if isinstance(data, Examples) and data.y is None:
        raise InputTrouble("data: y is None; give (x, y)")
    batch = data(torch.arange(min(2, len(data))), chance.key(0, "try"))
    if device.type != "cpu":
        batch = Batch(_moved(batch.x, device), _moved(batch.y, device), batch.index, batch.draw)
    with evaluating(model):
        output = _call(model, batch.x)
        if task.classes and isinstance(data, Examples):
            _check_labels(output, data.y)
        task.loss(output, batch.y)


def _check_labels(output: Any, y: Any) -> None:
    if not (isinstance(output, Tensor) and isinstance(y, Tensor)) or y.is_floating_point() or output.ndim < 2:
        return
    classes = output.shape[1]
    lowest, highest = int(y[y != -100].min()), int(y.max())
    if classes > 1 and not 0 <= lowest <= highest < classes:
        bad = highest if highest >= classes else lowest
        raise InputTrouble(f"data: label {bad} outside 0..{classes - 1}, the model has {classes} outputs; fix the labels or the model")


def _call(model: nn.Module, x: Any) -> Any:
    if isinstance(x, dict):
        return model(**x)
    if isinstance(x, tuple):
        return model(*x)
    return model(x)


def _hits(output: Tensor, target: Tensor) -> tuple[float, float]:
    """(right, counted) of classifications; -100 is not counted."""
    if output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1):
        guess, truth = (output.flatten() > 0).long(), target.flatten().round().long()
    else:
        guess = output.argmax(1)
        truth = target.argmax(1) if target.is_floating_point() else target
    counted = truth != -100
    return float(((guess == truth) & counted).sum()), float(counted.sum())


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {k: _moved(v, device) for k, v in value.items()}
    return tuple(_moved(v, device) for v in value) if isinstance(value, tuple) else value


def _result(d: Descent, plan: Plan, stop: dict[str, str], seconds: float, record: Record | None) -> Run:
    h = d.history
    series: dict[str, list[float]] = {"loss": h.loss, "grad_norm": h.norm}
    last = None
    for t, split, s in h.scores:
        if split == "valid":
            last = s
            series.setdefault("val_step", []).append(t)
            for name, value in s.all.items():
                series.setdefault(f"val_{name}", []).append(value)
    described = settings("fit", plan, {"source": "memory", "train": len(d.data), "valid": len(d.valid or ())})
    steps = {"t": list(range(len(h.loss))), "loss": h.loss, "norm": h.norm, "applied": h.applied}
    story = story_of(described, h, steps, stop)
    folder = getattr(record, "folder", None)
    if record is not None:
        summary = {
            "run": str(folder),
            "task": "fit",
            "score": None if last is None else {"name": last.name, "higher": last.higher, "valid": last.value, "all": dict(last.all)},
            "steps": d.t,
            "seconds": round(seconds, 3),
            "stop": stop,
            "findings": [asdict(f) for f in h.findings],
            "story": story,
        }
        record.write_json("summary.json", summary)
    d.theta.model.eval()
    return Run(d.theta.model, last, series, h.findings, h.actions, stop, d.t, seconds, folder, described, story)


def arrays(x: Any) -> np.ndarray:
    """A tensor or array as numpy."""
    return leaves(to_tensors(x))[0].numpy()


__all__ = ["fit", "train", "predict", "load", "Run", "Items"]


def load(run: str | Path, model: nn.Module | None = None) -> Any:
    """A trained model back from its run folder.

    Args:
        run: the folder, `runs/images-001`.
        model: for a run of `fit`: a module of the same architecture; its parameters are overwritten.

    Returns:
        An object with `.model`, `.card` and `.predict(x)`.

    Raises:
        CheckpointTrouble, InputTrouble: damaged, or not a model that gradlearn wrote.
    """
    from gradlearn.loaded import load as from_folder

    return from_folder(Path(run), model)
