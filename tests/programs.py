"""A function of tensors as a program; steps of a descent by PyTorch and by its program: what tests of `program/` compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.learn import planned, task_of
from gradlearn.loop import Descent
from gradlearn.plan import Plan
from gradlearn.program import machine
from gradlearn.program.assemble import Layout, Parts, Text, lay_out
from gradlearn.program.compiled import Program
from gradlearn.program.gradient import Heard, write_down
from gradlearn.program.loops import Item, Loop, Product, live
from gradlearn.program.recording import Place, Recording, plain_kernels
from gradlearn.step import step
from gradlearn.symbols import Step

Function = Callable[..., Sequence[Tensor]]
NOBODY: Any = SimpleNamespace(model=nn.Module(), blocks=[], members=[])  # a theta without parameters


class Ran:
    """A function of tensors, recorded with some of them, to be run with others that lie like them."""

    def __init__(self, function: Function, given: Sequence[Tensor]) -> None:
        self.recording = recording = Recording()
        self.inputs = [recording.place(t) for t in given]
        with chance.preserved(), plain_kernels(NOBODY.model), recording:
            results = [t.detach().clone() for t in function(*given)]
        self.outs = [recording.place(t) for t in results]
        self.written = written = write_down(Heard(recording, self.inputs, self.inputs[0], [], [], self.inputs[0]), NOBODY)
        body = written.body
        loss, square, scale = (body.new((), torch.float64) for _ in range(3))
        body.fill(loss, 0.0)
        body.fill(square, 0.0)
        outside = {s for s in range(len(recording.tensors)) if s not in recording.made} | written.fixed.keys()
        self.stores = sorted(outside | {p.store for p in self.outs})
        self.items: list[Item] = live(body.items, {loss.store, square.store, *self.stores})
        layout = Layout(table={store: (i + 1, 0) for i, store in enumerate(self.stores)})
        sizes = {s: n for s, n in body.sizes.items() if s not in layout.table}
        lay_out(self.items, sizes, {loss.store, square.store, scale.store}, layout)
        self.text = Text(layout).module(Parts(self.items, loss.store, square.store, scale.store, [], [], [], 2))
        left = [item for item in self.items if not isinstance(item, (Loop, Product))]
        assert not left, f"left to PyTorch: {left}"
        self.call = machine.compiled(self.text)[0]
        self.arena = torch.full((layout.size + 64,), 255, dtype=torch.uint8)  # what nobody has written is NaN

    def __call__(self, *given: Tensor) -> list[Tensor]:
        own = {p.store: t.untyped_storage() for p, t in zip(self.inputs, given, strict=True)}
        memory = {s: own[s] if s in own else self._memory(s) for s in self.stores}
        table = np.array([self.arena.data_ptr() + -self.arena.data_ptr() % 64, *(m.data_ptr() for m in memory.values())], np.int64)
        out, numbers = np.zeros(2), np.zeros(2)
        assert self.call(table.ctypes.data, 1, numbers.ctypes.data, out.ctypes.data) == 1
        return [_seen(memory[p.store], p) for p in self.outs]

    def _memory(self, store: int) -> Any:
        memory = self.recording.tensors[store].untyped_storage()
        mine = store in self.recording.made and store not in self.written.fixed
        return memory.clone() if mine else memory


def _seen(memory: Any, place: Place) -> Tensor:
    return torch.empty(0, dtype=place.dtype).set_(memory, place.offset, place.shape, place.strides)


def twin(t: Tensor, value: Tensor) -> Tensor:
    """A tensor that lies as t does, in a memory of its own, with other content."""
    own = torch.empty(0, dtype=t.dtype).set_(t.untyped_storage().clone(), t.storage_offset(), t.shape, t.stride())
    once = tuple(slice(0, 1) if s == 0 else slice(None) for s in t.stride())
    own[once].copy_(value[once])
    return own


def agree(functions: Mapping[str, Function], given: Sequence[Tensor], *others: Sequence[Tensor], tolerance: float = 0.0) -> None:
    """All functions in one program, recorded with `given`, do to `others` what PyTorch does, and to what they write into."""
    pieces: list[tuple[str, int]] = []
    n = len(given)

    def all_of_them(*everything: Tensor) -> list[Tensor]:
        pieces.clear()
        results: list[Tensor] = []
        for i, (name, function) in enumerate(functions.items()):
            found = function(*everything[i * n : (i + 1) * n])
            pieces.append((name, len(found)))
            results += found
        return results

    program = Ran(all_of_them, [twin(t, t) for _ in functions for t in given])
    for other in others:
        ours, theirs = ([twin(t, v) for _ in functions for t, v in zip(given, other, strict=True)] for _ in range(2))
        found = program(*ours)
        with plain_kernels(NOBODY.model):
            wanted = all_of_them(*theirs)
        names = [f"{name}: result {k}" for name, count in pieces for k in range(count)]
        names += [f"{name}: argument {k}" for name in functions for k in range(n)]
        for name, a, b in zip(names, [*found, *ours], [*wanted, *theirs], strict=True):
            same(a, b.detach(), name, tolerance)


def same(a: Tensor, b: Tensor, name: str, tolerance: float = 0.0) -> None:
    """Equal in shape and kind; numbers to rounding."""
    share = tolerance or {torch.float32: 4e-6, torch.complex64: 4e-6}.get(b.dtype, 1e-13)
    torch.testing.assert_close(a, b, rtol=share, atol=share, equal_nan=True, msg=lambda m: f"{name}: {m}")


def differentiated(function: Callable[..., Tensor]) -> Function:
    """(value, gradient for each real argument that it depends on), from a slope that differs from place to place."""

    def both(*given: Tensor) -> list[Tensor]:
        own = [t.detach().requires_grad_(t.is_floating_point() or t.is_complex()) for t in given]
        value = function(*own)
        seed = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
        grads = torch.autograd.grad(value, [t for t in own if t.requires_grad], seed, allow_unused=True)
        return [value, *(g for g in grads if g is not None)]

    return both


def named(functions: Mapping[str, Function], given: Sequence[Tensor]) -> set[str]:
    """PyTorch's own names of everything that the functions do."""
    found: set[str] = set()
    for function in functions.values():
        with plain_kernels(NOBODY.model), Recording() as recording:
            function(*(twin(t, t) for t in given))
        for op in recording.ops:
            base = op.name.partition(".")[0]
            found |= {base, base.removesuffix("_")}
    return found


def descent(model: nn.Module, x: Any, y: Any, batch: int = 8, loss: Any = "mse", weight: Any = None, **more: Any) -> Descent:
    """What `fit` would train, before its first step."""
    user = {"batch": batch, "steps": 100, "update": "adamw", "lr": 1e-2, "compile": "off"} | more
    found, _ = planned(task_of(model, (x, y), loss, None, user, weight, 0), Plan(user), 0.0)
    found.theta.model.train()
    return found


def eagerly(d: Descent, count: int) -> list[Step]:
    """Steps by PyTorch."""
    steps = []
    for _ in range(count):
        now = d.now()
        batch = d.data(d.batches(now), chance.key(d.seed, "batch", d.t))
        steps.append(step(d.theta, batch, d.objective, d.gradient, d.update, d.rate, d.average, now, d.controls, len(d.data)))
        d.t, d.seen = d.t + 1, d.seen + steps[-1].n
    return steps


def compiled(d: Descent, program: Program, *counts: int) -> list[Step]:
    """Steps by a program, so many in each call where it can."""
    steps: list[Step] = []
    for count in counts:
        end = len(steps) + count
        while len(steps) < end:
            some, _ = program.advance(d, end - len(steps))
            d.t, d.seen = d.t + len(some), d.seen + sum(s.n for s in some)
            steps += some
            if not some[-1].applied:
                break
    return steps
