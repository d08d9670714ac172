"""A descent's step as one compiled program: batch, loss, gradient, update, average, many steps a call.

    program = Program(descent);   steps, blocked = program.take(descent, 20)

It takes the very batches, draws and numbers that eager steps would take, works in theta, in the update's state and in the average
where they lie, and stops at the first step whose loss or gradient is not finite. Where update or average are more than a formula
of one coordinate, or the data are no tensors in memory, it does the rest of the step: see `Inside`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.adapt import Examples, leaves
from gradlearn.average.ema import Ema
from gradlearn.average.plain import Plain
from gradlearn.gradient.backprop import Backprop
from gradlearn.optimizer import Light
from gradlearn.program import expression, gradient, machine
from gradlearn.program.assemble import Layout, Parts, Text, lay_out
from gradlearn.program.expression import PARTS, Access, Expr, kind_of, load, to
from gradlearn.program.frame import Body, Frame
from gradlearn.program.loops import Item, Loop, Product, Store, add, live
from gradlearn.program.recording import Place
from gradlearn.program.unfit import Unfit
from gradlearn.step import factor, set_rates
from gradlearn.symbols import Batch, Estimate, Now, Step

if TYPE_CHECKING:
    from gradlearn.loop import Descent

Address = Callable[[], int]


class Inside(NamedTuple):
    """How much of a step the program does by itself."""

    gathers: bool  # the batch, from tensors in memory
    moves: bool  # the update, of single coordinates
    averages: bool  # what the average does


class Taken(NamedTuple):
    """What one call did."""

    steps: list[Step]
    blocked: bool  # the last of them was not finite and has moved nothing


class Program:
    """A compiled step.

    Args:
        d: the descent; it is as before when this returns.

    Raises:
        Unfit: no program can do this step; the message says why.
    """

    def __init__(self, d: Descent) -> None:
        _require(d)
        self.inside = inside(d)
        heard, batch = _hear(d)
        self._untouched = [m for m, g in zip(d.theta.members, heard.grads, strict=True) if g is None]
        if self._untouched:  # whose state must stay as it is: `Theta.still`
            self.inside = self.inside._replace(moves=False, averages=False)
        written = gradient.write_down(heard, d.theta)
        self.size, self.operations = batch.n, len(heard.recording.ops)
        self._written, self._heard = written, heard
        self._leaf_places = heard.leaves
        self._attributes = gradient.attributes(d.theta.model)
        self._versions = [(t, t._version) for t in written.fixed.values()]
        self._table: dict[int, tuple[Address, int]] = {}
        self._numbers: list[tuple[dict[str, Any], int]] = []
        parts = self._write(d, heard, written, batch)
        self.loops = sum(isinstance(item, Loop) for item in parts.body)
        self.products = sum(isinstance(item, Product) for item in parts.body)
        layout = Layout()
        sizes = {s: n for s, n in written.body.sizes.items() if s not in self._table}
        lay_out(parts.body, sizes, {parts.loss, parts.square, parts.factor, heard.totals.store}, layout)
        layout.table = {store: (i + 1, step) for i, (store, (_, step)) in enumerate(self._table.items())}
        self._width = parts.numbers
        self.text = Text(layout).module(parts)
        self._call = machine.compiled(self.text)
        self._arena = torch.zeros(layout.size + 64, dtype=torch.uint8)
        self._start = -self._arena.data_ptr() % 64
        self._totals = layout.arena.get(heard.totals.store)
        self._out = np.zeros((1, 2))
        self._drawn: list[Tensor] = []
        expression.forget()

    # ------------------------------------------------------------------------------------------------------ writing

    def _write(self, d: Descent, heard: gradient.Heard, written: gradient.Written, batch: Batch) -> Parts:
        body, theta = written.body, d.theta
        recorded, made = body.items, body.items[:]
        body.items = recorded[:0]
        self._rows = body.new((self.size,), torch.int64)
        self._given = body.new((1 << 20,), torch.float64)
        self._table[self._rows.store] = (lambda: self._row_address, self.size * 8)
        if self.inside.gathers:
            self._gather(d, body)
        else:
            for k, place in enumerate(self._leaf_places):
                self._table[place.store] = (lambda k=k: self._leaves[k], 0)
        for item in made:
            body.items.append(item)
        for block, (flat, grad) in zip(theta.blocks, heard.blocks, strict=True):
            self._table[flat] = (block.flat.untyped_storage().data_ptr, 0)
            self._table[grad] = (block.grad.untyped_storage().data_ptr, 0)
        buffers = {heard.recording.place(t).store: t for t in theta.model.buffers()}
        outside = buffers | {s: t for s, t in enumerate(heard.recording.tensors) if s not in heard.recording.made} | written.fixed
        for store, t in outside.items():
            self._table.setdefault(store, (t.untyped_storage().data_ptr, 0))
        for k, (place, *_) in enumerate(written.draws):
            self._table[place.store] = (lambda k=k: self._drawn[k].data_ptr(), body.sizes[place.store])
        loss, square, scale = (body.new((), torch.float64) for _ in range(3))
        none = Frame(())
        body.write(none, loss, to(none.load(heard.loss), "f64"))
        for i, (block, (_, grad)) in enumerate(zip(theta.blocks, heard.blocks, strict=True)):
            frame = Frame((len(block.grad),))
            g = to(load(Access(grad, kind_of(block.grad.dtype), block.grad.storage_offset(), (1,) * len(frame.dims))), "f64")
            body.write(frame, square._replace(shape=(1,), strides=(0,)), g * g, "add", i == 0)
        wanted = {grad for _, grad in heard.blocks} | {loss.store, square.store, heard.totals.store} | set(buffers)
        wanted |= {s for s in self._table if s not in written.fixed}
        items = live(body.items, wanted)
        clip = self._clip(theta, heard, scale.store)
        update, width = self._update(d, body, heard) if self.inside.moves else ([], 2)
        average = self._average(d, heard) if self.inside.averages and isinstance(d.average, Ema) else []
        self._table[self._given.store] = (lambda: self._number_address, width * 8)
        return Parts(items, loss.store, square.store, scale.store, clip, update, average, width)

    def _gather(self, d: Descent, body: Body) -> None:
        """The batch: rows of tensors in memory."""
        data = d.data
        assert isinstance(data, Examples)
        sources: list[Tensor] = [*leaves(data.x), *leaves(data.y)]
        for place, source in zip(self._leaf_places[:-1], sources, strict=True):
            frame = Frame(place.shape)
            store = self._store(body, source.untyped_storage().data_ptr)
            body.write(frame, place, _row_of(frame, store, source, self._rows))
        index, frame = self._leaf_places[-1], Frame((self.size,))
        if data.numbers is None:
            body.write(frame, index, frame.load(self._rows))
        else:
            store = self._store(body, data.numbers.untyped_storage().data_ptr)
            body.write(frame, index, _row_of(frame, store, data.numbers, self._rows))

    def _store(self, body: Body, address: Address) -> int:
        """A store that lies elsewhere."""
        body.stores += 1
        self._table[body.stores - 1] = (address, 0)
        return body.stores - 1

    def _clip(self, theta: Any, heard: gradient.Heard, scale: int) -> list[Item]:
        items: list[Item] = []
        for block, (_, grad) in zip(theta.blocks, heard.blocks, strict=True):
            dims = (len(block.grad),)
            access = Access(grad, kind_of(block.grad.dtype), block.grad.storage_offset(), (1,))
            by = to(load(Access(scale, "f64", 0, (0,))), access.kind)
            items.append(Loop(dims, [Store(access, load(access) * by)]))
        return items

    def _update(self, d: Descent, body: Body, heard: gradient.Heard) -> tuple[list[Item], int]:
        """theta and the update's state: one loop for each group of parameters."""
        update: Any = d.update
        formula, names = update.coordinates()
        stores = {id(b.flat.untyped_storage()): s for b, s in zip(d.theta.blocks, heard.blocks, strict=True)}
        stores = {b.flat.untyped_storage().data_ptr(): s for b, s in zip(d.theta.blocks, heard.blocks, strict=True)}
        items: list[Item] = []
        width = 2
        for group in update.param_groups:
            numbers = len(update.numbers(group | {"step": 1}))
            for p in group["params"]:
                flat, grad = stores[p.untyped_storage().data_ptr()]
                kind, n = kind_of(p.dtype), p.numel()
                columns = [Access(flat, kind, p.storage_offset(), (1,))]
                for name in names:
                    store = self._store(body, lambda p=p, name=name: update.state[p][name].data_ptr())
                    columns.append(Access(store, kind, 0, (1,)))
                g = load(Access(grad, kind, p.storage_offset(), (1,)))
                given = [to(load(Access(self._given.store, "f64", width + i, (0,))), kind) for i in range(numbers)]
                values = formula(*map(load, columns), g, *given)
                add(items, Loop((n,), [Store(c, to(v, kind)) for c, v in zip(columns, values, strict=True)]))
            self._numbers.append((group, numbers))
            width += numbers
        return items, width

    def _average(self, d: Descent, heard: gradient.Heard) -> list[Item]:
        """theta_bar <- theta_bar + weight (theta - theta_bar)."""
        average = d.average
        assert isinstance(average, Ema)
        body, items = self._written.body, []
        for mean, source in zip(average.mean, average.sources(d.theta), strict=True):
            if not source.is_contiguous() or not mean.is_contiguous():
                raise Unfit("has a buffer with gaps")
            kind = kind_of(source.dtype)
            own = Access(heard.recording.place(source).store, kind, source.storage_offset(), (1,))
            kept = Access(self._store(body, mean.data_ptr), kind, 0, (1,))
            weight = to(load(Access(self._given.store, "f64", 1, (0,))), kind)
            add(items, Loop((source.numel(),), [Store(kept, load(kept) + (load(own) - load(kept)) * weight)]))
        return items

    # ------------------------------------------------------------------------------------------------------ running

    def fits(self, d: Descent) -> bool:
        """Whether the module is still what it was when the program was made, and batches have the same size."""
        same = d.controls.batch in (0, self.size) and all(t._version == v for t, v in self._versions)
        return same and gradient.attributes(d.theta.model) == self._attributes

    def estimate(self, theta: Any, batch: Batch) -> Estimate | None:
        """Loss and norm of one batch, the gradient in theta's vector; None where the batch is not of the recorded kind."""
        given = (*leaves(batch.x), *leaves(batch.y), batch.index)
        if len(given) != len(self._leaf_places) or not all(map(_like, given, self._leaf_places)):
            return None
        theta.bind()
        theta.untouched = self._untouched
        self._leaves = [t.data_ptr() for t in given]
        self._draw([batch.draw])
        self._run(1, np.zeros((1, self._width)))
        loss, norm = map(float, self._out[0])
        return Estimate(loss, norm, batch.n, None if (loss + norm) - (loss + norm) == 0.0 else self._suspects(batch.index))

    def take(self, d: Descent, count: int) -> Taken:
        """So many steps, or fewer where one is not finite. `d.t`, `d.seen` and the history are the caller's to move on."""
        begin = time.perf_counter()
        times = [Now(d.t + k, d.controls.end, d.seen + k * self.size, d.seed, d.round, d.controls.batch) for k in range(count)]
        rows = [d.batches(now) for now in times]
        factors = [factor(d.rate, now, d.controls) for now in times]
        if self._written.draws:
            self._draw([chance.key(d.seed, "batch", now.t) for now in times])
        index = torch.cat(rows) if count > 1 else rows[0].contiguous()
        self._row_address = index.data_ptr()
        done = self._run(count, self._given_numbers(d, factors))
        applied = min(done, count)
        self._moved_on(d, factors, done)
        blocked = done < count
        n, examples = self.size, len(d.data)
        lrs = d.update.param_groups[0]["initial_lr"]
        out = self._out[: applied + blocked].tolist()
        seconds = (time.perf_counter() - begin) / len(out)
        steps = [
            Step(now.t, loss, norm, lrs * by, n, (now.seen + n) / examples, k < applied, seconds, row)
            for k, (now, (loss, norm), by, row) in enumerate(zip(times, out, factors, rows, strict=False))
        ]
        if blocked:
            bad = rows[done] if (numbers := getattr(d.data, "numbers", None)) is None else numbers[rows[done]]
            steps[-1] = steps[-1]._replace(index=bad if steps[-1].loss - steps[-1].loss == 0.0 else self._suspects(bad))
        return Taken(steps, blocked)

    def _given_numbers(self, d: Descent, factors: list[float]) -> np.ndarray:
        update: Any = d.update
        table = np.zeros((len(factors), self._width))
        table[:, 0] = d.controls.clip
        if self.inside.averages and isinstance(d.average, Ema):
            table[:, 1] = [d.average.weight(k + 1) for k in range(len(factors))]
        at = 2
        for group, count in self._numbers:
            first, base = update.counted(group) + 1, group["initial_lr"]
            table[:, at : at + count] = [
                update.numbers(group | {"step": first + k, "lr": base * by}) for k, by in enumerate(factors)
            ]
            at += count
        return table

    def _moved_on(self, d: Descent, factors: list[float], done: int) -> None:
        update: Any = d.update
        set_rates(d.update, factors[min(done, len(factors) - 1)])
        for group, _ in self._numbers:
            update.advance(group, done)
        if isinstance(d.average, Ema):
            d.average.steps += done

    def _run(self, count: int, numbers: np.ndarray) -> int:
        if len(self._out) < count:
            self._out = np.zeros((count, 2))
        self._number_address = numbers.ctypes.data
        table = np.array([self._arena.data_ptr() + self._start, *(at() for at, _ in self._table.values())], dtype=np.int64)
        return self._call(table.ctypes.data, count, numbers.ctypes.data, self._out.ctypes.data)

    def _draw(self, keys: list[int]) -> None:
        """What chance decides in each of these steps, by PyTorch's own generator and operations."""
        draws = self._written.draws
        if not draws:
            return
        self._drawn = []
        views: list[list[Tensor]] = []
        for place, *_ in draws:
            size = self._written.body.sizes[place.store] // place.dtype.itemsize
            whole = torch.empty(size * len(keys), dtype=place.dtype)
            self._drawn.append(whole)
            views.append([whole.as_strided(place.shape, place.strides, k * size + place.offset) for k in range(len(keys))])
        with chance.preserved(), torch.no_grad():
            for k, key in enumerate(keys):
                chance.reseed(key)
                for (_, call, args, kwargs), own in zip(draws, views, strict=True):
                    value = call(*((own[k], *args[1:]) if args and isinstance(args[0], Place) else args), **kwargs)
                    if value.data_ptr() != own[k].data_ptr():
                        own[k].copy_(value)

    def _suspects(self, index: Tensor) -> Tensor:
        """The examples whose own loss is not finite."""
        place = self._heard.totals
        size = 1 + sum((n - 1) * s for n, s in zip(place.shape, place.strides, strict=True))
        if self._totals is None:
            return index
        start = self._start + self._totals + place.offset * place.dtype.itemsize
        totals = self._arena[start : start + size * place.dtype.itemsize].view(place.dtype).as_strided(place.shape, place.strides)
        return index[~torch.isfinite(totals)]


def _like(t: Tensor, place: Place) -> bool:
    return tuple(t.shape) == place.shape and t.dtype == place.dtype and t.stride() == place.strides


def _row_of(frame: Frame, store: int, source: Tensor, rows: Place) -> Any:
    """Rows of a tensor, as the batch sees them."""
    shape = (1, *source.shape[1:])
    along = rows._replace(shape=(rows.shape[0], *(1,) * (source.ndim - 1)), strides=(1, *(0,) * (source.ndim - 1)))
    index: Expr = frame.load(along)
    scale = 2 if source.dtype in PARTS else 1
    kind = kind_of(PARTS.get(source.dtype, source.dtype))
    place = Place(store, source.dtype, source.storage_offset(), shape, (0, *source.stride()[1:]))
    parts = [
        load(frame.access(place, kind, fixed, scale)._replace(steps=(source.stride(0) * scale,)), [index]) for fixed in range(scale)
    ]
    return expression.Complex(*parts) if scale == 2 else parts[0]


def _require(d: Descent) -> None:
    """Raise Unfit for a descent whose gradient no program computes."""
    if type(d.gradient) is not Backprop:
        raise Unfit(f"is trained with {type(d.gradient).__name__.lower()}, and programs know only backprop")
    if d.gradient.part and d.gradient.part < d.batches.size:
        raise Unfit("passes its batch in parts")
    if any(b.flat.device.type != "cpu" for b in d.theta.blocks):
        raise Unfit("is not on the processor; programs are for it alone")


def inside(d: Descent) -> Inside:
    """How much of a step of this descent a program does."""
    update: Any = d.update
    hooks = getattr(update, "_optimizer_step_pre_hooks", None) or getattr(update, "_optimizer_step_post_hooks", None)
    told = type(update).observe is not Light.observe if isinstance(update, Light) else True
    moves = not hooks and not told and getattr(update, "coordinates", lambda: None)() is not None
    return Inside(type(d.data) is Examples, moves, moves and type(d.average) in (Ema, Plain))


def _hear(d: Descent) -> tuple[gradient.Heard, Batch]:
    """The first step of the descent and the one after it, listened to and compared."""
    batches = []
    for k in range(2):
        now = d.now()._replace(t=d.t + k, seen=d.seen + k * d.batches.size)
        batches.append(d.data(d.batches(now), chance.key(d.seed, "batch", now.t)))
    if not isinstance(batches[0], Batch):
        raise Unfit("passes its batch in parts")
    gradient.hear(d.objective, d.theta, batches[0])  # what is made once and kept is made now
    first, second = (gradient.hear(d.objective, d.theta, batch) for batch in batches)
    gradient.alike(first, second, d.theta)
    return first, batches[0]
