"""The only source of randomness: pure, uniform, the same in every process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradlearn import chance

counters = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4)


@given(st.integers(-(2**70), 2**70), st.sampled_from(["order", "batch", "x"]), counters)
def test_the_scalar_key_is_the_bits_of_the_vector(seed: int, purpose: str, at: list[int]):
    assert chance.key(seed, purpose, *at) == int(chance.bits(seed, purpose, *at)[0]) >> 1


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1), st.lists(st.integers(0, 2**62), min_size=1, max_size=20))
def test_an_array_of_counters_gives_what_each_counter_gives(seed: int, a: int, numbers: list[int]):
    together = chance.bits(seed, "p", a, np.array(numbers, dtype=np.int64))
    assert together.tolist() == [int(chance.bits(seed, "p", a, n)[0]) for n in numbers]


def test_counters_broadcast_against_each_other():
    grid = chance.bits(3, "p", np.arange(4)[:, None], np.arange(5)[None])
    assert grid.shape == (4, 5)
    assert all(grid[i, j] == chance.bits(3, "p", i, j)[0] for i in range(4) for j in range(5))


def test_these_values_are_for_ever():
    """A change here changes every run that anybody has saved."""
    assert chance.key(0, "batch", 0) == 6279763340372157901
    assert chance._scalar_mix(0) == 0xE220A8397B1DCDAF  # splitmix64's first output for state 0, from its authors' code


def test_draws_are_the_same_in_another_process():
    code = "from gradlearn import chance; print(chance.key(1, 'a', 2), chance.permutation(5, 1, 'o', 0).tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{chance.key(1, 'a', 2)} {chance.permutation(5, 1, 'o', 0).tolist()}"


def test_seed_purpose_and_each_counter_matter():
    base = chance.key(0, "a", 1, 2)
    others = [chance.key(1, "a", 1, 2), chance.key(0, "b", 1, 2), chance.key(0, "a", 2, 2), chance.key(0, "a", 1, 3)]
    others += [chance.key(0, "a", 2, 1), chance.key(0, "a", 1), chance.key(0, "a", 1, 2, 0)]
    assert len({base, *others}) == 8


def chi_square(observed: np.ndarray) -> float:
    """How many standard deviations the chi-square statistic of equal cells is above its mean."""
    expected = observed.sum() / observed.size
    statistic = ((observed - expected) ** 2 / expected).sum()
    return float((statistic - (observed.size - 1)) / np.sqrt(2 * (observed.size - 1)))


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_uniform_is_uniform_also_in_pairs(seed: int):
    u = chance.uniform(seed, "u", 7, np.arange(200_000))
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert abs(chi_square(np.bincount((u * 256).astype(int), minlength=256))) < 4
    pairs = (u[:-1] * 32).astype(int) * 32 + (u[1:] * 32).astype(int)
    assert abs(chi_square(np.bincount(pairs, minlength=1024))) < 4.5
    steps = chance.uniform(seed, "u", np.arange(200_000), 7)  # along the other counter
    assert abs(chi_square(np.bincount((steps * 256).astype(int), minlength=256))) < 4
    assert abs(np.corrcoef(u, steps)[0, 1]) < 0.01


def test_integers_are_uniform_below_their_bound():
    k = chance.integers(10, 0, "i", np.arange(100_000))
    assert set(k.tolist()) == set(range(10))
    assert abs(chi_square(np.bincount(k, minlength=10))) < 4


def test_every_bit_is_a_fair_coin():
    words = chance.bits(5, "w", np.arange(50_000))
    ones = np.array([int(((words >> np.uint64(b)) & np.uint64(1)).sum()) for b in range(64)])
    assert np.abs(ones - 25_000).max() < 5 * np.sqrt(50_000) / 2


def test_a_permutation_has_each_number_once_and_every_order_alike():
    orders = [tuple(chance.permutation(4, 0, "order", epoch).tolist()) for epoch in range(4800)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    _, counts = np.unique(np.array(orders) @ [64, 16, 4, 1], return_counts=True)
    assert len(counts) == 24
    assert abs(chi_square(counts)) < 4
    assert chance.permutation(0, 0, "order").tolist() == []


def test_reseed_fixes_what_a_module_draws_and_preserved_puts_it_back():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with chance.preserved():
        chance.reseed(11)
        first = torch.rand(5)
        chance.reseed(11, 1)
        second = torch.rand(5)
        chance.reseed(11)
        assert torch.equal(torch.rand(5), first)
        assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    for _ in range(2):  # also on the way out of an error
        with pytest.raises(ZeroDivisionError), chance.preserved():
            raise ZeroDivisionError(torch.rand(3))
    assert torch.equal(torch.get_rng_state(), before)
