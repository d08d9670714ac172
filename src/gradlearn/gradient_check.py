"""Do two estimators of the gradient agree on a model of one's own, and if not, from which tensor on?

    error = ||g_1 - g_2|| / ||g_2||  for each tensor;    random ones: the mean difference of many draws, against its standard error

`gradlearn check gradient module:function`, where the function returns (model, (x, y), loss); `compare(...)` in Python. It works on
a copy in double precision, where central differences have ten right digits: a wrong backward of one's own layer shows as the first
tensor that differs. The model is not changed.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import inspect
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.adapt import loss_of, moved, to_data
from gradlearn.errors import InputTrouble, printable
from gradlearn.find import describe, find, wrapped
from gradlearn.supervised import call
from gradlearn.symbols import Batch, Gradient, Losses
from gradlearn.theta import Theta


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor of the model."""

    name: str
    size: int  # numbers in it
    norm: float  # of the second estimate
    error: float  # relative difference of the two
    bar: float  # up to which they agree
    ok: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two estimators, tensor by tensor in the order of the model.

    Attributes:
        rows: one for each tensor that is trained.
        first_difference: the name of the first tensor that differs, "" where all agree.
        draws: how many estimates of each were compared: 1 where both are the same for every draw.
        notes: what a layer refused and what was done instead.
    """

    rows: tuple[Row, ...]
    first_difference: str
    draws: int
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all agree."""
        return not self.first_difference


class _Mean:
    """The mean loss of a module on a batch."""

    data = None

    def __init__(self, model: nn.Module, loss: Any) -> None:
        self.model, self.loss = model, loss

    def __call__(self, batch: Batch) -> Losses:
        return self.loss(call(self.model, batch.x), batch.y)


def compare(
    model: nn.Module,
    data: Any,
    loss: Any,
    first: str | Gradient = "backprop",
    second: str | Gradient = "finite_difference",
    *,
    tol: float = 1e-5,
    examples: int = 32,
    draws: int = 300,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare two estimators on the first examples of some data.

    Args:
        model: any module; a copy in float64 is used, in the mode it is in.
        data: (x, y), a torch Dataset or DataLoader, as for `fit`.
        loss: a name, a torch loss module or a callable (output, target), as for `fit`.
        first: an estimator by name, or one.
        second: likewise: what the first is measured against.
        tol: relative difference up to which deterministic estimators agree.
        examples: of the data, at most.
        draws: estimates of each where one of them is random.
        seed: of the draws.
        options: of the plug-ins, as {"spsa.c": 0.01}.

    Raises:
        InputTrouble: an unknown name, or a model, data or loss that do not fit.
    """
    known = to_data(data)
    batch = known(torch.arange(min(examples, len(known))), chance.key(seed, "check"))
    double = copy.deepcopy(model).to("cpu").double()
    batch = Batch(_double(moved(batch.x, torch.device("cpu"))), _double(batch.y), batch.index, batch.draw)
    objective, theta = _Mean(double, loss_of(loss)), Theta(double)
    pair = [made(g, options or {}) if isinstance(g, str) else g for g in (first, second)]
    one, two = (_gradient(g, objective, theta, batch, chance.key(seed, "draw", 0)) for g in pair)
    if not (_random(pair[0], objective, theta, batch, seed) or _random(pair[1], objective, theta, batch, seed)):
        rows = [_row(theta, name, a - b, b, tol, 0.0) for name, a, b in zip(_names(theta), one, two, strict=True)]
        draws = 1
    else:
        rows = _many(pair, objective, theta, batch, tol, draws, seed)
    notes = tuple(note for g in pair if (note := getattr(g, "note", "")))
    return Comparison(tuple(rows), next((r.name for r in rows if not r.ok), ""), draws, notes)


def made(name: str, options: Mapping[str, Any]) -> Gradient:
    """An estimator by name with its options, what it wraps included."""
    own = {key.partition(".")[2]: value for key, value in options.items() if key.partition(".")[0] == name}
    known = {o.name: o.default for o in describe("gradient", name).options}
    for key in own.keys() - known.keys():
        raise InputTrouble(f"--{name}.{key}: {name} has no such option; known: {', '.join(known)}")
    for option in wrapped("gradient", name):
        inner = own.get(option, known[option])
        own[option] = made(inner, options) if isinstance(inner, str) else inner
    return find("gradient", name)(**own)


def _names(theta: Theta) -> list[str]:
    trained = {m.name for m in theta.members}
    return [name for name, _ in theta.model.named_parameters() if name in trained]


def _gradient(gradient: Gradient, objective: Any, theta: Theta, batch: Batch, draw: int) -> list[Tensor]:
    """One estimate, a tensor for each name."""
    gradient(objective, theta, batch._replace(draw=draw))
    by_name = {m.name: m.grad.clone() for m in theta.members}
    return [by_name[name] for name in _names(theta)]


def _random(gradient: Gradient, objective: Any, theta: Theta, batch: Batch, seed: int) -> bool:
    """Whether the estimator itself draws: it says so, or two draws differ where the model (evaluating) has no draws of its own."""
    if getattr(type(gradient), "exact", True) or getattr(gradient, "basis", False):
        return False
    if getattr(type(gradient), "unbiased", False):
        return True
    modes = [(m, m.training) for m in theta.model.modules()]
    theta.model.eval()
    a, b = (_gradient(gradient, objective, theta, batch, chance.key(seed, "draw", k)) for k in (0, 1))
    for module, mode in modes:
        module.training = mode
    return not all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def _many(pair: list[Gradient], objective: Any, theta: Theta, batch: Batch, tol: float, draws: int, seed: int) -> list[Row]:
    """The mean difference over many draws, each estimator with the same ones; five standard errors are agreement."""
    names = _names(theta)
    mean = [torch.zeros_like(p) for p in _gradient(pair[1], objective, theta, batch, 0)]
    square, true = [torch.zeros_like(m) for m in mean], [torch.zeros_like(m) for m in mean]
    for k in range(draws):
        a, b = (_gradient(g, objective, theta, batch, chance.key(seed, "draw", k)) for g in pair)
        for m, s, t, x, y in zip(mean, square, true, a, b, strict=True):
            before = x - y - m
            m.add_(before / (k + 1))
            s.add_(before * (x - y - m))
            t.add_(y / draws)
    rows = []
    for name, m, s, t in zip(names, mean, square, true, strict=True):
        rows.append(_row(theta, name, m, t, tol, 5 * math.sqrt(float(s.sum()) / max(draws - 1, 1) / draws)))
    return rows


def _row(theta: Theta, name: str, difference: Tensor, true: Tensor, tol: float, noise: float) -> Row:
    whole = max(math.sqrt(sum(float(m.grad.square().sum()) for m in theta.members)), 1e-30)
    norm = float(torch.linalg.vector_norm(true))
    scale = max(norm, 1e-3 * whole)  # a tensor whose gradient is zero is measured against the others
    error = float(torch.linalg.vector_norm(difference)) / scale
    bar = tol + noise / scale
    return Row(name, true.numel(), norm, error, bar, error <= bar)


def _double(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {k: _double(v) for k, v in value.items()}
    return tuple(_double(v) for v in value) if isinstance(value, tuple) else value


def check_gradient(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn check gradient MODULE:FUNCTION`: exit code 0 where all tensors agree, 3 where one differs."""
    from gradlearn.arguments import plugin_options

    model, data, loss = loaded(options.model)
    told = compare(
        model,
        data,
        loss,
        options.first,
        options.second,
        tol=options.tol,
        examples=options.examples,
        draws=options.draws,
        seed=options.seed,
        options=plugin_options(rest),
    )
    if options.json:
        rows = [{"name": r.name, "size": r.size, "norm": r.norm, "error": r.error, "bar": r.bar, "ok": r.ok} for r in told.rows]
        print(json.dumps({"ok": told.ok, "first_difference": told.first_difference, "draws": told.draws, "tensors": rows}))
        return 0 if told.ok else 3
    wide = max((len(r.name) for r in told.rows), default=0)
    for r in told.rows:
        print(f"{'ok ' if r.ok else 'NO '} {r.name:{wide}}  {r.size:>9,} numbers  differ by {r.error:.1e} (bar {r.bar:.1e})")
    for note in told.notes:
        print(f"note: {printable(note, 300)}")
    end = f"differ first in {told.first_difference}" if told.first_difference else f"agree on all {len(told.rows)} tensors"
    print(f"{options.first} and {options.second} {end}")
    return 0 if told.ok else 3


def loaded(spec: str) -> tuple[nn.Module, Any, Any]:
    """What the function of `module:function` returns. Raises InputTrouble where there is none, or it returns something else."""
    module, _, name = spec.partition(":")
    if not module or not name:
        raise InputTrouble(f"{printable(spec)}: expected MODULE:FUNCTION, as my_model:example; it returns (model, (x, y), loss)")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputTrouble(f"{printable(spec)}: {printable(error)}; give a module that Python finds from here") from error
    if not callable(function) or isinstance(function, nn.Module) or inspect.isclass(function):
        raise InputTrouble(f"{printable(spec)}: expected a function, got {type(function).__name__}")
    made = function()
    if not (isinstance(made, tuple) and len(made) == 3 and isinstance(made[0], nn.Module)):
        raise InputTrouble(f"{printable(spec)}: must return (model, (x, y), loss), returned {type(made).__name__}")
    return made
