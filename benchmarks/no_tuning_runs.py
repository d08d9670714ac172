"""One training of `no_tuning.py`: a contender on a workload, its variant and seed; and the file that keeps what has been run.

Every contender sees the same training data, as many steps and as large batches, and begins from the same weights (`seed`). A score
that is not finite counts as infinite.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import gradlearn
from gradlearn.errors import NumericsTrouble
from measure import ROOT
from workloads import Workload, called, rows

KEPT = ROOT / "build" / "no_tuning.jsonl"
WARMUP = 0.05
Result = dict[str, float]


class Runs:
    """What has been run, by key, over processes: one JSON line each."""

    def __init__(self, path: Path = KEPT) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.known: dict[str, Result] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what another process may have added."""
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            row = json.loads(line)
            self.known[row.pop("key")] = row

    def get(self, key: str, make: Callable[[], Result], again: bool = False) -> Result:
        """The result of a key, made where it is missing (or wanted `again`)."""
        if again or key not in self.known:
            self.known[key] = make()
            with self.path.open("a") as file:
                file.write(json.dumps({"key": key, **self.known[key]}) + "\n")
        return self.known[key]


def key_of(workload: Workload, *parts: object) -> str:
    """The name of a run: the workload with its length, and whatever else matters."""
    return "|".join([f"{workload.name}/{workload.steps}x{workload.batch}", *(str(part) for part in parts)])


@lru_cache(maxsize=1)
def plan_digest() -> str:
    """Changes with the rules of the plan, so that our runs of an older plan are not taken for ours."""
    path = gradlearn.__path__[0] + "/plan.py"
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]


def measured(workload: Workload, train: Callable[[], nn.Module]) -> Result:
    """The metric of a training, its processor and wall seconds."""
    begin = time.perf_counter(), time.process_time()
    try:
        model = train()
    except NumericsTrouble:
        model = None
    wall, seconds = time.perf_counter() - begin[0], time.process_time() - begin[1]
    metric = math.inf if model is None else workload.metric(model, workload.data()[1])
    return {"metric": metric if math.isfinite(metric) else math.inf, "seconds": round(seconds, 3), "wall": round(wall, 3)}


def ours(workload: Workload, seed: int, settings: Mapping[str, Any]) -> Result:
    """`gradlearn.fit` with nothing set but steps and batch, and what an experiment sets."""
    given: dict[str, Any] = {"steps": workload.steps, "batch": workload.batch, "seed": seed} | dict(settings)
    model, data = workload.make(seed), workload.data()[0]
    return measured(workload, lambda: gradlearn.fit(model, data, workload.loss, valid=None, **given).model)


def adamw(workload: Workload, seed: int, lr: float) -> Result:
    """The loop that everybody writes: torch's fused AdamW, warmup and cosine."""
    model, (x, y) = workload.make(seed), workload.data()[0]
    return measured(workload, lambda: loop(model, x, y, workload, seed, lr))


def loop(model: nn.Module, x: Any, y: Tensor, workload: Workload, seed: int, lr: float) -> nn.Module:
    """Plain PyTorch."""
    n, steps = len(y), workload.steps
    size = n if workload.batch == "full" else int(workload.batch)
    torch.manual_seed(seed + 1000)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.999), weight_decay=0.01, fused=True)
    warm = max(round(WARMUP * steps), 1)
    factor = lambda t: min((t + 1) / warm, 0.5 * (1.0 + math.cos(math.pi * t / steps)))  # noqa: E731 - as everybody writes it
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    order, at = torch.randperm(n), 0
    model.train()
    for _ in range(steps):
        if at + size > n:
            order, at = torch.randperm(n), 0
        index = order[at : at + size]
        at += size
        some = (x, y) if size == n else (rows(x, index), rows(y, index))
        optimizer.zero_grad(set_to_none=True)
        workload.loss(called(model, some[0]), some[1]).backward()
        optimizer.step()
        scheduler.step()
    return model


def peer(workload: Workload, seed: int, update: str, lr: float) -> Result:
    """Another update, its rate tuned, with the schedule its authors give it; weights as they are at the end."""
    own = update == "schedule_free"
    more: dict[str, Any] = {"update": update, "lr": lr}
    more |= {} if own else {"rate": ["warmup", "cosine"], "average": "plain"}
    more |= {"sgd__momentum": 0.9, "sgd__weight_decay": 0.0} if update == "sgd" else {f"{update}__weight_decay": 0.01}
    return ours(workload, seed, more)


VARIANTS = ("batch x4", "steps x3", "width x4", "inputs x100", "inputs +1000", "first weights x10")


def varied(workload: Workload, variant: str) -> Workload:
    """The workload as a user may come with it who has not read how it is usually done."""
    own, data, make = workload.name, workload.data, workload.make
    named = replace(workload, name=f"{own}, {variant}")
    if variant == "batch x4":
        return replace(named, batch=int(workload.batch) * 4, steps=workload.steps // 4)
    if variant == "steps x3":
        return replace(named, steps=workload.steps * 3)
    if variant == "width x4":
        return replace(named, make=lambda seed, width=1: make(seed, 4 * width))
    if variant.startswith("inputs"):
        moved = (lambda x: x * 100.0) if variant == "inputs x100" else (lambda x: x + 1000.0)
        return replace(named, data=lambda: tuple((moved(x), y) for x, y in data()))  # type: ignore[arg-type, return-value]

    def louder(seed: int, width: int = 1) -> nn.Module:
        model = make(seed, width)
        with torch.no_grad():
            next(p for p in model.parameters() if p.ndim > 1).mul_(10.0)
        return model

    return replace(named, make=louder)
