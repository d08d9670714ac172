"""Joining loops changes nothing but speed: random programs, walked coordinate by coordinate, joined and not."""

from __future__ import annotations

import itertools
import math
import operator
from random import Random
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlearn.program import machine
from gradlearn.program.assemble import Layout, Parts, Text, lay_out
from gradlearn.program.expression import Access, Expr, binary, compare, load, make, number, where
from gradlearn.program.loops import (
    Item,
    Loop,
    Product,
    Span,
    Store,
    add,
    apart,
    conflict,
    join,
    joinable,
    live,
    one_to_one,
    steady,
    walk,
)

SIZE, STORES = 24, 4  # elements of a store, and how many there are; one more holds numbers of elements
INDEX = STORES
DIMS = [(), (4,), (2, 3), (3, 2), (6,), (2, 2, 2), (1, 4)]

Memory = list[np.ndarray]
_FOLDS = {"add": operator.add, "maximum": max, "minimum": min, "mul": operator.mul}
_NOTHING = {"add": 0.0, "maximum": -math.inf, "minimum": math.inf, "mul": 1.0}
_OPS: dict[str, Any] = {"add": operator.add, "mul": operator.mul, "maximum": max, "minimum": min, "lt": operator.lt}


def memory(seed: int) -> Memory:
    g = np.random.default_rng(seed)
    return [*(g.integers(-3, 4, SIZE).astype(np.float64) for _ in range(STORES)), g.integers(0, SIZE, SIZE)]


def element(access: Access, index: tuple[int, ...], computed: tuple[int, ...] = ()) -> int:
    return access.offset + sum(map(operator.mul, index, access.strides)) + sum(map(operator.mul, computed, access.steps))


def value(e: Expr, index: tuple[int, ...], now: Memory) -> Any:
    args = [value(a, index, now) for a in e.args]
    if e.op == "load":
        return now[e.data.store][element(e.data, index, tuple(args))]
    if e.op == "number":
        return e.data
    if e.op == "index":
        return index[e.data]
    if e.op == "to":
        return args[0]
    return args[1 if args[0] else 2] if e.op == "where" else _OPS[e.op](*args)


def run(items: list[Item], now: Memory, seed: int = 0) -> Memory:
    """What the items do, the coordinates of each loop in some order."""
    now = [a.copy() for a in now]
    for item in items:
        assert isinstance(item, Loop)
        indices = list(itertools.product(*map(range, item.dims)))
        np.random.default_rng(seed).shuffle(indices)
        for s in item.stores:
            if s.fold and s.fresh:
                for index in indices:
                    now[s.access.store][element(s.access, index)] = _NOTHING[s.fold]
        for index in map(tuple, indices):
            ready = [(tuple(value(i, index, now) for i in s.indices), value(s.value, index, now)) for s in item.stores]
            for s, (computed, new) in zip(item.stores, ready, strict=True):
                place = now[s.access.store], element(s.access, index, computed)
                place[0][place[1]] = _FOLDS[s.fold](place[0][place[1]], new) if s.fold else new
    return now


def compiled(items: list[Item], now: Memory) -> Memory:
    """What machine code does."""
    now = [a.copy() for a in now]
    layout = Layout(table={k: (k + 1, 0) for k in range(STORES + 1)})
    spare = [Loop((), [Store(Access(90 + k, "f64", 0, ()), number(0.0, "f64"))]) for k in range(2)]
    lay_out([*items, *spare], {90: 8, 91: 8, 92: 8}, {90, 91, 92}, layout)
    call = machine.compiled(Text(layout).module(Parts([*items, *spare], 90, 91, 92, [], [], [], 2)))[0]
    arena = np.zeros(layout.size + 64, np.uint8)
    table = np.array([arena.ctypes.data + -arena.ctypes.data % 64, *(a.ctypes.data for a in now)], np.int64)
    out = np.zeros(2)
    call(table.ctypes.data, 1, out.ctypes.data, out.ctypes.data)
    return now


def an_access(g: Random, dims: tuple[int, ...], store: int, kind: str = "f64", least: int = 0) -> Access:
    """A place of a loop in a store, backwards also where `least` is below 0."""
    while True:
        strides = tuple(g.choice([s for s in (0, 1, 2, 3, 4, 6, -1, -2) if s >= least]) for _ in dims)
        low = sum(min(0, (n - 1) * s) for n, s in zip(dims, strides, strict=True))
        high = sum(max(0, (n - 1) * s) for n, s in zip(dims, strides, strict=True))
        if high - low < SIZE:
            return Access(store, kind, min(g.choice([0, 1, 2, 3, 4, 12]) - low, SIZE - 1 - high), strides)


def a_value(g: Random, dims: tuple[int, ...]) -> Expr:
    terms = []
    for _ in range(g.randint(1, 3)):
        store, kind = g.randrange(STORES), g.choice(["load", "load", "load", "number", "index", "gather"])
        if kind == "number":
            terms.append(number(g.randint(-3, 3), "f64"))
        elif kind == "index" and dims:
            terms.append(make("to", "f64", (make("index", "i64", (), g.randrange(len(dims))),)))
        elif kind == "gather":
            at = load(an_access(g, dims, INDEX, "i64"))
            terms.append(load(Access(store, "f64", 0, (0,) * len(dims), (1,)), [at]))
        else:
            terms.append(load(an_access(g, dims, store, least=-2)))
    e = terms[0]
    for t in terms[1:]:
        how = g.choice(["add", "maximum", "minimum", "where"])
        e = where(compare("lt", e, t), t, e + 1.0) if how == "where" else binary(how, e, t)
    return e


def any_loop(g: Random) -> Loop:
    dims, store, kind = g.choice(DIMS), g.randrange(STORES), g.choice(["plain", "plain", "plain", "fold", "scatter"])
    e = a_value(g, dims)
    if kind == "scatter":
        at = load(an_access(g, dims, INDEX, "i64"))
        return Loop(dims, [Store(Access(store, "f64", 0, (0,) * len(dims), (1,)), e, (at,), "add", False)])
    access = an_access(g, dims, store)
    if kind == "fold":
        return Loop(dims, [Store(access, e, (), g.choice(["add", "maximum", "minimum"]), g.random() < 0.5)])
    return Loop(dims, [Store(access, e)])


def a_loop(g: Random) -> Loop:
    """One that an operation may be: the order within it does not matter."""
    while True:
        loop = any_loop(g)
        if steady(loop) and all(s.fold or one_to_one(Span(s.access, loop.dims, True, False)) for s in loop.stores):
            return loop


def a_program(g: Random) -> list[Loop]:
    return [a_loop(g) for _ in range(g.randint(2, 7))]


def a_span(g: Random) -> Span:
    dims = g.choice(DIMS)
    return Span(an_access(g, dims, 0, least=-2), dims, True, False)


chance = st.integers(0, 1 << 40).map(Random)


def elements(span: Span) -> list[int]:
    return [element(span.access, index) for index in itertools.product(*map(range, span.dims))]


def equal(a: Memory, b: Memory) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def joined(items: list[Loop]) -> list[Item]:
    found: list[Item] = []
    for item in items:
        add(found, item)
    return found


@settings(max_examples=200, deadline=None)
@given(chance)
def test_what_is_apart_has_no_common_element(g: Random) -> None:
    a, b = a_span(g), a_span(g)
    assert not apart(a, b) or not set(elements(a)) & set(elements(b))


@settings(max_examples=100, deadline=None)
@given(chance)
def test_what_is_one_to_one_has_an_element_for_each_coordinate(g: Random) -> None:
    span = a_span(g)
    assert not one_to_one(span) or len(set(elements(span))) == len(elements(span))


def test_parts_of_tensors_are_known_to_be_apart() -> None:
    def span(offset: int, dims: tuple[int, ...], strides: tuple[int, ...], kind: str = "f32") -> Span:
        return Span(Access(0, kind, offset, strides), dims, True, False)

    assert apart(span(0, (4,), (1,)), span(4, (4,), (1,)))  # halves
    assert apart(span(0, (3, 2), (4, 1)), span(2, (3, 2), (4, 1)))  # halves of every row
    assert apart(span(0, (6,), (2,)), span(1, (6,), (2,)))  # real and imaginary parts
    assert not apart(span(0, (3, 2), (4, 1)), span(1, (3, 2), (4, 1)))
    assert not apart(span(0, (4,), (1,)), span(4, (4,), (1,), "f64"))  # the fourth float64 lies elsewhere than the fourth float32


@settings(max_examples=50, deadline=None)
@given(chance)
def test_the_order_within_a_steady_loop_does_not_matter(g: Random) -> None:
    loop = a_loop(g)
    assert equal(run([loop], memory(0), 1), run([loop], memory(0), 2))


@settings(max_examples=100, deadline=None)
@given(chance)
def test_what_does_not_conflict_may_change_places(g: Random) -> None:
    a, b = a_loop(g), a_loop(g)
    assert conflict(a, b) or equal(run([a, b], memory(0)), run([b, a], memory(0)))


@settings(max_examples=150, deadline=None)
@given(chance)
def test_joined_loops_give_the_same_numbers(g: Random) -> None:
    items = a_program(g)
    assert equal(run(joined(items), memory(0), 1), run(list(items), memory(0)))


@settings(max_examples=50, deadline=None)
@given(chance)
def test_joined_loops_are_steady_still(g: Random) -> None:
    for item in joined(a_program(g)):
        assert isinstance(item, Loop)
        assert steady(item)


@settings(max_examples=50, deadline=None)
@given(chance)
def test_what_is_left_out_is_read_by_nobody(g: Random) -> None:
    items = joined(a_program(g))
    for wanted in range(STORES):
        assert np.array_equal(run(items, memory(0))[wanted], run(live(items, {wanted}), memory(0))[wanted])


@settings(max_examples=20, deadline=None)
@given(chance)
def test_machine_code_of_joined_loops_gives_the_same_numbers(g: Random) -> None:
    items = a_program(g)
    assert equal(compiled(joined(items), memory(0)), run(list(items), memory(0)))


def flat(store: int, n: int = 6) -> Access:
    return Access(store, "f64", 0, (1,))


def test_a_chain_becomes_one_loop_that_keeps_its_values_in_registers() -> None:
    chain = [Loop((6,), [Store(flat(k + 1), load(flat(k)) * 2.0)]) for k in range(3)]
    (loop,) = live(joined(chain), {3})
    assert isinstance(loop, Loop)
    assert [e.data.store for e in walk([loop.stores[0].value]) if e.op == "load"] == [0]
    assert [s.access.store for s in loop.stores] == [3]


def test_what_is_computed_twice_is_one_expression() -> None:
    assert load(flat(0)) + 1.0 is load(flat(0)) + 1.0
    assert load(flat(0)) + 1.0 is not load(flat(1)) + 1.0


def test_a_loop_moves_over_others_to_meet_its_partner() -> None:
    first, last = Loop((6,), [Store(flat(1), load(flat(0)) + 1.0)]), Loop((6,), [Store(flat(2), load(flat(1)) * 2.0)])
    both = joined([first, Loop((4,), [Store(flat(3), number(1.0, "f64"))]), last])
    assert [len(item.stores) for item in both if isinstance(item, Loop)] == [2, 1]


def square(store: int) -> Access:
    return Access(store, "f64", 0, (2, 1, 0))


def test_a_loop_does_not_move_over_a_product_that_needs_it_or_makes_what_it_needs() -> None:
    first, product = Loop((4,), [Store(flat(1), load(flat(0)) + 1.0)]), Product("f64", (2, 2, 2), square(1), square(0), square(2))
    for new in (Loop((4,), [Store(flat(1), load(flat(1)) * 2.0)]), Loop((4,), [Store(flat(3), load(flat(2)) * 2.0)])):
        items: list[Item] = []
        for item in (first, product, new):
            add(items, item)
        assert [type(i) for i in items] == [Loop, Product, Loop]


def test_a_sum_is_not_joined_with_what_reads_it() -> None:
    total = Loop((6,), [Store(Access(1, "f64", 0, (0,)), load(flat(0)), (), "add")])
    use = Loop((6,), [Store(flat(2), load(flat(0)) * load(Access(1, "f64", 0, (0,))))])
    assert not joinable(total, use)
    assert joinable(use, Loop((6,), [Store(flat(3), load(flat(2)))]))


def test_what_is_overwritten_in_the_same_pass_is_stored_once() -> None:
    both = join(Loop((6,), [Store(flat(1), load(flat(0)))]), Loop((6,), [Store(flat(1), load(flat(1)) + 1.0)]))
    assert len(both.stores) == 1
    assert equal(run([both], memory(0)), run([Loop((6,), [Store(flat(1), load(flat(0)) + 1.0)])], memory(0)))


def test_a_fold_gathers_whatever_meets_in_one_element() -> None:
    for seen in ((4, 2, 1), (1, 2, 4)):
        x, ways = (
            load(Access(0, "f64", 0, seen)),
            [Access(k + 1, "f64", 4, s) for k, s in enumerate([(6, 6, 0), (6, 0, 6), (0, 6, 6)])],
        )
        items: list[Item] = [Loop((2, 2, 2), [Store(way, x, (), "add")]) for way in ways]
        assert equal(compiled(items, memory(0)), run(items, memory(0)))
