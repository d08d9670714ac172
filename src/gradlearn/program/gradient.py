"""The gradient of a batch as a program's items: what one real step did, listened to twice and written down.

    total, count = L(batch);   loss = sum total / sum count;   g = d loss / d theta

Two steps on different batches have to do the same, operation by operation and number by number; what has changed in the module by
then, or what was read out of a tensor, would be frozen into a program, and makes the step unfit for one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.adapt import leaves
from gradlearn.program import folding, gathers, normalising, pooling, softmax
from gradlearn.program.expression import BYTES, Access, Expr, make
from gradlearn.program.frame import Body, Frame, call_of
from gradlearn.program.frozen import Frozen
from gradlearn.program.loops import Call, Item, Loop, Product, Store, rewrite
from gradlearn.program.meaning import express
from gradlearn.program.recording import Op, Place, Recording, operands, plain_kernels
from gradlearn.program.sums import Sums
from gradlearn.program.unfit import Unfit
from gradlearn.symbols import Batch, Objective
from gradlearn.theta import Theta

_KNOWN = (folding, gathers, normalising, pooling, softmax)  # what is imported registers its meanings
_engine = torch.autograd.Variable._execution_engine
POOLED = 120  # bytes that could be moved in the time that PyTorch's pooling takes for one result
MOST = 20_000  # operations of a step that are still worth a program


@dataclass(slots=True)
class Heard:
    """One step that was listened to.

    Attributes:
        recording: its operations.
        leaves: places of the batch's tensors, in the order of `adapt.leaves`, x before y; the numbers of its examples last.
        loss: the place of the loss.
        grads: for each member of theta, the place of its gradient; None where it gets none.
        blocks: for each block of theta, the stores of its vector and of its gradient.
        totals: the place of each example's own loss.
    """

    recording: Recording
    leaves: list[Place]
    loss: Place
    grads: list[Place | None]
    blocks: list[tuple[int, int]]
    totals: Place

    def bytes(self) -> float:
        """What its operations read and write, one by one; views do neither."""
        moved = 0.0
        for op in self.recording.ops:
            read, made = [*operands(op.args), *operands(op.kwargs)], operands(op.outs)
            if op.mutates or not {p.store for p in made} <= {p.store for p in read}:
                moved += sum(math.prod(p.shape) * p.dtype.itemsize for p in (*read, *made))
            if "pool" in op.name and "backward" not in op.name:
                moved += POOLED * math.prod(made[0].shape)
        return moved


def hear(objective: Objective, theta: Theta, batch: Batch, as_is: bool = False) -> Heard:
    """Listen to one forward and backward pass; theta, buffers, gradients and random state are as found.

    `as_is`: with the kernels that an eager step takes, also those that nobody can look into.
    """
    theta.bind()
    buffers = list(theta.model.buffers())
    kept = [b.clone() for b in buffers]
    before = Frozen(theta.model)
    recording = Recording()
    blocks = [(recording.place(b.flat).store, recording.place(b.grad).store) for b in theta.blocks]
    batch = Batch(_own(batch.x), _own(batch.y), _own(batch.index), batch.draw)
    found = [recording.place(t) for t in (*leaves(batch.x), *leaves(batch.y), batch.index)]
    try:
        with chance.preserved(), nullcontext() if as_is else plain_kernels(theta.model):
            chance.reseed(batch.draw)
            with recording:
                losses = objective(batch)
                total, count = losses.total, losses.count
                if not total.requires_grad:
                    raise Unfit("has a loss that does not depend on its parameters")
                terms = count.detach().sum().to(total.dtype)
                loss = total.detach().sum() / terms
                seed = (1.0 / terms).expand(total.shape)
                params = tuple(m.param for m in theta.members)
                grads = _engine.run_backward((total,), (seed,), False, False, params, allow_unreachable=True, accumulate_grad=False)
    finally:
        same = [b is c for b, c in zip(theta.model.buffers(), buffers, strict=False)]
        recording.put_back()
        for b, value in zip(buffers, kept, strict=True):
            b.copy_(value)
    if len(same) != len(buffers) or not all(same):
        raise Unfit("puts a new tensor in the place of a buffer")
    if not before.holds():
        raise Unfit("changes an attribute of its own in its forward pass")
    places = [None if g is None else recording.place(g.detach()) for g in grads]
    return Heard(recording, found, recording.place(loss.detach()), places, blocks, recording.place(total.detach()))


def _own(value: Any) -> Any:
    """The same tensors, each with memory of its own."""
    if isinstance(value, Tensor):
        return value.clone(memory_format=torch.preserve_format)
    if isinstance(value, dict):
        return {k: _own(v) for k, v in value.items()}
    return type(value)(_own(v) for v in value) if isinstance(value, (tuple, list)) else value


def flop(op: Op) -> float:
    """Floating-point operations of a product or a convolution; 0 of all else."""
    base = op.name.partition(".")[0]
    if base in ("mm", "bmm", "addmm", "baddbmm", "mv", "addmv"):
        left = op.args[1 if base.startswith(("add", "badd")) else 0]
        return 2.0 * math.prod(op.outs[0].shape) * left.shape[-1]
    if base == "convolution":
        return 2.0 * math.prod(op.outs[0].shape) * math.prod(op.args[1].shape[1:])
    return 4.0 * math.prod(op.args[0].shape) * math.prod(op.args[2].shape[1:]) if base == "convolution_backward" else 0.0


def alike(a: Heard, b: Heard, theta: Theta) -> None:
    """Raise Unfit where two steps did not do the same."""
    x, y = a.recording, b.recording
    if len(x.ops) != len(y.ops) or any(_outline(p) != _outline(q) for p, q in zip(x.ops, y.ops, strict=True)):
        raise Unfit("does something else from one step to the next")
    moving = {p.store for p in a.leaves} | {s for pair in a.blocks for s in pair}
    moving |= {x.place(t).store for t in theta.model.buffers()}
    for store in range(min(len(x.tensors), len(y.tensors))):
        if store in x.made or store in moving:
            continue
        if not _same(x.tensors[store], y.tensors[store]):
            raise Unfit("computes with a number of its own that changes from step to step")


def _outline(op: Op) -> tuple[Any, ...]:
    return op.name, repr(op.args), repr(op.kwargs), op.outs


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a.detach(), b.detach())))


@dataclass(slots=True)
class Written:
    """A recorded step as items.

    Attributes:
        body: the items, and the sizes of what they make.
        fixed: stores whose content no step changes, with the tensor that has it.
        draws: stores that chance fills before each step: (place, PyTorch's own operation, its arguments).
    """

    body: Body
    fixed: dict[int, Tensor]
    draws: list[tuple[Place, Callable[..., Any], tuple[Any, ...], dict[str, Any]]]


def write_down(heard: Heard, theta: Theta) -> Written:
    """The items of a recorded step, up to the gradient in theta's own vector. Raises Unfit."""
    recording = heard.recording
    if len(recording.ops) > MOST:
        raise Unfit(f"does {len(recording.ops):,} operations a step; at most {MOST:,} make a program")
    buffers = {recording.place(t).store for t in theta.model.buffers()}
    moving = {p.store for p in heard.leaves} | {s for pair in heard.blocks for s in pair} | buffers
    written_to = changed(recording.ops)
    moving |= {s for s in written_to if s not in recording.made}
    fixed = {s: t for s, t in enumerate(recording.tensors) if s not in recording.made and s not in moving}
    body = Body()
    for store in recording.made:
        body.sizes[store] = recording.tensors[store].untyped_storage().nbytes()
    written = Written(body, fixed, [])
    results = {p.store for p in heard.grads if p is not None}
    sums = Sums(recording.ops, recording.made, {heard.loss.store, heard.totals.store}, results)
    for i, op in enumerate(recording.ops):
        _write(op, i, written, recording, written_to, sums)
    heard.grads[:] = sums.at(heard.grads)
    _hand_over(heard, theta, written)
    return written


def _write(op: Op, index: int, written: Written, recording: Recording, written_to: set[int], sums: Sums) -> None:
    inputs = {p.store for p in operands(op.args) + operands(op.kwargs)}
    outs = [p for p in op.outs if isinstance(p, Place)]
    if op.random:
        _draw(op, written)
        return
    if torch.Tag.inplace_view in op.call.tags or (not op.mutates and outs and all(p.store in inputs for p in outs)):
        return  # another way of reading what is there
    if inputs <= written.fixed.keys() and not op.mutates and not {p.store for p in outs} & written_to:
        written.fixed.update({p.store: recording.tensors[p.store] for p in outs})
        return
    outs_kept = tuple(p if isinstance(p, Place) else None for p in op.outs)
    if sums.add(written.body, op, index):
        return
    op = op._replace(args=sums.at(op.args), kwargs=sums.at(op.kwargs), outs=sums.at(outs_kept))
    before = written.body.items[:]
    try:
        express(written.body, op)
    except Unfit:
        written.body.items[:] = before
        written.body.call(op)


def changed(ops: Sequence[Op]) -> set[int]:
    """Stores that an operation writes into after they were made."""
    found: set[int] = set()
    for op in ops:
        if (op.mutates and torch.Tag.inplace_view not in op.call.tags) or op.name.startswith(
            ("native_batch_norm", "_native_batch_norm_legit")
        ):
            named = {a.name: i for i, a in enumerate(op.call._schema.arguments)}
            for a in op.call._schema.arguments:
                written = a.alias_info is not None and a.alias_info.is_write
                if written or a.name in ("running_mean", "running_var"):
                    i = named[a.name]
                    value = op.args[i] if i < len(op.args) else op.kwargs.get(a.name)
                    found |= {p.store for p in operands(value)}
    return found


def _draw(op: Op, written: Written) -> None:
    """What chance fills is filled by PyTorch itself before the step, the same numbers as without a program, and copied in here."""
    place = op.outs[0]
    filled = op.args[1:] if op.mutates or op.name.partition(".")[0].endswith("_like") else op.args
    if len(op.outs) != 1 or operands(filled) or any(operands(v) for v in op.kwargs.values()):
        raise Unfit(f"draws with {op.name.partition('.')[0]} from what it computes, which programs do not know")
    size = 1 + sum((n - 1) * s for n, s in zip(place.shape, place.strides, strict=True))
    own = written.body.new((size,), place.dtype)._replace(shape=place.shape, strides=place.strides)
    written.draws.append((own, op.call, op.args, op.kwargs))
    frame = Frame(place.shape)
    written.body.write(frame, place, frame.load(own))


def _hand_over(heard: Heard, theta: Theta, written: Written) -> None:
    """Every gradient goes to its place in the vector: made there from the start where nothing stands against it."""
    blocks = {id(b): grad for b, (_, grad) in zip(theta.blocks, heard.blocks, strict=True)}
    body, taken = written.body, set()
    widths: dict[int, set[int]] = {}
    for span in (span for item in body.items for span in item.spans()):
        widths.setdefault(span.access.store, set()).add(BYTES[span.access.kind])
    made_elsewhere = {store for item in body.items if isinstance(item, Call) for store in item.outs}
    moved: dict[int, tuple[int, int]] = {}
    for m, place in zip(theta.members, heard.grads, strict=True):
        if place is None:
            continue
        store = blocks[id(theta._block(m))]
        target = Place(store, m.grad.dtype, int(m.grad.storage_offset()), tuple(m.grad.shape), m.grad.stride())
        own = place.store in heard.recording.made and place.store not in made_elsewhere and len(widths.get(place.store, ())) <= 1
        whole = place.offset == 0 and body.sizes.get(place.store) == m.grad.numel() * m.grad.element_size()
        if own and whole and place.strides == target.strides and place.store not in taken:
            moved[place.store] = (store, target.offset)
            taken.add(place.store)
        else:
            frame = Frame(target.shape)
            body.write(frame, target, frame.load(place))
    body.items[:] = [relocated(item, moved) for item in body.items]


def _call_relocated(call: Call, moved: dict[int, tuple[int, int]]) -> Call:
    def at(value: Any) -> Any:
        if isinstance(value, Place) and value.store in moved:
            store, start = moved[value.store]
            return value._replace(store=store, offset=value.offset + start)
        return tuple(map(at, value)) if isinstance(value, tuple) and not isinstance(value, Place) else value

    op = Op(call.name, at(call.args), {k: at(v) for k, v in call.kwargs.items()}, at(call.places), False, False, call.function)
    new = call_of(op)
    for span, old in zip(new.touched, call.touched, strict=True):
        span.write = old.write
    return new


def relocated(item: Item, moved: dict[int, tuple[int, int]]) -> Item:
    """The item with some stores laid into others: store -> (other store, first element there)."""

    def at(access: Access) -> Access:
        if access.store not in moved:
            return access
        store, start = moved[access.store]
        return access._replace(store=store, offset=access.offset + start)

    if isinstance(item, Call):
        return _call_relocated(item, moved)
    if isinstance(item, Product):
        return Product(item.kind, item.size, at(item.a), at(item.b), at(item.out), item.batch, item.add)
    if not {span.access.store for span in item.spans()} & moved.keys():
        return item
    memo: dict[int, Expr] = {}

    def change(e: Expr) -> Expr | None:
        if e.op != "load" or e.data.store not in moved:
            return None
        return make("load", e.kind, [rewrite(a, change, memo) for a in e.args], at(e.data))

    stores = [
        Store(at(s.access), rewrite(s.value, change, memo), tuple(rewrite(i, change, memo) for i in s.indices), s.fold, s.fresh)
        for s in item.stores
    ]
    return Loop(item.dims, stores)
