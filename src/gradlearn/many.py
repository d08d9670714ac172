"""Many small runs as one: other seeds, other rates, one program and one set-up for all of them.

    runs = gradlearn.fit_many(make, (x, y), "cross_entropy", runs=64)

Each run is bit for bit the one that `fit` would have made: `torch.manual_seed(seed); fit(make(), data, loss, seed=seed, ...)`. What
a run of a small model costs is planning, recording, compiling and calling, and that is done once; the program then takes the steps
of one run after the other, on its weights, its order of the data and its numbers. (One program for many models at once, a batched
product for every product, is no faster on a processor: products are the work that is left, and the cache holds one model.)

Use it for seeds, for a rate or decay to compare, for ensembles. Runs of other shapes, or with run folders, are calls of `fit`.
"""

from __future__ import annotations

import copy
import time as clock_time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from gradlearn import chance
from gradlearn.average.ema import Ema
from gradlearn.average.plain import Plain
from gradlearn.errors import InputTrouble
from gradlearn.learn import SETTINGS, Run, choices_of, fit, planned, result_of, task_of
from gradlearn.loop import Descent, keep_shown
from gradlearn.optimizer import pack, unpack
from gradlearn.plan import Plan
from gradlearn.run import carry_out, checks_of, failed, remedies_of, sample_of
from gradlearn.scales import fold, standardise
from gradlearn.supervised import Supervised
from gradlearn.symbols import Controls, History

ALIKE = ("seed", "lr")  # what may differ between runs that share a program


def fit_many(
    make: Callable[[], nn.Module],
    data: Any,
    loss: str | Callable[..., Any] = "cross_entropy",
    *,
    runs: int | Sequence[Mapping[str, Any]] = 8,
    valid: Any = "auto",
    class_weight: Any = None,
    **settings: Any,
) -> list[Run]:
    """Train many modules of one kind, one after the other, as one.

    Args:
        make: returns a new module; called with torch's generator seeded by the seed of the run.
        data, loss, valid, class_weight: as for `fit`.
        runs: how many, with seeds 0, 1, ...; or what is different in each, such as [{"lr": 1e-3}, {"lr": 1e-2, "seed": 1}].
        settings: what all have in common, as for `fit`; no `run`, `resume`, `show` or `time`.

    Returns:
        The runs in this order, as `fit` returns them.

    Raises:
        InputTrouble: as `fit`, or an argument that many runs cannot share.
        NumericsTrouble: a run left the finite numbers for good.
    """
    for name in ("run", "resume", "show", "time"):
        if settings.get(name) is not None:
            raise InputTrouble(f"fit_many: takes no {name!r}; use fit")
    each = [{"seed": seed} for seed in range(runs)] if isinstance(runs, int) else [dict(one) for one in runs]
    if not each:
        raise InputTrouble(f"runs={runs!r}: give a number above 0, or what is different in each run")
    found: list[Run] = []
    shared: dict[str, _Shared | None] = {}
    try:
        for one in each:
            given: dict[str, Any] = {"seed": 0} | settings | one
            key = repr(sorted((k, repr(v)) for k, v in given.items() if k not in ALIKE))
            model = _made(make, given["seed"])
            if key not in shared:
                shared[key] = _share(model, data, loss, valid, class_weight, given, len(each))
            group = shared[key]
            if group is None:
                found.append(fit(model, data, loss, valid=valid, class_weight=class_weight, **given))
            else:
                found.append(group.fit(model, given))
    finally:
        for group in shared.values():
            if group is not None:
                group.descent.theta.release()
    return found


def _made(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with chance.preserved():
        torch.manual_seed(seed)
        return make()


class _Shared:
    """What runs of one kind share: a descent with its program, as it stood before its first step."""

    def __init__(self, descent: Descent, plan: Plan, build: Callable[[nn.Module, Mapping[str, Any]], Any]) -> None:
        self.descent, self.plan, self._build = descent, plan, build
        self._start = {k: v.clone() for k, v in pack(descent.update)[0].items()}, pack(descent.update)[1]

    def fit(self, model: nn.Module, given: Mapping[str, Any]) -> Run:
        """One run: the weights of this module go in, and come back trained."""
        begun, shared = clock_time.monotonic(), self.descent
        d = self._anew(model, given)
        with ExitStack() as stack:
            random_state = torch.get_rng_state()
            stack.callback(torch.set_rng_state, random_state)
            stop = carry_out(d)
            keep_shown(d)
            assert isinstance(d.task, Supervised)
            fold(d.task)
            plan = self._plan(given)
            result = result_of(d, plan, stop, clock_time.monotonic() - begun, None)
        with torch.no_grad():
            for name, tensor in shared.theta.model.state_dict(keep_vars=True).items():
                model.state_dict(keep_vars=True)[name].copy_(tensor)
            for (_, own), (_, kept) in zip(model.named_buffers(), shared.theta.model.named_buffers(), strict=True):
                own.copy_(kept)
        model.eval()
        trouble = failed(stop)
        if trouble is not None:
            raise trouble
        return replace(result, model=model)

    def _anew(self, model: nn.Module, given: Mapping[str, Any]) -> Descent:
        """The descent before its first step, with the weights of another module and what is this run's own."""
        d = self.descent
        with torch.no_grad():
            theirs = model.state_dict(keep_vars=True)
            for name, place in d.theta.tensors().items():
                place.copy_(theirs[name])
            for (_, place), (_, value) in zip(d.theta.model.named_buffers(), model.named_buffers(), strict=True):
                place.copy_(value)
        unpack(d.update, *self._start)
        if "lr" in given and given["lr"] != "auto":
            for group in d.update.param_groups:
                group["lr"] = group["initial_lr"] = group["initial_lr"] * given["lr"] / self.plan["lr"]
        if isinstance(d.average, Ema):
            d.average.begin(d.theta)
        seed, end = given["seed"], self.plan["steps"]
        task = self._build(d.theta.model, given)
        standardise(task, self.plan)
        controls = Controls(end=end, clip=self.plan["clip"])
        new = {
            "history": History(),
            "controls": controls,
            "checks": checks_of(self.plan),
            "remedies": remedies_of(self.plan),
            "sample": sample_of(task.data("train"), task.sets["valid"], seed),
            "t": 0,
            "seen": 0,
            "seconds": 0.0,
        }
        return replace(
            d, task=task, data=task.data("train"), valid=task.sets["valid"], seed=seed, ring=[], replay=[], interrupted=False, **new
        )

    def _plan(self, given: Mapping[str, Any]) -> Plan:
        plan = Plan()
        plan.choices = dict(self.plan.choices)
        for name in ALIKE:
            if name in given and given[name] != "auto":
                plan.choices[name] = replace(plan.choices[name], value=given[name], by="user", why="as given")
        return plan


def _share(model: nn.Module, data: Any, loss: Any, valid: Any, weight: Any, given: Mapping[str, Any], runs: int) -> _Shared | None:
    """What the first run of a kind shares with the next; None where there is no program to share."""

    def task(model: nn.Module, given: Mapping[str, Any]) -> Supervised:
        return task_of(model, data, loss, valid, _chosen(given), weight, given["seed"])

    plan = Plan(_chosen(given))
    descent, _ = planned(task(copy.deepcopy(model), given), plan, 0.0, runs)
    whole = descent.program is not None and descent.program.whole and type(descent.average) in (Ema, Plain)
    if not whole or plan.get("penalty") or plan.get("grow"):
        descent.theta.release()
        return None

    def build(model: nn.Module, given: Mapping[str, Any]) -> Supervised:
        made = task(model, given)
        made.use(plan)
        return made

    return _Shared(descent, plan, build)


def _chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    return choices_of(given, {k: v for k, v in given.items() if k not in SETTINGS})
