"""The budget goes to who improves; nobody is starved; the search ends with the budget."""

from __future__ import annotations

import math

import pytest
import torch

from gradlearn.minimum.function import Calls, Function, Spent
from gradlearn.minimum.share import Search
from gradlearn.minimum.terrain import Terrain

F64 = torch.float64


def terrain(evaluations):
    def f(x):
        return x.abs().sum(-1) + 1.0

    function = Function(Calls(lambda x: float(f(x)), None, f), *(torch.full((2,), v, dtype=F64) for v in (4.0, -5.0, 5.0)), 0.0)
    function.max_evals = evaluations
    function.value(function.start)
    return Terrain(function, 0)


class Idle:
    """Evaluates, finds nothing."""

    def __call__(self, on, round):
        for _ in range(50):
            on.values(torch.full((10, 2), 0.99, dtype=F64))
            yield 9.0


class Lucky:
    """A little lower each time."""

    def __init__(self):
        self.at = 0.99

    def __call__(self, on, round):
        for _ in range(50):
            self.at = 0.5 + 0.99 * (self.at - 0.5)
            on.values(torch.full((10, 2), self.at, dtype=F64))
            yield 1.0


class Empty:
    """Has nothing to do here."""

    def __call__(self, on, round):
        return
        yield


def test_who_improves_has_more_and_nobody_is_starved():
    search = Search(terrain(20000), {"idle": Idle(), "lucky": Lucky(), "idler": Idle()}, True)
    search.polish = lambda *_: None
    with pytest.raises(Spent):
        search.run()
    shares = search.shares()
    assert shares["lucky"] > 1.5 * shares["idle"]
    assert min(shares[name] for name in ("idle", "lucky", "idler")) > 0.08


def test_who_has_nothing_to_do_is_dropped():
    search = Search(terrain(3000), {"empty": Empty(), "idle": Idle()}, True)
    with pytest.raises(Spent):
        search.run()
    assert [a.name for a in search.accounts] == ["idle"]


def test_the_search_ends_where_nobody_is_left():
    search = Search(terrain(3000), {"empty": Empty()}, True)
    search.run()
    assert search.accounts == []


def test_an_opening_goes_first():
    order = []

    class First(Idle):
        opening = 2

        def __call__(self, on, round):
            order.append(("first", round))
            on.values(torch.full((5, 2), 0.9, dtype=F64))
            yield 1.0

    class Second(Idle):
        def __call__(self, on, round):
            order.append(("second", round))
            yield from super().__call__(on, round)

    search = Search(terrain(2000), {"second": Second(), "first": First()}, True)
    with pytest.raises(Spent):
        search.run()
    assert order[:3] == [("first", 0), ("first", 1), ("second", 0)]


def test_a_side_without_bounds_moves_out():
    f = Function(
        Calls(lambda x: float(x.sum()), None),
        torch.zeros(2, dtype=F64),
        torch.tensor([-math.inf, 0.0], dtype=F64),
        torch.tensor([math.inf, math.inf], dtype=F64),
        0.0,
    )
    on = Terrain(f, 0)
    assert bool(torch.isfinite(on.low).all())
    assert float(on.low[1]) == 0.0
    before = on.width.clone()
    f.best = torch.tensor([float(on.high[0]) * 0.99, 1.0], dtype=F64)
    assert on.widen()
    assert float(on.width[0]) == 2 * float(before[0])
    assert float(on.unit(f.best)[0]) < 0.6
    assert not on.widen()
    assert float(on.low[1]) == 0.0
