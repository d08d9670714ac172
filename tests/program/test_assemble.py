"""The whole program: where stores lie, what is done when, and products of matrices wherever they lie."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlearn.program import machine
from gradlearn.program.assemble import ALIGN, Layout, Parts, Text, lay_out
from gradlearn.program.expression import Access, Expr, load, number
from gradlearn.program.loops import Item, Loop, Product, Store

LOSS, SQUARE, FACTOR = 1000, 1001, 1002


def place(store: int, dims: int = 0) -> Access:
    return Access(store, "f64", 0, (1,) * dims)


def a_list(g: Random) -> list[Item]:
    def item() -> Item:
        a, b, c = (g.randrange(12) for _ in range(3))
        if g.random() < 0.3:
            one = Access(a, "f64", 0, (1, 1, 0))
            return Product("f64", (1, 1, 1), one, one._replace(store=b), one._replace(store=c))
        return Loop((2,), [Store(place(c, 1), load(place(a, 1)) + load(place(b, 1)))])

    return [item() for _ in range(g.randint(1, 20))]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 40).map(Random))
def test_no_two_stores_share_memory_while_both_are_needed(g: Random) -> None:
    items, sizes = a_list(g), {store: g.choice([1, 8, 64, 65, 500]) for store in range(10)}  # the others lie elsewhere
    kept, layout = {g.randrange(10) for _ in range(2)}, Layout()
    lay_out(items, sizes, kept, layout)
    times: dict[int, list[int]] = {store: [0, len(items)] for store in kept}
    for i, item in enumerate(items):
        for span in item.spans():
            times.setdefault(span.access.store, []).append(i)
    assert layout.arena.keys() == times.keys() & sizes.keys()
    for store, start in layout.arena.items():
        assert start % ALIGN == 0
        assert start + sizes[store] <= layout.size
    for a, b in itertools.combinations(layout.arena, 2):
        at_once = min(times[a]) <= max(times[b]) and min(times[b]) <= max(times[a])
        shared = layout.arena[a] < layout.arena[b] + sizes[b] and layout.arena[b] < layout.arena[a] + sizes[a]
        assert not (at_once and shared)


def test_memory_is_used_again() -> None:
    chain: list[Item] = [Loop((8,), [Store(place(k + 1, 1), load(place(k, 1)) + 1.0)]) for k in range(9)]
    layout = Layout()
    lay_out(chain, dict.fromkeys(range(10), 64), set(), layout)
    assert layout.size == 128


def scalar(store: int, value: Expr) -> Loop:
    return Loop((), [Store(place(store), value)])


def run(parts: Parts, table: dict[int, tuple[np.ndarray, int]], steps: int, numbers: np.ndarray) -> tuple[int, np.ndarray]:
    """(steps done, out) of a program whose outer stores are arrays, which move on by so many bytes a step."""
    layout = Layout(table={store: (i + 1, step) for i, (store, (_, step)) in enumerate(table.items())})
    items = [*parts.body, *parts.clip, *parts.update, *parts.average]
    lay_out(items, {LOSS: 8, SQUARE: 8, FACTOR: 8}, {LOSS, SQUARE, FACTOR}, layout)
    call = machine.compiled(Text(layout).module(parts))[0]
    arena, out = np.zeros(layout.size + 64, np.uint8), np.zeros((steps, 2))
    addresses = [arena.ctypes.data + -arena.ctypes.data % 64, *(a.ctypes.data for a, _ in table.values())]
    kept = np.array(addresses, np.int64)
    return call(kept.ctypes.data, steps, numbers.ctypes.data, out.ctypes.data), out


def a_step(**more: Any) -> Parts:
    """loss <- x, square <- y^2; theta <- theta + third number of the step; the average counts its looks."""
    body: list[Item] = [scalar(LOSS, load(place(0))), scalar(SQUARE, load(place(1)) * load(place(1)))]
    update: list[Item] = [scalar(2, load(place(2)) + load(place(4)._replace(offset=2)))]
    average: list[Item] = [scalar(3, load(place(3)) + 1.0)]
    clip: list[Item] = [scalar(5, load(place(FACTOR)))]
    return Parts(
        **{"body": body, "update": update, "average": average, "clip": clip, "loss": LOSS} | more,
        square=SQUARE,
        factor=FACTOR,
        numbers=3,
    )


def a_table(x: list[float], y: list[float], numbers: np.ndarray) -> dict[int, tuple[np.ndarray, int]]:
    own = {k: (np.zeros(1), 0) for k in (2, 3, 5)}
    return {0: (np.array(x), 8), 1: (np.array(y), 8), 4: (numbers, 24), **own}


def test_each_step_has_its_own_numbers() -> None:
    numbers = np.array([[0.0, k % 2, 10.0**k] for k in range(4)])
    table = a_table([1.0, 2.0, 3.0, 4.0], [-1.0, 0.0, 3.0, 2.0], numbers)
    done, out = run(a_step(), table, 4, numbers)
    assert done == 4
    assert out.tolist() == [[1.0, 1.0], [2.0, 0.0], [3.0, 3.0], [4.0, 2.0]]
    assert table[2][0][0] == 1111.0
    assert table[3][0][0] == 2.0  # the average looked twice


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 1])
def test_a_step_that_is_not_finite_ends_it_and_moves_nothing(bad: float, where: int) -> None:
    numbers, values = np.array([[0.0, 1.0, 1.0]] * 4), [[1.0, 2.0, 3.0, 4.0] for _ in range(2)]
    values[where][2] = bad
    table = a_table(*values, numbers)
    done, out = run(a_step(), table, 4, numbers)
    assert done == 2
    assert table[2][0][0] == table[3][0][0] == 2.0
    assert np.array_equal(out[2], [values[0][2], abs(values[1][2])], equal_nan=True)
    assert not out[3].any()


def test_a_gradient_that_is_too_long_is_scaled() -> None:
    """The factor stays what it was where nothing is scaled; a bound below 0 is a remedy's, beyond ten times it nothing is left."""
    for clip, factor in ((0.0, 0.0), (5.0, 0.0), (4.0, 0.0), (2.0, 0.5), (0.1, 0.025), (-5.0, 0.0), (-2.0, 0.5), (-0.1, 0.0)):
        numbers = np.array([[clip, 0.0, 1.0]])
        table = a_table([1.0], [-4.0], numbers)
        run(a_step(), table, 1, numbers)
        assert table[5][0][0] == factor
        assert table[2][0][0] == 1.0


def test_a_loop_over_nothing_is_left_out() -> None:
    numbers = np.array([[0.0, 0.0, 1.0]])
    table = a_table([1.0], [1.0], numbers)
    run(a_step(update=[Loop((3, 0), [Store(Access(2, "f64", 0, (0, 1)), number(7.0, "f64"))])]), table, 1, numbers)
    assert table[2][0][0] == 0.0


LIE = {"rows": (1, 0), "columns": (0, 1), "wide rows": (3, 0), "wide columns": (0, 3)}


def laid(lie: str, rows: int, columns: int, batch: int, start: int) -> tuple[Access, int]:
    """A batch of matrices somewhere in a store, and how many elements they reach over."""
    by_row, by_column = LIE[lie]
    strides = (columns + by_row - 1, 1) if by_row else (1, rows + by_column - 1)
    size = max(strides) * max(rows, columns)
    return Access(0, "f64", start, (*strides, size)), start + size * batch


@pytest.mark.parametrize(
    ("size", "kind"),
    [((4, 5, 6), "f32"), ((4, 5, 6), "f64"), ((1, 5, 6), "f64"), ((4, 1, 6), "f64"), ((4, 5, 1), "f32"), ((1, 1, 6), "f32")],
)
def test_products_are_numpys_wherever_the_matrices_lie(size: tuple[int, int, int], kind: str) -> None:
    m, n, k = size
    items: list[Item] = []
    wanted: list[tuple[Product, np.ndarray]] = []
    g = np.random.default_rng(0)
    dtype = np.float32 if kind == "f32" else np.float64
    stores: list[np.ndarray] = []
    for i, lies in enumerate(itertools.product(LIE, repeat=3)):
        batch, add = ((1, False), (3, True), (3, False))[i % 3]
        found = []
        for j, (lie, rows, columns) in enumerate(zip(lies, (m, k, m), (k, n, n), strict=True)):
            access, reach = laid(lie, rows, columns, batch, start=j)
            if batch > 1 and j == 0 and lie == "rows":
                access = access._replace(strides=(*access.strides[:2], 0))  # one for all
            stores.append(g.standard_normal(reach).astype(dtype))
            found.append(access._replace(store=len(stores) - 1, kind=kind))
        p = Product(kind, size, *found, batch, add)
        a, b, out = (seen(stores[x.store], x, shape, batch) for x, shape in zip(found, ((m, k), (k, n), (m, n)), strict=True))
        items.append(p)
        wanted.append((p, a @ b + (out if add else 0.0)))
    before = [s.copy() for s in stores]
    run(
        a_step(body=[*items, scalar(LOSS, number(0.0, "f64")), scalar(SQUARE, number(0.0, "f64"))], update=[], average=[], clip=[]),
        {i: (s, 0) for i, s in enumerate(stores)},
        1,
        np.zeros((1, 3)),
    )
    for p, true in wanted:
        out = seen(stores[p.out.store], p.out, (m, n), p.batch)
        np.testing.assert_allclose(out, true, rtol=0, atol=1e-5 if kind == "f32" else 1e-13)
        seen(before[p.out.store], p.out, (m, n), p.batch)[:] = out
        assert np.array_equal(before[p.out.store], stores[p.out.store])  # nothing beside it was written


def seen(memory: np.ndarray, access: Access, shape: tuple[int, int], batch: int) -> np.ndarray:
    strides = tuple(s * memory.itemsize for s in (access.strides[2], *access.strides[:2]))
    return np.lib.stride_tricks.as_strided(memory[access.offset :], (batch, *shape), strides)


def test_a_matrix_that_is_multiplied_by_often_is_packed_and_gives_the_same() -> None:
    g = torch.Generator().manual_seed(0)
    w, x = torch.randn(80, 64, generator=g), torch.randn(6, 5, 80, generator=g)
    y = torch.zeros(6, 5, 64)

    def product(i: int) -> Product:
        a, out = Access(1, "f32", i * 400, (80, 1, 0)), Access(2, "f32", i * 320, (64, 1, 0))
        return Product("f32", (5, 64, 80), a, Access(0, "f32", 0, (64, 1, 0)), out)

    body: list[Item] = [*map(product, range(6)), scalar(LOSS, number(0.0, "f64")), scalar(SQUARE, number(0.0, "f64"))]
    table = {i: (t.numpy(), 0) for i, t in enumerate((w, x, y))}
    run(a_step(body=body, update=[], average=[], clip=[]), table, 1, np.zeros((1, 3)))
    torch.testing.assert_close(y, x @ w, rtol=1e-5, atol=1e-5)
