"""What an update writes its step with, for a program: loops over coordinates, and PyTorch operations on tensors it makes.

    given = pen.numbers(group, give, so_far)                  numbers that every step is given, from rate and count
    pen.walk(formula, p, [state, ...], given)                 p, states <- formula(p, states..., g, numbers...)

An update that can be written has `writable()` and `write(pen)`; `gradlearn.optimizer` and `update/muon.py` have examples. Groups
and state are asked for anew in every call, by a function: an update whose state is loaded has others from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradlearn.program.expression import Access, Expr, kind_of, load, to
from gradlearn.program.frame import Body, Frame
from gradlearn.program.loops import Item, Loop, Store, add
from gradlearn.program.meaning import express
from gradlearn.program.recording import Place, Recording
from gradlearn.program.unfit import Unfit

Address = Callable[[], int]


Give = Callable[[dict[str, Any], int, float], Sequence[float]]  # (group, number of the step from 1, its rate) -> numbers


def dense(t: Tensor) -> bool:
    """Whether a tensor fills its memory, in whatever order of its axes."""
    order = sorted(range(t.ndim), key=lambda k: (t.stride(k), t.shape[k]))
    return t.permute(order[::-1]).is_contiguous()


class Given(NamedTuple):
    """Numbers that a group is given anew in each step."""

    group: Callable[[], dict[str, Any]]  # a state that is loaded brings other groups
    many: int
    give: Give
    so_far: Callable[[], int]
    first: int  # place among all numbers of a step


class Pen:
    """Writes an update's step.

    Args:
        body: of the program, for stores of its own.
        recording: that theta's vectors are known to.
        outside: told of a tensor of the update, or of whoever keeps it, by an address that is asked for in every call.
        blocks: (address of a vector's memory) -> (its store, the store of its gradient).
        numbers: the store of the numbers, and how many are taken already.
    """

    def __init__(
        self, body: Body, recording: Recording, outside: Callable[[Address], int], blocks: dict[int, tuple[int, int]], numbers: int
    ) -> None:
        self.items: list[Item] = []
        self.given: list[Given] = []
        self.after: list[Callable[[int], None]] = []
        self.width = 2
        self._body, self._recording, self._outside, self._blocks, self._store = body, recording, outside, blocks, numbers

    def numbers(self, group: Callable[[], dict[str, Any]], give: Give, so_far: Callable[[], int]) -> Callable[[str], list[Expr]]:
        """Numbers of a group, as expressions of a kind: `give` is asked before each step; `so_far` how many there were."""
        many, first = len(give(group(), 1, group()["lr"])), self.width
        self.given.append(Given(group, many, give, so_far, first))
        self.width += many
        return lambda kind: [to(load(Access(self._store, "f64", first + i, ())), kind) for i in range(many)]

    def walk(
        self,
        formula: Callable[..., Sequence[Any]],
        p: Tensor,
        states: Sequence[Callable[[], Tensor]],
        given: Callable[[str], list[Expr]],
    ) -> None:
        """One loop: p and the states become what the formula says of each coordinate."""
        if not dense(p) or not all(state().stride() == p.stride() and state().dtype == p.dtype for state in states):
            raise Unfit("has parameters with gaps or in an order of their own")
        theta, grad = self.vector(p)
        frame, kind = Frame((p.numel(),)), kind_of(p.dtype)
        columns = [frame.access(theta, kind)] + [frame.access(self.tensor(state, p.shape), kind) for state in states]
        values = formula(*map(load, columns), frame.load(grad), *(_spread(e, frame) for e in given(kind)))
        add(self.items, Loop(frame.dims, [Store(c, to(v, kind)) for c, v in zip(columns, values, strict=True)]))

    def vector(self, p: Tensor) -> tuple[Place, Place]:
        """A parameter and its gradient, flat."""
        flat, grad = self._blocks[p.untyped_storage().data_ptr()]
        place = Place(flat, p.dtype, int(p.storage_offset()), (p.numel(),), (1,))
        return place, place._replace(store=grad)

    def tensor(self, state: Callable[[], Tensor], shape: Sequence[int]) -> Place:
        """A tensor of the update's, flat and without gaps."""
        store = self._outside(lambda: state().data_ptr())
        size = 1
        for n in shape:
            size *= n
        return Place(store, state().dtype, 0, (size,), (1,))

    def momentum(self, p: Tensor, state: Callable[[], Tensor], u: Place, first: int, share: float, look: float) -> None:
        """state <- state + share (g - state);  u <- g + look (state - g), u from element `first` on: of one parameter."""
        frame, m, grad, own = self._orders(p, self.tensor(state, p.shape), self.vector(p)[1], u._replace(offset=first))
        g = to(frame.load(grad), kind_of(m.dtype))
        self.write(frame, m, frame.load(m) + (g - frame.load(m)) * share)
        self.write(frame, own, g + (frame.load(m) - g) * look)

    def move(self, p: Tensor, u: Place, first: int, given: Callable[[str], list[Expr]]) -> None:
        """theta <- keep theta - step u, of one parameter; keep and step are given."""
        frame, _, theta, own = self._orders(p, u, self.vector(p)[0], u._replace(offset=first))
        kind = kind_of(p.dtype)
        keep, step = (_spread(e, frame) for e in given(kind))
        self.write(frame, theta, frame.load(theta) * keep - frame.load(own, kind) * step)

    def _orders(self, p: Tensor, m: Place, flat: Place, u: Place) -> tuple[Frame, Place, Place, Place]:
        """A frame over a parameter, with m and u in the order of its rows and `flat` in the order that it has in memory."""
        if not dense(p):
            raise Unfit("has parameters with gaps or in an order of their own")
        if p.is_contiguous():
            line: Any = {"shape": (p.numel(),), "strides": (1,)}
            return Frame((p.numel(),)), m._replace(**line), flat, u._replace(**line)
        rows: Any = {"shape": tuple(p.shape), "strides": torch.empty(p.shape, device="meta").stride()}
        flat = flat._replace(shape=tuple(p.shape), strides=p.stride())
        return Frame(tuple(p.shape)), m._replace(**rows), flat, u._replace(**rows)

    def new(self, shape: Sequence[int], dtype: torch.dtype) -> Place:
        """A tensor that lasts for this step."""
        return self._body.new(shape, dtype)

    def write(self, frame: Frame, place: Place, value: Any) -> None:
        """Store an expression at every coordinate."""
        self._inside(lambda: self._body.write(frame, place, value))

    def operate(self, function: Callable[[Tensor], Any], place: Place) -> None:
        """What a function of PyTorch operations does to a tensor in place: listened to, and written down."""
        tensor = torch.randn(place.shape, dtype=place.dtype)
        known, made = len(self._recording.ops), set(self._recording.made)
        own = self._recording.place(tensor)
        with self._recording:
            function(tensor)
        for store in self._recording.made - made - {own.store}:
            self._body.sizes[store] = self._recording.tensors[store].untyped_storage().nbytes()

        def write() -> None:
            for op in self._recording.ops[known:]:
                kept = [p for p in (*op.args, *op.kwargs.values()) if isinstance(p, Place)]
                if not op.mutates and all(isinstance(p, Place) and p.store in {k.store for k in kept} for p in op.outs):
                    continue
                express(self._body, _moved(op, own.store, place))

        self._inside(write)

    def _inside(self, write: Callable[[], None]) -> None:
        """Write into the update's items by way of the body."""
        kept, self._body.items = self._body.items, self.items
        try:
            write()
        finally:
            self._body.items = kept


def _spread(e: Expr, frame: Frame) -> Expr:
    """A number of the step, seen from a frame."""
    inner = e.args[0] if e.op == "to" else e
    access = inner.data._replace(strides=(0,) * len(frame.dims))
    return to(load(access), e.kind)


def _moved(op: Any, store: int, place: Place) -> Any:
    """The operation with one store in the place of another."""

    def at(value: Any) -> Any:
        if isinstance(value, Place):
            return value._replace(store=place.store, offset=value.offset + place.offset) if value.store == store else value
        return tuple(map(at, value)) if isinstance(value, tuple) else value

    return op._replace(args=at(op.args), kwargs={k: at(v) for k, v in op.kwargs.items()}, outs=at(op.outs))
