"""Every way to choose a batch: a pure function of (seed, round, examples seen, dial); once an epoch all of the data, as said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import torch

from gradlearn.errors import InputTrouble
from gradlearn.find import default, find, names
from gradlearn.symbols import Now

NAMES = names("batches")
WHOLE = [name for name in NAMES if getattr(find("batches", name), "once_an_epoch", True)]
GROWING = [name for name in NAMES if getattr(find("batches", name), "grows", False)]


def facts(kind: type, n: int) -> dict[str, torch.Tensor]:
    """What it wants to know of n examples."""
    known = {"labels": torch.arange(n) % 3 % 2, "lengths": 1 + torch.arange(n) * 7 % 10}
    return {what: known[what] for what in getattr(kind, "wants", ())}


def made(name: str, n: int, size: int = 4):
    kind = find("batches", name)
    return kind(n, **facts(kind, n), **({"size": size} if default("batches", name, "size") else {}))


def stream(batches, epochs: int, n: int, seed: int = 0, round: int = 0, dial: Sequence[int] = (0,)) -> list[torch.Tensor]:
    """The batches of so many epochs; step t has the dial at dial[t], and at the last from then on."""
    out, seen = [], 0
    while seen < epochs * n:
        out.append(batches(Now(len(out), 10**6, seen, seed, round, dial[min(len(out), len(dial) - 1)])))
        seen += len(out[-1])
    return out


@pytest.mark.parametrize("n", [1, 2, 7, 10, 12])
@pytest.mark.parametrize("name", WHOLE)
def test_every_example_comes_once_an_epoch_also_where_batches_straddle_epochs(name: str, n: int):
    batches = made(name, n)
    order = torch.cat(stream(batches, 4, n))
    for epoch in range(4):
        assert sorted(order[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))


@pytest.mark.parametrize("n", [1, 2, 7, 10, 12])
@pytest.mark.parametrize("name", NAMES)
def test_every_batch_is_int64_and_of_the_size_it_says(name: str, n: int):
    batches = made(name, n)
    for batch in stream(batches, 3, n):
        assert batch.dtype == torch.int64
        assert batch.shape == (batches.size,)
        assert 0 <= int(batch.min()) <= int(batch.max()) < n
        assert len(set(batch.tolist())) == len(batch) or batches.size > 1  # may meet itself only across an epoch's end


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_a_pure_function_of_seed_round_and_seen(name: str):
    n = 10
    batches = made(name, n)
    there = stream(batches, 5, n, seed=3)
    places = [sum(len(b) for b in there[:k]) for k in range(len(there))]
    for fresh in (False, True):  # backwards in one object, and each in an object of its own
        again = []
        for seen in reversed(places):
            batches = made(name, n) if fresh else batches
            again.append(batches(Now(99, 5, seen, 3)))
        assert all(torch.equal(a, b) for a, b in zip(there, again[::-1], strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_other_generators_have_no_say(name: str):
    torch.manual_seed(1)
    a = stream(made(name, 9), 2, 9)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    b = stream(made(name, 9), 2, 9)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn from torch's generator"


@pytest.mark.parametrize("n", [7, 12])
@pytest.mark.parametrize("name", sorted({*WHOLE} & {*GROWING}))
def test_every_example_comes_once_an_epoch_while_the_batch_grows(name: str, n: int):
    grown = stream(made(name, n, 2), 5, n, dial=(0, 0, 4, 4, 3, 6, 2 * n, 0))
    assert [len(b) for b in grown[:8]] == [2, 2, 4, 4, 3, 6, n, 2]
    order = torch.cat(grown)
    for epoch in range(5):
        assert sorted(order[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))


@pytest.mark.parametrize("name", NAMES)
def test_the_dial_sets_the_size_of_those_that_grow_and_of_no_other(name: str):
    batches = made(name, 12, 4)
    for dial in (1, 5, 12, 40):
        batch = batches(Now(3, 10, 8, 0, 0, dial))
        assert len(batch) == (min(dial, 12) if name in GROWING else batches.size)
        assert torch.equal(batch, made(name, 12, 4)(Now(0, 99, 8, 0, 0, dial)))
    assert torch.equal(batches(Now(3, 10, 8, 0)), made(name, 12, 4)(Now(3, 10, 8, 0))), "and leaves nothing behind"


@pytest.mark.parametrize("name", sorted(k for k in NAMES if getattr(find("batches", k), "wants", ())))
def test_facts_that_are_missing_or_of_another_size_are_refused(name: str):
    kind = find("batches", name)
    for given in ({}, {what: torch.zeros(3, dtype=torch.int64) for what in kind.wants}):
        with pytest.raises(InputTrouble, match=f"--batches {name}: needs .*; use --batches shuffle"):
            kind(5, **given)


@pytest.mark.parametrize("name", ["balanced", "buckets", "shuffle", "single"])
def test_epochs_seeds_and_rounds_have_orders_of_their_own(name: str):
    n = 30
    order = torch.cat(stream(made(name, n), 3, n))
    epochs = [tuple(order[k * n : (k + 1) * n].tolist()) for k in range(3)]
    others = [tuple(torch.cat(stream(made(name, n), 1, n, *at))[:n].tolist()) for at in ((1, 0), (0, 1))]
    assert len(epochs[0]) == n
    assert len({*epochs, *others}) == 5
    assert tuple(range(n)) not in {*epochs, *others}


def test_shuffle_and_single_walk_the_same_order():
    shuffled, single = (torch.cat(stream(made(name, 12, 3), 2, 12, seed=5)) for name in ("shuffle", "single"))
    assert torch.equal(shuffled, single)


def test_shuffle_never_has_an_example_twice_within_one_epochs_part_of_a_batch():
    batches = made("shuffle", 10, 4)
    third = batches(Now(2, 100, 8, 0))
    assert len(set(third[:2].tolist())) == len(set(third[2:].tolist())) == 2


def test_shuffle_of_more_than_all_is_all():
    batches = find("batches", "shuffle")(5, size=100)
    assert batches.size == 5
    assert sorted(batches(Now(0, 1, 0, 0)).tolist()) == list(range(5))


def test_full_is_the_data_in_its_own_order():
    batches = made("full", 6)
    assert batches.size == 6
    assert batches(Now(0, 1, 0, 0)).tolist() == batches(Now(5, 9, 30, 4, 2)).tolist() == list(range(6))


def test_single_is_one():
    assert made("single", 6).size == 1


def test_places_in_the_order_are_uniform():
    """Where does example 0 come? Anywhere alike."""
    n, places = 5, Counter()
    for seed in range(2000):
        places[torch.cat(stream(made("shuffle", n, 5), 1, n, seed=seed)).tolist().index(0)] += 1
    assert max(abs(places[k] - 400) for k in range(n)) < 5 * 18


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(InputTrouble, match="--batch 0: must be at least 1, or 'full'"):
        find("batches", "shuffle")(5, size=0)
