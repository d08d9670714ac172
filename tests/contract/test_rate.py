"""Every rate: a factor in [0, 1], a pure function of when."""

from __future__ import annotations

import math

import pytest

from gradlearn.errors import InputTrouble
from gradlearn.find import find, names
from gradlearn.symbols import Now

NAMES = names("rate")
FALLING = ("linear", "cosine")


def factors(name: str, T: int, **options: float) -> list[float]:
    rate = find("rate", name)(**options)
    return [rate(Now(t, T, 0, 0)) for t in range(T)]


@pytest.mark.parametrize("T", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_a_factor_is_in_zero_to_one(name: str, T: int):
    assert all(0.0 <= f <= 1.0 for f in factors(name, T))
    assert max(factors(name, T)) > 0.0


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_is_a_pure_function_of_when(name: str):
    forward = factors(name, 100)
    rate = find("rate", name)()
    backward = [rate(Now(t, 100, 0, 0)) for t in reversed(range(100))]
    assert forward == backward[::-1]
    assert [rate(Now(t, 100, 64 * t, 7, 3)) for t in range(100)] == forward, "examples, seed and round do not matter"


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_depends_on_the_share_of_the_run_only(name: str):
    """Ten times the steps is the same curve, ten times as fine."""
    assert factors(name, 10_000)[5::10] == pytest.approx(factors(name, 1000), abs=0.01)


@pytest.mark.parametrize("name", FALLING)
def test_a_falling_rate_falls_from_one_to_near_zero(name: str):
    f = factors(name, 1000)
    assert f == sorted(f, reverse=True)
    assert f[0] > 0.999
    assert f[-1] < 0.001
    assert f[500] == pytest.approx(0.5, abs=0.002)


@pytest.mark.parametrize("name", FALLING)
def test_a_floor_is_where_it_ends(name: str):
    f = factors(name, 1000, floor=0.1)
    assert f[-1] == pytest.approx(0.1, abs=0.001)
    assert f[0] > 0.999


def test_linear_and_cosine_are_their_formulas():
    assert factors("linear", 4) == [0.875, 0.625, 0.375, 0.125]
    assert factors("cosine", 4) == pytest.approx([(1 + math.cos(math.pi * k / 8)) / 2 for k in (1, 3, 5, 7)], abs=1e-15)


def test_constant_is_one():
    assert set(factors("constant", 50)) == {1.0}


def test_warmup_rises_in_a_straight_line_and_stays():
    f = factors("warmup", 1000)
    assert f[0] == pytest.approx(1 / 50)
    assert f[:50] == pytest.approx([(t + 1) / 50 for t in range(50)])
    assert set(f[49:]) == {1.0}
    assert factors("warmup", 1000, share=0.2)[199:201] == [1.0, 1.0]
    assert factors("warmup", 1000, share=0.2)[99] == pytest.approx(0.5)


def test_warmup_has_its_least_steps_but_never_more_than_half_of_the_run():
    assert factors("warmup", 100)[:10] == pytest.approx([(t + 1) / 10 for t in range(10)])
    assert factors("warmup", 6) == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])
    assert factors("warmup", 1) == [1.0]


@pytest.mark.parametrize(
    ("name", "options"),
    [("warmup", {"share": 1.0}), ("warmup", {"share": -0.1}), ("linear", {"floor": 1.5}), ("cosine", {"floor": -0.1})],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, float]):
    with pytest.raises(InputTrouble, match=f"--{name}.{next(iter(options))} .*must be in"):
        find("rate", name)(**options)
