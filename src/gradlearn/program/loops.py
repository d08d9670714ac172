"""The body of a program: loops over coordinates and matrix products, and how loops are joined.

    h = x W^T;  for i, j: h[i,j] <- h[i,j] + b[j];  for i, j: h[i,j] <- max(h[i,j], 0)     two loops of one shape become one

In one pass of a loop every expression is computed before anything is stored. Two loops of one shape are joined where no coordinate
of one needs what another coordinate of the other writes; what the first stores and the second reads then stays in a register. A
loop may move over others to meet its partner, if it reads and writes nothing of theirs. What nobody reads is not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradlearn.program.expression import BYTES, Access, Expr, make

WINDOW = 24  # items that a loop may move over
PLACES = 24  # places that one loop may touch: each takes a register for its address


@dataclass(slots=True)
class Store:
    """value -> place; with `fold`, place <- fold of all values that meet there ("add", "maximum", "minimum", "mul")."""

    access: Access
    value: Expr
    indices: tuple[Expr, ...] = ()
    fold: str = ""
    fresh: bool = True  # a fold begins from nothing, not from what lies there


@dataclass(slots=True)
class Span:
    """What elements an access may touch, and how."""

    access: Access
    dims: tuple[int, ...]
    write: bool
    fold: bool

    @property
    def whole(self) -> bool:
        """Whether it may be anywhere in the store."""
        return bool(self.access.steps)


@dataclass(slots=True)
class Loop:
    """For every coordinate of `dims`, in any order: all stores."""

    dims: tuple[int, ...]
    stores: list[Store]
    _spans: list[Span] = field(default_factory=list)

    def spans(self) -> list[Span]:
        """Everything that it reads and writes."""
        if not self._spans:
            loads = {e.data: e for s in self.stores for e in walk((s.value, *s.indices)) if e.op == "load"}
            self._spans = [Span(access, self.dims, False, False) for access in loads]
            self._spans += [Span(s.access, self.dims, True, bool(s.fold)) for s in self.stores]
        return self._spans


@dataclass(slots=True)
class Product:
    """out <- a b, or out <- out + a b: matrices with any strides, `batch` of them."""

    kind: str
    size: tuple[int, int, int]  # rows and columns of `out`, and the length of the sum
    a: Access  # strides: rows, sum, batch
    b: Access  # strides: sum, columns, batch
    out: Access  # strides: rows, columns, batch
    batch: int = 1
    add: bool = False

    def spans(self) -> list[Span]:
        """Everything that it reads and writes."""
        m, n, k = self.size
        read = [Span(self.a, (m, k, self.batch), False, False), Span(self.b, (k, n, self.batch), False, False)]
        return [*read, Span(self.out, (m, n, self.batch), True, False)]


@dataclass(slots=True)
class Call:
    """An operation that PyTorch does itself, between two pieces of the program: on what lies in the stores, into stores of its own.

    `args` and `kwargs` hold places (`recording.Place`), `touched` all of them as spans, `outs` the stores that it makes.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    places: tuple[Any, ...]  # of the results; None where there is none
    touched: list[Span]

    @property
    def outs(self) -> set[int]:
        """Stores that it makes."""
        return {span.access.store for span in self.touched if span.fold}

    def spans(self) -> list[Span]:
        """Everything that it reads and writes."""
        return self.touched


Item = Loop | Product | Call


def walk(roots: Sequence[Expr]) -> Iterator[Expr]:
    """Every expression below these, each once."""
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        e = stack.pop()
        if id(e) not in seen:
            seen.add(id(e))
            yield e
            stack.extend(e.args)


def rewrite(e: Expr, change: Callable[[Expr], Expr | None], memo: dict[int, Expr]) -> Expr:
    """The expression with some of its parts exchanged: `change` says what for, None for as it is."""
    found = memo.get(id(e))
    if found is None:
        found = change(e)
        if found is None:
            args = [rewrite(a, change, memo) for a in e.args]
            same = all(a is b for a, b in zip(args, e.args, strict=True))
            found = e if same else make(e.op, e.kind, args, e.data)
        memo[id(e)] = found
    return found


def last(span: Span) -> int:
    """The last element of the store that it may touch."""
    return span.access.offset + sum((n - 1) * s for n, s in zip(span.dims, span.access.strides, strict=True))


def apart(a: Span, b: Span) -> bool:
    """Whether two accesses of one store surely touch no common element."""
    if a.whole or b.whole or min((*a.access.strides, *b.access.strides), default=0) < 0:
        return False
    if BYTES[a.access.kind] != BYTES[b.access.kind]:  # they count in other elements
        return False
    if last(a) < b.access.offset or last(b) < a.access.offset:
        return True
    steps = sorted({s for s in (*a.access.strides, *b.access.strides) if s > 1})
    return any(_apart_by(step, a, b) for step in steps)


def _apart_by(step: int, a: Span, b: Span) -> bool:
    """Both stay within their own columns of a table of rows of `step` elements."""
    columns = []
    for span in (a, b):
        inner = 0
        for n, s in zip(span.dims, span.access.strides, strict=True):
            if s < step:
                inner += (n - 1) * s
            elif s % step:
                return False
        first = span.access.offset % step
        if first + inner >= step:
            return False
        columns.append((first, first + inner))
    return columns[0][1] < columns[1][0] or columns[1][1] < columns[0][0]


def conflict(first: Item, second: Item) -> bool:
    """Whether the order of the two matters."""
    for a in first.spans():
        for b in second.spans():
            if a.access.store == b.access.store and (a.write or b.write) and not apart(a, b):
                return True
    return False


def one_to_one(span: Span) -> bool:
    """Whether each coordinate has an element of its own."""
    if span.whole or span.fold:
        return False
    reach = 0
    for s, n in sorted(zip(map(abs, span.access.strides), span.dims, strict=True)):
        if s <= reach:
            return False
        reach += (n - 1) * s
    return True


def steady(loop: Loop) -> bool:
    """Whether no coordinate of a loop reads or writes what another one writes."""
    spans = loop.spans()
    return not any(_meet(a, b) for k, a in enumerate(spans) for b in spans[k + 1 :])


def _meet(a: Span, b: Span) -> bool:
    """Whether two coordinates may touch one element through these, and one of them writes."""
    if a.access.store != b.access.store or not (a.write or b.write):
        return False
    return not (a.access == b.access and one_to_one(a) and one_to_one(b)) and not apart(a, b)


def joinable(first: Loop, second: Loop) -> bool:
    """Whether the second may be done in the same passes as the first."""
    if first.dims != second.dims or len({s.access for s in (*first.spans(), *second.spans())}) > PLACES:
        return False
    return not any(_meet(a, b) for a in first.spans() for b in second.spans())


def join(first: Loop, second: Loop) -> Loop:
    """One loop that does both."""
    stored = {s.access: s.value for s in first.stores if not s.fold and not s.indices}
    memo: dict[int, Expr] = {}

    def change(e: Expr) -> Expr | None:
        return stored.get(e.data) if e.op == "load" and not e.args else None

    new = [
        Store(s.access, rewrite(s.value, change, memo), tuple(rewrite(i, change, memo) for i in s.indices), s.fold, s.fresh)
        for s in second.stores
    ]
    over = {s.access for s in new if not s.fold and not s.indices}
    return Loop(first.dims, [s for s in first.stores if s.fold or s.indices or s.access not in over] + new)


def add(items: list[Item], new: Item) -> None:
    """Put an item at the end, or join it with an earlier loop."""
    if isinstance(new, Loop):
        stop = max(len(items) - WINDOW, 0)
        movable = True
        for i in range(len(items) - 1, stop - 1, -1):
            old = items[i]
            if isinstance(old, Loop) and joinable(old, new):
                if movable:
                    items[i] = join(old, new)
                    return
                if not any(conflict(old, other) for other in items[i + 1 :]):
                    del items[i]
                    items.append(join(old, new))
                    return
            movable = movable and not conflict(old, new)
    items.append(new)


def live(items: list[Item], wanted: set[int]) -> list[Item]:
    """The items without what nobody reads; `wanted`: stores that are read afterwards."""
    kept: list[Item] = []
    read = set(wanted)
    for item in reversed(items):
        if isinstance(item, Loop):
            stores = [s for s in item.stores if s.access.store in read]
            if not stores:
                continue
            item = item if len(stores) == len(item.stores) else Loop(item.dims, stores)
        elif not any(span.write and span.access.store in read for span in item.spans()):
            continue
        read |= {span.access.store for span in item.spans() if not span.write}
        kept.append(item)
    return kept[::-1]
