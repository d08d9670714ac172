"""Matrix products as calls of the library that PyTorch itself uses; what is multiplied by again and again is packed once a step.

The library counts by columns: out^T = b^T a^T, or out = a b where `out` lies by columns. Before it multiplies it lays the larger
matrix out for the processor; a recurrent layer's weight is multiplied at each step of a sequence, and laid out once for all here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gradlearn.program.expression import Access
from gradlearn.program.loops import Item, Product
from gradlearn.program.unfit import Unfit

OFTEN = 4  # products by one matrix from which it is packed
LARGE = 1 << 12  # elements of it


class Oriented(NamedTuple):
    """A product as the library sees it: out (m, n) <- second (m, k) first (k, n), each by rows."""

    first: Access
    second: Access
    out: Access
    m: int
    n: int
    k: int
    turns: tuple[str, str]  # "N" or "T" of first and second
    leads: tuple[int, int, int]  # leading dimensions


def orient(p: Product) -> Oriented:
    """Rows for columns, or as it is where the result lies by columns. Raises Unfit."""
    m, n, k = p.size
    first, second, out = p.b, p.a, p.out
    if p.out.strides[1] != 1 and n > 1 and (p.out.strides[0] == 1 or m == 1):
        m, n = n, m
        first, second, out = (_turn(a) for a in (p.a, p.b, p.out))
    (turn1, lead1), (turn2, lead2) = _turned(first, k, n), _turned(second, m, k)
    return Oriented(first, second, out, m, n, k, (turn1, turn2), (lead1, lead2, max(out.strides[0], n, 1)))


def _turn(a: Access) -> Access:
    return a._replace(strides=(a.strides[1], a.strides[0], a.strides[2]))


def _turned(access: Access, rows: int, columns: int) -> tuple[str, int]:
    """("N" or "T", leading dimension) of a matrix by rows, as a library that counts by columns sees it."""
    down, right = access.strides[:2]
    if (right == 1 or columns == 1) and (down >= columns or rows == 1):
        return "N", max(down if rows > 1 else columns, columns, 1)
    if (down == 1 or rows == 1) and (right >= rows or columns == 1):
        return "T", max(right if columns > 1 else rows, rows, 1)
    raise Unfit("multiplies matrices that lie in no order")


def packable(items: Sequence[Item]) -> list[tuple[Oriented, list[int]]]:
    """Matrices that several of these products are by, and that none of the items changes: with the products' places in the list."""
    written = {span.access.store for item in items for span in item.spans() if span.write}
    found: dict[tuple[object, ...], tuple[Oriented, list[int]]] = {}
    for i, p in enumerate(items):
        if isinstance(p, Product) and p.batch == 1 and p.kind == "f32":
            o = orient(p)
            key = (o.first, o.m, o.n, o.k, o.turns[0], o.leads[0])
            if o.first.store not in written and o.n * o.k >= LARGE:
                found.setdefault(key, (o, []))[1].append(i)
    return [(o, places) for o, places in found.values() if len(places) >= OFTEN]
