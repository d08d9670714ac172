"""The runs of the zoo: what a run is, how it is made and run, what is kept of it, and which are held out.

A `Case` says everything that a run is made from, and its label. The label follows from how the run is made, and was given before
any check looked at it; `facts` are what shows that the label is true (losses, scores, units), without a finding among them. Sick
runs are listed in `zoo_sick.py`, healthy ones in `zoo_healthy.py`.
"""

from __future__ import annotations

import hashlib
import math
import statistics
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gradlearn
import gradlearn.learn
from gradlearn.errors import InputTrouble, NumericsTrouble
from zoo_data import SETS, Set, taken
from zoo_faults import FAULTS
from zoo_kinds import KINDS
from zoo_models import CHANGES, MODELS

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src" / "gradlearn"
SPEAKING = ("warn", "alarm")
Change = tuple[Any, ...]  # (name, arguments ...)


@dataclass(frozen=True)
class Base:
    """A model on a set, and the rates at which it learns well."""

    data: str
    model: Change  # (name, options)
    loss: str
    batch: int
    steps: int
    adamw: float
    sgd: float
    reach: float  # the score of a healthy run: at least this accuracy, at most this mean squared error


@dataclass(frozen=True)
class Case:
    """One run of the zoo.

    Attributes:
        accept: names of findings that are right; none for a healthy run.
        also: names that are true of it too, and count as neither right nor wrong.
        remark: whether a remark ("info") of an acceptable name is enough.
        why: why the label is what it is.
    """

    name: str
    kind: str
    base: Base
    accept: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    remark: bool = False
    why: str = ""
    faults: tuple[Change, ...] = ()
    changes: tuple[Change, ...] = ()
    fit: dict[str, Any] = field(default_factory=dict)
    held_out: bool = False

    @property
    def healthy(self) -> bool:
        """Whether nothing may be said of it."""
        return not self.accept

    @property
    def key(self) -> str:
        """What it is made from, less the label."""
        made = repr((self.name, self.base, self.faults, self.changes, sorted(self.fit.items())))
        return digest(
            made.encode(), *(path.read_bytes() for path in (HERE / f"zoo_{name}.py" for name in ("data", "faults", "models")))
        )


BASES = {
    "mlp": Base("digits", ("mlp", {}), "cross_entropy", 32, 400, 5e-3, 0.05, 0.92),
    "conv": Base("fashion", ("conv", {}), "cross_entropy", 32, 250, 5e-3, 0.03, 0.74),
    "convbn": Base("cifar", ("conv", {"channels": (8, 16, 32), "norm": True}), "cross_entropy", 32, 200, 0.01, 0.05, 0.38),
    "gru": Base("sentences", ("gru", {}), "cross_entropy", 32, 250, 0.02, 1.0, 0.62),
    "attention": Base("sentences", ("attention", {}), "cross_entropy", 32, 250, 0.01, 0.2, 0.62),
    "table": Base("adult", ("table", {}), "cross_entropy", 32, 400, 5e-3, 0.03, 0.82),
    "friedman": Base("friedman", ("mlp", {}), "mse", 32, 600, 0.01, 0.03, 0.10),
    "diabetes": Base("diabetes", ("mlp", {"widths": (16,)}), "mse", 32, 200, 5e-3, 0.01, 0.60),
    "logistic": Base("breast", ("mlp", {"widths": ()}), "cross_entropy", 32, 300, 0.02, 0.05, 0.94),
    "autoencoder": Base("pixels", ("mlp", {"widths": (32, 12, 32), "act": "gelu"}), "mse", 32, 600, 5e-3, 1.0, 0.042),
    "linear": Base("equations", ("mlp", {"widths": ()}), "mse", 32, 300, 0.02, 0.01, 0.35),
    "function": Base("nothing", ("function", {"name": "bowl"}), "value", 32, 300, 0.02, 0.05, 1e-3),
}

LOSSES: dict[str, Any] = {
    "cross_entropy": "cross_entropy",
    "mse": "mse",
    "value": lambda output, target: output,
    "smooth": nn.CrossEntropyLoss(label_smoothing=0.1),
    "small mse": lambda output, target: 1e-6 * (output - target).square().mean(1),
    "hinge": lambda output, target: F.multi_margin_loss(output, target, reduction="none"),
}


def case(kind: str, base: str, tag: str = "", *, data: str = "", model: dict[str, Any] | None = None, **more: Any) -> Case:
    """A run of a base with what differs: `times` the good rate, other data, another model, faults, changes, options of `fit`.

    Args:
        kind: of the sickness, or "healthy".
        base: name in `BASES`.
        tag: tells it from others of the same kind and base.
        data: name in `SETS`.
        model: options of the model; `kind` in it: another of `MODELS`.
        more: fields of `Case` and `Base`, `times`, and options of `fit`.
    """
    b = BASES[base]
    if model is not None:
        options = {k: v for k, v in model.items() if k != "kind"}
        same = model.get("kind", b.model[0]) == b.model[0]
        b = replace(b, model=(model.get("kind", b.model[0]), {**(b.model[1] if same else {}), **options}))
    b = replace(b, data=data or b.data, **{k: more.pop(k) for k in ("loss", "reach") if k in more})
    own = {k: more.pop(k) for k in ("accept", "also", "remark", "why", "faults", "changes") if k in more}
    times = more.pop("times", 1.0)
    update = more.setdefault("update", "adamw")
    if update == "auto":
        more.pop("update")
    elif "lr" not in more:
        more["lr"] = float(f"{(b.sgd if update == 'sgd' else b.adamw) * times:.4g}")
    fit = {"steps": b.steps, "batch": b.batch} | more
    return Case(f"{kind}/{base}{'-' if tag else ''}{tag}".replace(" ", "-"), kind, b, fit=fit, **own)


def marked(cases: Sequence[Case]) -> list[Case]:
    """Every third run of each kind is held out, in the order of the hash of their names. Names must differ."""
    assert len({c.name for c in cases}) == len(cases), sorted(c.name for c in cases)
    held: set[str] = set()
    for kind in {c.kind for c in cases}:
        names = sorted((c.name for c in cases if c.kind == kind), key=lambda name: digest(name.encode()))
        held |= set(names[1::3])
    return [replace(c, held_out=c.name in held) for c in cases]


def digest(*parts: bytes) -> str:
    """Twelve hexadecimal digits of all of these."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def checks_key() -> str:
    """Of the sources that decide what is said of a run: the watch, the preflight, the checks of data, and what calls them."""
    paths = [p for pattern in ("watch/**/*.py", "preflight*", "preflight/**/*.py") for p in SOURCE.glob(pattern) if p.is_file()]
    paths += [SOURCE / name for name in ("run.py", "loop.py", "learn.py", "step.py", "data/lint.py")]
    return digest(*(p.read_bytes() for p in sorted(set(paths))))


def made(c: Case) -> tuple[nn.Module, Set, Any]:
    """Model, data and loss of a run."""
    seed = int(digest(c.name.encode()), 16) % 2**31
    draw = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    s = SETS[c.base.data]()
    for name, *given in c.faults:
        s = FAULTS[name](s, draw, *given)
    name, options = c.base.model
    model = MODELS[name](s, **options)
    for change, *given in c.changes:
        CHANGES[change](model, s, *given)
    return model, s, LOSSES[c.base.loss]


def run(c: Case, **more: Any) -> dict[str, Any]:
    """One run, watched and not acted on: its facts, and apart from them its findings. `more`: options of `fit`."""
    model, s, loss = made(c)
    before = units(model, s)
    kept: list[Any] = []

    def show(descent: Any, step: Any) -> None:
        if not kept:
            kept.append(descent.history)

    begin, used, error, findings = time.perf_counter(), time.process_time(), "", None
    options = {"valid": (s.vx, s.vy), "act": False, "seed": 1, "compile": "off", "show": show} | c.fit | more
    options = {k: v for k, v in options.items() if k not in ("inputs", "watch") or k in gradlearn.learn.MORE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            findings = gradlearn.fit(model, s.train, loss, **options).findings
        except (NumericsTrouble, InputTrouble) as trouble:
            error = f"{type(trouble).__name__}: {trouble}"
            findings = [*(kept[0].findings if kept else []), *getattr(trouble, "findings", [])]
    seconds, used = time.perf_counter() - begin, time.process_time() - used
    facts = seen(kept[0]) if kept else {"losses": [], "scores": []}
    facts |= {"seconds": round(seconds, 2), "cpu": round(used, 2), "error": error, "units": [before, units(model, s)]}
    said = [{"name": f.name, "level": f.level, "t": f.t, "what": f.what, "sort": str(f.evidence.get("kind", ""))} for f in findings]
    return {"name": c.name, "facts": facts, "findings": said}


def seen(history: Any) -> dict[str, Any]:
    """The training loss at the start and as medians of twelve parts of the run, its largest, and the scores on validation data."""
    losses = history.loss
    parts = [losses[len(losses) * k // 12 : max(len(losses) * (k + 1) // 12, len(losses) * k // 12 + 1)] for k in range(12)]
    rounded = [[t, s.value, s.all.get("loss", s.value)] for t, split, s in history.scores if split == "valid"]
    return {
        "steps": len(losses),
        "first": losses[0],
        "start": statistics.median(losses[:3]),
        "losses": [float(f"{statistics.median(part):.4g}") for part in parts if part],
        "most": max((x for x in losses if math.isfinite(x)), default=math.nan),
        "scores": rounded,
    }


def units(model: nn.Module, s: Set) -> dict[str, float]:
    """Of 200 training examples: the share of rectified units that are zero for all, and of bounded outputs at their bounds."""
    dead: list[float] = []
    bound: list[float] = []

    def look(module: nn.Module, given: Any, out: Tensor) -> None:
        if isinstance(module, nn.ReLU):
            flat = out.transpose(1, -1).flatten(0, -2) if out.ndim > 2 else out
            dead.append((flat <= 0).all(0).float().mean().item())
        else:
            centred = out if isinstance(module, nn.Tanh) else 2 * out - 1
            bound.append((centred.abs() > 0.97).float().mean().item())

    hooks = [m.register_forward_hook(look) for m in model.modules() if isinstance(m, nn.ReLU | nn.Tanh | nn.Sigmoid)]
    x = taken(s.x, torch.arange(min(200, len(s.y))))
    with torch.no_grad():
        model.eval()
        model(*x) if isinstance(x, tuple) else model(x)
        model.train()
    for hook in hooks:
        hook.remove()
    return {"dead": max(dead, default=0.0), "bound": max(bound, default=0.0)}


def shows(c: Case, facts: dict[str, Any]) -> bool:
    """Whether the facts bear the label out."""
    if not c.healthy:
        return KINDS[c.kind].proof(facts)
    if facts["error"] or not facts["scores"]:
        return False
    last, losses = facts["scores"][-1], [loss for _, _, loss in facts["scores"]]
    higher = c.base.loss in ("cross_entropy", "smooth")
    reached = last[1] >= c.base.reach if higher else last[1] <= c.base.reach
    alive = all(u["dead"] < 0.4 and u["bound"] < 0.5 for u in facts["units"])
    return alive and reached and last[2] <= 1.05 * min(losses) + 0.01 and facts["losses"][-1] <= 1.02 * facts["start"] + 1e-6
