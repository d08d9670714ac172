"""A descent's step as one compiled program: batch, loss, gradient, update, average, many steps a call.

    program = Program(descent);   steps, blocked = program.take(descent, 20)

It takes the very batches, draws and numbers that eager steps would take, works in theta, in the update's state and in the average
where they lie, and stops at the first step whose loss or gradient is not finite. Where update or average are more than a formula
of one coordinate, or the data are no tensors in memory, it does the rest of the step: see `Inside`.
"""

from __future__ import annotations

import math
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
from gradlearn.program.calls import Called
from gradlearn.program.expression import BYTES, PARTS, Access, Expr, kind_of, load, to
from gradlearn.program.frame import Body, Frame
from gradlearn.program.frozen import Frozen
from gradlearn.program.listening import heard_twice
from gradlearn.program.loops import Call, Item, Loop, Product, Store, add, live
from gradlearn.program.pen import Pen
from gradlearn.program.recording import Place, Recording
from gradlearn.program.unfit import Unfit
from gradlearn.step import factor, factors, limit, rate_of, set_rates
from gradlearn.symbols import Batch, Estimate, Now, Step

if TYPE_CHECKING:
    from gradlearn.loop import Descent

Address = Callable[[], int]


class Inside(NamedTuple):
    """How much of a step the program does by itself."""

    gathers: bool  # the batch, from tensors in memory
    moves: bool  # the update, of single coordinates
    averages: bool  # what the average does


class Program:
    """A compiled step.

    Args:
        d: the descent; it is as before when this returns.

    Raises:
        Unfit: no program can do this step; the message says why.
    """

    def __init__(self, d: Descent) -> None:
        require(d)
        self.inside = inside(d)
        heard, batch = heard_twice(d)
        self._untouched = [m for m, g in zip(d.theta.members, heard.grads, strict=True) if g is None]
        if self._untouched or not self.whole:  # what got no gradient must stay as it is: `Theta.still`
            self.inside = Inside(False, False, False)
        written = gradient.write_down(heard, d.theta)
        self.size, self.operations = batch.n, len(heard.recording.ops)
        self._written, self._eager = written, d.gradient
        self._leaf_places = heard.leaves
        self._frozen, self._model = Frozen(d.theta.model), d.theta.model
        self._versions = [(t, t._version) for t in written.fixed.values()]
        self._table: dict[int, tuple[Address, int]] = {}
        self._dynamic: dict[int, Tensor] = {}  # what calls have made in this step
        self._batch: list[Tensor] = []
        parts = self._write(d, heard, written)
        self.loops = sum(isinstance(item, Loop) for item in parts.body)
        self.products = sum(isinstance(item, Product) for item in parts.body)
        self.calls = sum(isinstance(item, Call) for item in parts.body)
        self._work = sum(map(gradient.flop, heard.recording.ops))
        self._traffic = float(sum(_moved(item) for item in (*parts.body, *parts.update)))
        layout = Layout()
        items = [*parts.body, *parts.clip, *parts.update, *parts.average]
        sizes = {s: n for s, n in written.body.sizes.items() if s not in self._table}
        lay_out(items, sizes, {parts.loss, parts.square, parts.factor, heard.totals.store}, layout)
        layout.table = {store: (i + 1, step) for i, (store, (_, step)) in enumerate(self._table.items())}
        self._width = parts.numbers
        self.text = Text(layout).module(parts)
        calls = [item for item in parts.body if isinstance(item, Call)]
        self._functions = machine.compiled(self.text, ["run", *(f"run{i + 1}" for i in range(len(calls)))])
        self._arena = torch.zeros(layout.size + 64, dtype=torch.uint8)
        self._start = -self._arena.data_ptr() % 64
        self._totals, self._total_place = layout.arena.get(heard.totals.store), heard.totals
        self._out = np.zeros((1, 2))
        self._drawn: list[Tensor] = []
        self._leaves: list[int] = []
        self._row_address = self._number_address = 0
        self._calls = [Called(call, self._reader(layout, heard.recording), self._entries(call)) for call in calls]
        expression.forget()

    def _entries(self, call: Call) -> dict[int, int]:
        """Of the stores that a call makes: their entries of the table."""
        return {store: i + 1 for i, store in enumerate(self._table) if store in call.outs}

    def _reader(self, layout: Layout, recording: Recording) -> Callable[[Place], Callable[[], Tensor]]:
        """How a place is read as a tensor: once and for all where it stays, else anew in every step."""
        leaf_of = {} if self.inside.gathers else {p.store: k for k, p in enumerate(self._leaf_places)}
        arena = self._arena[self._start :]

        def reader(place: Place) -> Callable[[], Tensor]:
            if place.store in self._dynamic:
                return lambda: self._dynamic[place.store].as_strided(place.shape, place.strides, place.offset)
            if place.store in leaf_of:
                return lambda: self._batch[leaf_of[place.store]].as_strided(place.shape, place.strides)
            if place.store in layout.arena:
                own = arena[layout.arena[place.store] :]
                own = own[: len(own) // place.dtype.itemsize * place.dtype.itemsize].view(place.dtype)
                fixed = own.as_strided(place.shape, place.strides, own.storage_offset() + place.offset)
            else:
                storage = recording.tensors[place.store].untyped_storage()
                fixed = torch.empty(0, dtype=place.dtype).set_(storage, place.offset, place.shape, place.strides)
            return lambda: fixed

        return reader

    # ------------------------------------------------------------------------------------------------------ writing

    def _write(self, d: Descent, heard: gradient.Heard, written: gradient.Written) -> Parts:
        """All items: the batch before what was recorded, loss, norm, clipping, update and average behind it."""
        body, recorded = written.body, written.body.items[:]
        del body.items[:]
        self._rows, self._given = body.new((self.size,), torch.int64), body.new((1 << 20,), torch.float64)
        update, average, width = self._write_update(d, heard)
        self._table[self._rows.store] = (lambda: self._row_address, self.size * 8)
        for store in (store for item in recorded if isinstance(item, Call) for store in item.outs):
            self._dynamic[store] = torch.empty(0)
            self._table[store] = (lambda store=store: self._dynamic[store].data_ptr(), 0)
        if self.inside.gathers:
            self._gather(d, body, heard.recording)
        else:
            for k, place in enumerate(self._leaf_places):
                self._table[place.store] = (lambda k=k: self._leaves[k], 0)
        body.items += recorded
        buffers = self._name_outside(d.theta, heard, written)
        loss, square, scale = (body.new((), torch.float64) for _ in range(3))
        self._sum_up(d.theta, heard, body, loss, square)
        wanted = {grad for _, grad in heard.blocks} | {loss.store, square.store, heard.totals.store} | buffers
        wanted |= {s for s in self._table if s not in written.fixed}
        self._table[self._given.store] = (lambda: self._number_address, width * 8)
        items, clip = live(body.items, wanted), self._clip(d.theta, heard, scale.store)
        return Parts(items, loss.store, square.store, scale.store, clip, live(update, set(self._table)), average, width)

    def _write_update(self, d: Descent, heard: gradient.Heard) -> tuple[list[Item], list[Item], int]:
        """(items of the update, of the average, how many numbers a step is given); none where they are left to PyTorch."""
        body, update = self._written.body, update_of(d)
        pen = Pen(body, heard.recording, lambda address: self._store(body, address), _blocks(d.theta, heard), self._given.store)
        average: list[Item] = []
        if self.whole:
            try:
                update.write(pen)
                average = self._average(d, heard) if isinstance(d.average, Ema) and self.inside.averages else []
            except Unfit:  # the gradient may be one all the same
                self.inside = Inside(False, False, False)
        whole = self.whole
        self._each, self._after = (pen.given, pen.after) if whole else ([], [])
        return (pen.items, average, pen.width) if whole else ([], [], 2)

    def _name_outside(self, theta: Any, heard: gradient.Heard, written: gradient.Written) -> set[int]:
        """Where everything lies that the step does not make; returns the module's buffers among it."""
        recording = heard.recording
        for block, (flat, grad) in zip(theta.blocks, heard.blocks, strict=True):
            self._table[flat] = (block.flat.untyped_storage().data_ptr, 0)
            self._table[grad] = (block.grad.untyped_storage().data_ptr, 0)
        buffers = {recording.place(t).store: t for t in theta.model.buffers()}
        changed = gradient.changed(recording.ops) - recording.made - buffers.keys()
        self._changing = [recording.tensors[s] for s in sorted(changed)]
        outside = buffers | {s: t for s, t in enumerate(recording.tensors) if s not in recording.made} | written.fixed
        brought = {p.store for p in self._leaf_places} if self.inside.gathers else set()
        for store, t in outside.items():
            if store not in brought:
                self._table.setdefault(store, (t.untyped_storage().data_ptr, 0))
        for k, (place, *_) in enumerate(written.draws):
            self._table[place.store] = (lambda k=k: self._drawn[k].data_ptr(), written.body.sizes[place.store])
        return set(buffers)

    @staticmethod
    def _sum_up(theta: Any, heard: gradient.Heard, body: Body, loss: Place, square: Place) -> None:
        """The loss in float64, and the squared norm of the gradient."""
        none = Frame(())
        body.write(none, loss, to(none.load(heard.loss), "f64"))
        for i, (block, (_, grad)) in enumerate(zip(theta.blocks, heard.blocks, strict=True)):
            frame = Frame((len(block.grad),))
            access = Access(grad, kind_of(block.grad.dtype), int(block.grad.storage_offset()), (1,) * len(frame.dims))
            g = to(load(access), "f64")
            body.write(frame, square._replace(shape=(1,), strides=(0,)), g * g, "add", i == 0)

    def _gather(self, d: Descent, body: Body, recording: Recording) -> None:
        """The batch: rows of tensors in memory, brought into the program's own."""
        for k, (place, source) in enumerate(zip(self._leaf_places, _sources(d.data), strict=True)):
            frame = Frame(place.shape)
            body.sizes[place.store] = recording.tensors[place.store].untyped_storage().nbytes()
            if source is None:
                body.write(frame, place, frame.load(self._rows))
            else:
                store = self._store(body, lambda k=k: self._data[k].untyped_storage().data_ptr())
                body.write(frame, place, _row_of(frame, store, source, self._rows))

    def _store(self, body: Body, address: Address) -> int:
        """A store that lies elsewhere."""
        body.stores += 1
        self._table[body.stores - 1] = (address, 0)
        return body.stores - 1

    def _clip(self, theta: Any, heard: gradient.Heard, scale: int) -> list[Item]:
        items: list[Item] = []
        for block, (_, grad) in zip(theta.blocks, heard.blocks, strict=True):
            dims = (len(block.grad),)
            access = Access(grad, kind_of(block.grad.dtype), int(block.grad.storage_offset()), (1,))
            by = to(load(Access(scale, "f64", 0, (0,))), access.kind)
            items.append(Loop(dims, [Store(access, load(access) * by)]))
        return items

    def _average(self, d: Descent, heard: gradient.Heard) -> list[Item]:
        """theta_bar <- theta_bar + weight (theta - theta_bar)."""
        average = d.average
        assert isinstance(average, Ema)
        body, items = self._written.body, []
        for mean, source in zip(average.mean, average.sources(d.theta), strict=True):
            if not source.is_contiguous() or not mean.is_contiguous():
                raise Unfit("has a buffer with gaps")
            kind = kind_of(source.dtype)
            own = Access(heard.recording.place(source).store, kind, int(source.storage_offset()), (1,))
            kept = Access(self._store(body, mean.data_ptr), kind, 0, (1,))
            weight = to(load(Access(self._given.store, "f64", 1, (0,))), kind)
            add(items, Loop((source.numel(),), [Store(kept, load(kept) + (load(own) - load(kept)) * weight)]))
        return items

    # ------------------------------------------------------------------------------------------------------ trying

    def work(self) -> float:
        """Floating-point operations of a step's products and convolutions."""
        return self._work

    def traffic(self) -> float:
        """Bytes that a step's loops and products must read and write at least: each place once for each that touches it."""
        return self._traffic

    def check(self, d: Descent) -> None:
        """Compare two steps with PyTorch's: loss and gradient, and what the update makes of it. Everything is as found afterwards.

        Raises:
            Unfit: they are not the same, to rounding.
        """
        put_back, now, bounds = self._kept(d), (d.t, d.seen), (d.controls.clip, d.controls.bound)
        d.controls.clip = d.controls.bound = 0.0
        try:
            for _ in range(2):
                self._compare(d)
                d.t, d.seen = d.t + 1, d.seen + self.size
        finally:
            (d.controls.clip, d.controls.bound), (d.t, d.seen) = bounds, now
            put_back()

    def _compare(self, d: Descent) -> None:
        """One step each from where things stand; they then stand where the program has brought them."""
        now, put_back = d.now(), self._kept(d)
        batch = d.data(d.batches(now), chance.key(d.seed, "batch", d.t))
        theirs = d.gradient(d.objective, d.theta, batch)
        grads = [m.grad.clone() for m in d.theta.members]
        put_back()
        ours = self.take(d, 1)[0] if self.whole else self.gradient(d.objective, d.theta, batch)
        if not theirs.finite:
            return
        exact: dict[str, Tensor] | None = None
        for m, g in zip(d.theta.members, grads, strict=True):
            if not _near(m.grad, g, 2e-3, 1e-5 * theirs.norm):
                if exact is None:
                    arrived = self._kept(d)
                    put_back()
                    exact = exact_gradient(d, batch)
                    arrived()
                if not _near(m.grad, exact[m.name].view(m.grad.shape).to(m.grad.dtype), 2e-3, 1e-5 * theirs.norm):
                    raise Unfit(f"has another gradient in a program than in PyTorch, at parameter {m.name!r}")
        if not abs(ours.loss - theirs.loss) <= 1e-3 * abs(theirs.loss) + 1e-6:
            raise Unfit(f"has another loss in a program than in PyTorch, {ours.loss:.6g} and {theirs.loss:.6g}")
        if self.whole:
            arrived, go_on = [b.flat.clone() for b in d.theta.blocks], self._kept(d)
            put_back()
            before = [b.flat.clone() for b in d.theta.blocks]
            set_rates(d.update, factor(d.rate, now, d.controls), now.t)
            update_of(d).bare_step()
            for block, place, start in zip(d.theta.blocks, arrived, before, strict=True):
                if not _near(place - start, block.flat - start, 1e-3, 1e-6 * torch.linalg.vector_norm(start).item()):
                    raise Unfit("is moved elsewhere by a program than by PyTorch")
            go_on()

    # ------------------------------------------------------------------------------------------------------ running

    def fits(self, d: Descent) -> bool:
        """Whether module, loss and batch are still what they were when the program was made, and batches have the same size."""
        return d.controls.plain and not d.controls.most and d.controls.batch in (0, self.size) and self._same(d.theta)

    def _same(self, theta: Any) -> bool:
        return theta.model is self._model and all(t._version == v for t, v in self._versions) and self._frozen.holds()

    def estimate(self, theta: Any, batch: Batch) -> Estimate | None:
        """Loss and norm of one batch, the gradient in theta's vector; None where the batch is not of the recorded kind."""
        given = (*leaves(batch.x), *leaves(batch.y), batch.index)
        if len(given) != len(self._leaf_places) or not all(map(_like, given, self._leaf_places)):
            return None
        theta.bind()
        theta.untouched = self._untouched
        self._batch, self._leaves = list(given), [t.data_ptr() for t in given]
        self._draw([batch.draw])
        self._run(1, np.zeros((1, self._width)))
        loss, norm = map(float, self._out[0])
        return Estimate(loss, norm, batch.n, None if (loss + norm) - (loss + norm) == 0.0 else self._suspects(batch.index))

    @property
    def whole(self) -> bool:
        """Whether it does all of a step; else it is a gradient."""
        return self.inside.moves and self.inside.gathers

    def gradient(self, objective: Any, theta: Any, batch: Batch) -> Estimate:
        """Loss and norm of one batch, the gradient in theta's vector: a `Gradient`. Eager where the batch is of another kind."""
        found = self.estimate(theta, batch) if self._same(theta) else None
        return self._eager(objective, theta, batch) if found is None else found

    def advance(self, d: Descent, count: int) -> tuple[list[Step], Callable[[int], None] | None]:
        """So many steps or fewer, and what takes back all but the first few of them."""
        if not self.inside.averages:
            now = d.now()
            steps = self.take(d, 1)
            if steps[-1].applied:
                d.average.see(d.theta, now)
            return steps, None
        if count == 1 or not d.remedies:
            return self.take(d, count), None
        t, seen = d.t, d.seen
        put_back = self._kept(d)

        def back(few: int) -> None:
            now = d.t, d.seen
            put_back()
            d.t, d.seen = t, seen
            self.take(d, few)
            d.t, d.seen = now

        return self.take(d, count), back

    def _kept(self, d: Descent) -> Callable[[], None]:
        """Everything that steps change, as it is now; called, it is put back."""
        update: Any = d.update
        tensors = [b.flat for b in d.theta.blocks] + list(d.theta.model.buffers()) + self._changing
        states = [(state, name, t.clone()) for state in update.state.values() for name, t in state.items() if isinstance(t, Tensor)]
        tensors += d.average.mean if isinstance(d.average, Ema) else []
        values = [t.clone() for t in tensors]
        groups = [{k: v for k, v in group.items() if k != "params"} for group in update.param_groups]
        looks = d.average.steps if isinstance(d.average, Ema) else 0

        def put_back() -> None:
            for place, value in zip(tensors, values, strict=True):
                place.copy_(value)
            for state, name, value in states:  # an update may have put others into their places
                state[name].copy_(value)
            for group, kept in zip(update.param_groups, groups, strict=True):
                group.update(kept)
            if isinstance(d.average, Ema):
                d.average.steps = looks

        return put_back

    def take(self, d: Descent, count: int) -> list[Step]:
        """So many steps, or fewer: the last may be one that is not finite and has moved nothing.

        `d.t`, `d.seen` and the history are the caller's to move on.
        """
        if count < 1:
            return []
        count = 1 if self._calls else count  # PyTorch has its part in each of them
        d.theta.bind()
        d.theta.untouched = []
        self._data: list[Any] = _sources(d.data)
        begin = time.perf_counter()
        times = [Now(d.t + k, d.controls.end, d.seen + k * self.size, d.seed, d.round, d.controls.batch) for k in range(count)]
        shares = factors(d.rate, times, d.controls)
        if self._written.draws:
            self._draw([chance.key(d.seed, "batch", now.t) for now in times])
        index = several(d.batches, times)
        self._row_address = index.data_ptr()
        done = self._run(count, self._given_numbers(d, shares))
        applied = min(done, count)
        self._moved_on(d, shares, done)
        blocked = done < count
        n, examples = self.size, len(d.data)
        group = d.update.param_groups[0]
        out = self._out[: applied + blocked].tolist()
        seconds = (time.perf_counter() - begin) / len(out)
        steps = [
            Step(now.t, loss, norm, rate_of(group, by, now.t), n, (now.seen + n) / examples, True, seconds)
            for now, (loss, norm), by in zip(times, out, shares, strict=False)
        ]
        last, numbers = index[(len(out) - 1) * n : len(out) * n], getattr(d.data, "numbers", None)
        bad = last if numbers is None else numbers[last]
        if count == 1 or blocked:
            steps[-1] = steps[-1]._replace(index=bad, applied=not blocked)
        if blocked:
            steps[-1] = steps[-1]._replace(index=bad if steps[-1].loss - steps[-1].loss == 0.0 else self._suspects(bad))
        return steps

    def _given_numbers(self, d: Descent, shares: list[float]) -> np.ndarray:
        table = np.zeros((len(shares), self._width))
        most = limit(d.controls)
        table[:, 0] = -most if most == d.controls.bound else most  # below 0: `shrinking` to nothing beyond
        if self.inside.averages and isinstance(d.average, Ema):
            table[:, 1] = [d.average.weight(k + 1) for k in range(len(shares))]
        for given in self._each:
            group, first, give = given.group(), given.so_far() + 1, given.give
            rows = [give(group, first + k, rate_of(group, by, d.t + k)) for k, by in enumerate(shares)]
            table[:, given.first : given.first + given.many] = rows
        return table

    def _moved_on(self, d: Descent, shares: list[float], done: int) -> None:
        last = min(done, len(shares) - 1)
        set_rates(d.update, shares[last], d.t + last)
        for after in self._after:
            after(done)
        if isinstance(d.average, Ema):
            d.average.steps += done

    def _run(self, count: int, numbers: np.ndarray) -> int:
        if len(self._out) < count:
            self._out = np.zeros((count, 2))
        self._number_address = numbers.ctypes.data
        table = np.array([self._arena.data_ptr() + self._start, *(at() for at, _ in self._table.values())], dtype=np.int64)
        done = 0
        for k, function in enumerate(self._functions):
            done = function(table.ctypes.data, count, numbers.ctypes.data, self._out.ctypes.data)
            if k < len(self._calls):
                self._calls[k](self._dynamic, table)
        return done

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
        place = self._total_place
        size = 1 + sum((n - 1) * s for n, s in zip(place.shape, place.strides, strict=True))
        if self._totals is None:
            return index
        start = self._start + self._totals + place.offset * place.dtype.itemsize
        totals = self._arena[start : start + size * place.dtype.itemsize].view(place.dtype).as_strided(place.shape, place.strides)
        return index[~torch.isfinite(totals)]


def _sources(data: Any) -> list[Tensor | None]:
    """The tensors that a batch's are rows of; None: the row numbers themselves."""
    return [*leaves(data.x), *leaves(data.y), data.numbers]


def several(batches: Any, times: list[Now]) -> Tensor:
    """The examples of several steps, one batch behind the other: (steps size,) int64."""
    if len(times) > 1 and hasattr(batches, "several"):
        return batches.several(times)
    rows = [batches(now) for now in times]
    return torch.cat(rows) if len(rows) > 1 else rows[0].contiguous()


def _moved(item: Item) -> int:
    """Bytes of the places that an item touches, each once."""
    places = {
        (s.access, s.dims): BYTES[s.access.kind] * math.prod(n for n, k in zip(s.dims, s.access.strides, strict=True) if k)
        for s in item.spans()
    }
    return sum(places.values())


def _near(a: Tensor, b: Tensor, share: float, more: float) -> bool:
    """Whether two tensors differ by a small share of their length at most."""
    away, length = (torch.linalg.vector_norm(t.double()).item() for t in (a - b, b))
    return away <= share * length + more + 1e-30


def exact_gradient(d: Descent, batch: Batch) -> dict[str, Tensor]:
    """The gradient by PyTorch in double precision: at a kink, single precision may take either side. Raises Unfit."""
    from gradlearn.curvature import LossFunction, value_and_grad

    try:
        with chance.preserved():
            f = LossFunction(d.objective, batch, torch.float64)
            grads = value_and_grad(f, f.start)[1]
            return {name: g.detach() for name, g in f.parameters(grads).items()}
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise Unfit("has another gradient in a program than in PyTorch, and none in double precision") from error


def _blocks(theta: Any, heard: gradient.Heard) -> dict[int, tuple[int, int]]:
    """By the address of a vector's memory: its store and its gradient's."""
    return {b.flat.untyped_storage().data_ptr(): stores for b, stores in zip(theta.blocks, heard.blocks, strict=True)}


def _like(t: Tensor, place: Place) -> bool:
    return tuple(t.shape) == place.shape and t.dtype == place.dtype and t.stride() == place.strides


def _row_of(frame: Frame, store: int, source: Tensor, rows: Place) -> Any:
    """Rows of a tensor, as the batch sees them."""
    shape = (1, *source.shape[1:])
    along = rows._replace(shape=(rows.shape[0], *(1,) * (source.ndim - 1)), strides=(1, *(0,) * (source.ndim - 1)))
    index: Expr = frame.load(along)
    scale = 2 if source.dtype in PARTS else 1
    kind = kind_of(PARTS.get(source.dtype, source.dtype))
    place = Place(store, source.dtype, int(source.storage_offset()), shape, (0, *source.stride()[1:]))
    parts = [
        load(frame.access(place, kind, fixed, scale)._replace(steps=(source.stride(0) * scale,)), [index]) for fixed in range(scale)
    ]
    return expression.Complex(*parts) if scale == 2 else parts[0]


def require(d: Descent) -> None:
    """Raise Unfit for a descent whose gradient no program computes."""
    if type(d.gradient) is not Backprop:
        raise Unfit(f"is trained with {type(d.gradient).__name__.lower()}, and programs know only backprop")
    if d.gradient.part and d.gradient.part < d.batches.size:
        raise Unfit("passes its batch in parts")
    if any(b.flat.device.type != "cpu" for b in d.theta.blocks):
        raise Unfit("is not on the processor; programs are for it alone")


def inside(d: Descent) -> Inside:
    """How much of a step of this descent a program does."""
    update = update_of(d)
    hooks = getattr(update, "_optimizer_step_pre_hooks", None) or getattr(update, "_optimizer_step_post_hooks", None)
    moves = isinstance(update, Light) and not hooks and update.writable()
    return Inside(type(d.data) is Examples, moves, moves and type(d.average) in (Ema, Plain))


def update_of(d: Descent) -> Any:
    """The update as what it is: the protocol knows less."""
    return d.update
