"""Sums of products without a loop: what a product is only added to, and nobody needs afterwards, it is added to in place.

    c = a b;  z = x + c      becomes      x <- x + a b,  and z is x

The gradient of a weight that is used at every step of a sequence gathers in one place so, and stays in the cache: the library reads
and writes its result anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gradlearn.program.expression import KINDS, Access
from gradlearn.program.frame import Body
from gradlearn.program.loops import Product, Span, apart, conflict
from gradlearn.program.recording import Op, Place, operands


class Sums:
    """Finds such sums while a step is written down, operation by operation.

    Args:
        ops: the whole step.
        made: stores that it makes.
        wanted: stores that are read after it.
        results: stores that are read after it, wherever they lie by then (`at`).
    """

    def __init__(self, ops: Sequence[Op], made: set[int], wanted: set[int], results: Iterable[int] = ()) -> None:
        self.instead: dict[int, tuple[int, int]] = {}  # store -> (store it has become, first element there)
        self._made, self._free = made - wanted, made - wanted - set(results)
        self._reads: dict[int, list[tuple[int, Place]]] = {}
        for i, op in enumerate(ops):
            for place in [*operands(op.args), *operands(op.kwargs)]:
                if not (not op.mutates and any(o.store == place.store for o in operands(op.outs))):  # a view reads nothing
                    self._reads.setdefault(place.store, []).append((i, place))

    def at(self, value: Any) -> Any:
        """A recorded argument with every place where it lies by now."""
        if isinstance(value, Place):
            if value.store not in self.instead:
                return value
            store, start = self.instead[value.store]
            return value._replace(store=store, offset=value.offset + start)
        if isinstance(value, (tuple, list)):
            return tuple(map(self.at, value))
        return {k: self.at(v) for k, v in value.items()} if isinstance(value, dict) else value

    def add(self, body: Body, op: Op, index: int) -> bool:
        """Do this sum in place, if it is one."""
        if op.name not in ("add.Tensor", "add_.Tensor") or op.kwargs or len(op.args) != 2:
            return False
        x, c = op.args
        if not (isinstance(x, Place) and isinstance(c, Place) and len(x.shape) == 2 and x.shape == c.shape and x.dtype == c.dtype):
            return False
        return self._gather(body, op, index, x, c) or (not op.mutates and self._gather(body, op, index, c, x))

    def _gather(self, body: Body, op: Op, index: int, x: Place, c: Place) -> bool:
        out, kind = op.outs[0], KINDS.get(x.dtype)
        if x.store == c.store or not {x.store, c.store} <= self._free or len(self._reads.get(c.store, ())) != 1:
            return False
        at = next((i for i in range(len(body.items) - 1, -1, -1) if _writes(body.items[i], self.at(c).store)), -1)
        product = body.items[at] if at >= 0 else None
        if not isinstance(product, Product) or product.add or product.batch > 1 or product.kind != kind:
            return False
        whole = c.offset == 0 and product.out.offset == self.at(c).offset and product.out.strides[:2] == c.strides
        whole = whole and product.size[:2] == c.shape and body.sizes[c.store] == c.shape[0] * c.shape[1] * c.dtype.itemsize
        if not whole or x.strides[1] != 1 or x.strides[0] < x.shape[1]:
            return False
        if out.store != x.store and not self._over(out, x, index, body):
            return False
        if out.store == x.store and out != x:
            return False
        inputs = Product(product.kind, product.size, product.a, product.b, product.out)
        if any(conflict(inputs, item) for item in body.items[at + 1 :]):
            return False
        here = self.at(x)
        target = product.out._replace(store=here.store, offset=here.offset, strides=(*x.strides, 0))
        own = Span(target, (*x.shape, 1), True, False)
        if any(s.access.store == here.store and not apart(s, own) for s in product.spans()[:2]):
            return False  # the library reads its factors while it writes
        if not any(_writes(item, here.store) for item in body.items):
            return False  # a constant, or what nobody has made yet
        if out.store != x.store:
            self.instead[out.store] = (here.store, here.offset)
        del body.items[at]
        body.items.append(Product(product.kind, product.size, product.a, product.b, target, 1, True))
        return True

    def _over(self, out: Place, x: Place, index: int, body: Body) -> bool:
        """Whether `out` may lie where x is: a store of its own, of the same order, and nobody reads x again."""
        if out.store not in self._made or out.offset or out.strides != x.strides:
            return False
        if body.sizes[out.store] != x.shape[0] * x.strides[0] * x.dtype.itemsize:
            return False
        own = _span(x)
        return not any(i > index and not apart(_span(p), own) for i, p in self._reads.get(x.store, ()))


def _span(p: Place) -> Span:
    return Span(Access(p.store, "f32", p.offset, p.strides), p.shape, True, False)


def _writes(item: Any, store: int) -> bool:
    return any(s.write and s.access.store == store for s in item.spans())
