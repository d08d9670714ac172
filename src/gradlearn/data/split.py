"""train, valid and test: disjoint, complete, every class in each that has enough, and the same for the same seed.

Shares are stratified by largest remainder: class c of n_c gives floor(k n_c / n), the rest of k goes where most was
cut off. Who goes is decided by raw Philox words keyed by (seed, purpose), whose values do not change with numpy's
version.
"""

from __future__ import annotations

import numpy as np

from gradlearn.errors import InputTrouble

# 2,500 tell an accuracy of 90 % to 0.6 %: enough to watch a run by, and what is not watched with is learned from
SMALL, SHARE_SMALL, SHARE, CAP_TEST, CAP_VALID = 10_000, 0.2, 0.1, 10_000, 2_500


def share(value: float, option: str) -> float:
    """The share itself, 0 for none; raises InputTrouble outside [0, 1)."""
    if not 0.0 <= value < 1.0:
        raise InputTrouble(f"{option} {value:g}: must be a share of at least 0 and below 1, or a path")
    return float(value)


def amount(n: int, asked: float | None, part: str) -> int:
    """How many of n examples are set aside: the share asked for, else 20 % of few and 10 % of many, with a cap."""
    if asked is not None:
        return round(asked * n)
    if part == "test":
        return round(SHARE_SMALL * n) if n < SMALL else min(CAP_TEST, round(SHARE * n))
    return min(CAP_VALID, round(SHARE * n))


def divide(labels: np.ndarray, valid: float | bool | None, test: float | bool | None, seed: int) -> dict[str, np.ndarray]:
    """Indices of train, valid and test, (k,) int64 in rising order, for n examples of these (n,) labels.

    `valid`, `test`: a share of what is left, None the default, False none. A class of 3 or more is in each part.
    """
    left = np.arange(len(labels))
    parts = {"train": left}
    for part, asked, spare in (("test", test, 2 if valid is not False else 1), ("valid", valid, 1)):
        if asked is False:
            continue
        k = amount(len(left), None if asked is None or asked is True else asked, part)
        taken = stratified(labels[left], k, spare, seed, part)
        parts[part] = left[taken]
        left = left[~taken]
    parts["train"] = left
    return parts


def stratified(labels: np.ndarray, k: int, spare: int, seed: int, purpose: str) -> np.ndarray:
    """(n,) bool: about k examples, by class, at least one of each class that keeps `spare` others."""
    n = len(labels)
    counts = np.bincount(labels) if n else np.zeros(0, np.int64)
    quota = quotas(counts, k, spare)
    words = np.random.Philox(key=key(seed, purpose)).random_raw(n)
    order = np.lexsort((words, labels))
    starts = np.cumsum(counts) - counts
    rank = np.arange(n) - starts[labels[order]]
    taken = np.zeros(n, bool)
    taken[order] = rank < quota[labels[order]]
    return taken


def quotas(counts: np.ndarray, k: int, spare: int) -> np.ndarray:
    """How many of each class: largest remainders of k n_c / n, from 1 to n_c - spare where n_c > spare, else 0."""
    most = np.maximum(counts - spare, 0)
    least = np.minimum(most, 1)
    k = int(np.clip(k, least.sum(), most.sum()))
    ideal = k * counts / max(counts.sum(), 1)
    quota = np.clip(np.floor(ideal).astype(np.int64), least, most)
    while quota.sum() != k:
        up = quota.sum() < k
        room = quota < most if up else quota > least
        gap = np.where(room, ideal - quota if up else quota - ideal, -np.inf)
        step = np.argsort(-gap, kind="stable")[: min(abs(k - int(quota.sum())), int(room.sum()))]
        quota[step] += 1 if up else -1
    return quota


def key(seed: int, purpose: str) -> np.ndarray:
    """(2,) uint64 key of Philox: the seed, and the purpose by its letters."""
    return np.array([seed % 2**64, int.from_bytes(purpose.encode()[:8], "little")], dtype=np.uint64)
