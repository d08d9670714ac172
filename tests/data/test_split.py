"""Splits: disjoint, complete, stratified, the same for the same seed and no other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlearn.data.split import divide, quotas, share
from gradlearn.errors import InputTrouble

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=300).map(lambda v: np.array(v, np.int64))
SHARES = st.one_of(st.none(), st.just(False), st.floats(0.01, 0.9))


@given(LABELS, SHARES, SHARES, st.integers(0, 2**70))
@settings(max_examples=150, deadline=None)
def test_disjoint_complete_and_every_class_in_every_part(labels, valid, test, seed):
    parts = divide(labels, valid, test, seed)
    everything = np.concatenate(list(parts.values()))
    assert sorted(everything.tolist()) == list(range(len(labels)))
    for index in parts.values():
        assert index.dtype == np.int64
        assert (np.diff(index) > 0).all()
    for c, n in enumerate(np.bincount(labels).tolist()):
        held = {name: int((labels[index] == c).sum()) for name, index in parts.items()}
        assert n == 0 or held["train"] >= 1
        if n >= 3:
            assert all(held.values()), held


@given(LABELS, st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_the_seed_decides_and_nothing_else(labels, seed):
    one, two = divide(labels, None, None, seed), divide(labels, None, None, seed)
    assert all((one[name] == two[name]).all() for name in one)


def test_another_seed_is_another_split():
    labels = np.arange(1000) % 10
    assert not (divide(labels, None, None, 0)["test"] == divide(labels, None, None, 1)["test"]).all()


def test_the_split_of_today_is_the_split_of_tomorrow():
    parts = divide(np.arange(30) % 3, None, None, 7)
    assert (parts["test"].tolist(), parts["valid"].tolist()) == ([13, 20, 22, 24, 26, 27], [8, 10, 15])


def test_sizes_of_small_and_large_data():
    small = divide(np.arange(1000) % 10, None, None, 0)
    assert {name: len(index) for name, index in small.items()} == {"train": 720, "test": 200, "valid": 80}
    large = divide(np.arange(200_000) % 10, None, None, 0)
    assert {name: len(index) for name, index in large.items()} == {"train": 187_500, "test": 10_000, "valid": 2_500}


def test_a_given_part_takes_nothing():
    labels = np.arange(1000) % 10
    assert set(divide(labels, None, False, 0)) == {"train", "valid"}
    assert len(divide(labels, 0.25, False, 0)["valid"]) == 250


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(0, 200), st.integers(1, 2))
def test_quotas_are_largest_remainders_within_their_bounds(counts, k, spare):
    counts = np.array(counts)
    quota = quotas(counts, k, spare)
    most = np.maximum(counts - spare, 0)
    assert (quota <= most).all()
    assert (quota >= np.minimum(most, 1)).all()
    assert quota.sum() == np.clip(k, np.minimum(most, 1).sum(), most.sum())
    ideal = quota.sum() * counts / max(counts.sum(), 1)
    inner = (quota > np.minimum(most, 1)) & (quota < most)
    if inner.all():
        assert (np.abs(quota - ideal) < 1).all()


def test_shares_are_between_nothing_and_all():
    assert (share(0.5, "--valid"), share(0, "--valid")) == (0.5, 0.0)
    for wrong in (1.0, -0.1, 3, float("nan")):
        with pytest.raises(InputTrouble, match=r"--valid .*: must be a share of at least 0 and below 1, or a path"):
            share(wrong, "--valid")
