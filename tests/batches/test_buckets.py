"""Buckets: batches of one length, shuffled; the batch that straddles two epochs too."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradlearn import chance
from gradlearn.batches.buckets import Buckets
from gradlearn.batches.shuffle import Shuffle
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now

N, SIZE = 1003, 16
LENGTHS = torch.from_numpy(np.exp(2.5 + 0.6 * np.sqrt(12) * (chance.uniform(0, "lengths", np.arange(N)) - 0.5))).long() + 1


def batches_of(chooser: Buckets | Shuffle, epochs: int) -> list[torch.Tensor]:
    return [chooser(Now(t, 1, t * chooser.size, 0)) for t in range(epochs * N // chooser.size)]


def padding(batches: list[torch.Tensor]) -> float:
    """Share of places that are padding where each batch is as wide as its longest."""
    used = sum(int(LENGTHS[b].sum()) for b in batches)
    return 1.0 - used / sum(len(b) * int(LENGTHS[b].max()) for b in batches)


def test_little_is_padding():
    shuffled = padding(batches_of(Shuffle(N, size=SIZE), 3))
    buckets = padding(batches_of(Buckets(N, lengths=LENGTHS, size=SIZE), 3))
    exact = padding(batches_of(Buckets(N, lengths=LENGTHS, size=SIZE, spread=0.0), 3))
    assert shuffled > 0.4
    assert buckets < 0.12
    assert exact < 0.04


def test_with_no_spread_every_batch_is_a_run_of_the_sorted_lengths():
    """Also those that straddle: neighbours of either epoch, about one length."""
    ordered = LENGTHS.sort().values
    for batch in batches_of(Buckets(N, lengths=LENGTHS, size=SIZE, spread=0.0), 4):
        low, high = int(LENGTHS[batch].min()), int(LENGTHS[batch].max())
        between = int(((ordered > low) & (ordered < high)).sum())
        assert between <= 3 * SIZE, "a run of at most what was taken out for the straddling batches beside it"


def test_batches_are_shuffled_and_others_in_every_epoch():
    chooser = Buckets(N, lengths=LENGTHS, size=SIZE)
    batches = batches_of(chooser, 2)
    widths = np.array([float(LENGTHS[b].float().mean()) for b in batches])
    assert abs(np.corrcoef(widths[:-1], widths[1:])[0, 1]) < 0.3
    sets = [frozenset(b.tolist()) for b in batches]
    assert len(set(sets)) == len(sets), "no batch comes again"


def test_the_order_of_equals_is_random():
    """All of one length: nothing but a shuffle is left."""
    chooser = Buckets(100, lengths=torch.full((100,), 7), size=10, spread=0.0)
    first = [chooser(Now(t, 1, t * 10, 0)).tolist() for t in range(10)]
    assert sorted(i for batch in first for i in batch) == list(range(100))
    assert all(b != sorted(b) for b in first)


@pytest.mark.parametrize(
    ("options", "line"), [({"spread": -0.1}, "spread"), ({"spread": float("nan")}, "spread"), ({"size": 0}, "size")]
)
def test_options_out_of_range_are_refused(options: dict[str, float], line: str):
    with pytest.raises(InputTrouble, match=f"--buckets.{line} .*: must be at least"):
        Buckets(N, lengths=LENGTHS, **options)  # type: ignore[arg-type]
