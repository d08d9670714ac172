"""Rows: is every training example one that can be learned from, and is no validation example among them?

    leaked  <=>  share of validation x that are in train  >  share of train x that are in the rest of train, surely

Looked at once, before the first step, in data that are in memory. Rows are compared by a hash of their bytes, then in full. In
data of few possible rows (bits, categories) twins come about by chance: as often within the training data as across. Barz and
Denzler, "Do we train on test data?", arXiv 1902.00423: 3 % and 10 % of the test pictures of CIFAR-10 and -100 are in train.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlearn import chance, peek
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Rows"]

NUMBERS = 4_000_000  # at most, that are looked at
COLUMNS = 16  # by which rows are compared first
NAMED = 5


class Rows:
    """Speaks of examples that are not finite, far out, in train and valid, or there with several labels: "data fault".

    Args:
        far: length of an example, in those of the longest but 5 %, from which it is out of place.
        leak: share of the validation data.
        unlike: share of the training data that is there again with another label.
    """

    when = "before"
    every = 1
    cost = 0.0

    def __init__(self, *, far: float = 50.0, leak: float = 0.01, unlike: float = 0.02) -> None:
        self.far, self.leak, self.unlike = far, leak, unlike

    def measure(self, step: Step, theta: Theta, objective: Objective) -> Mapping[str, float] | None:
        """Counts, and the first few examples of each kind; None where the data cannot be read cheaply."""
        data, valid = peek.of(objective, "data"), peek.of(objective, "valid")
        if data is None or not peek.in_memory(data):
            return None
        index = peek.chosen(data, peek.rows_within(data, 5000, NUMBERS), "rows")
        x, y = peek.read(data, index)
        rows = {"looked": float(len(index)), "n": float(len(data)), **dict.fromkeys(SHOWN, 0.0)}
        rows |= broken(x, y, index)
        other = None
        if peek.in_memory(valid) and valid is not None and len(valid):
            held = peek.chosen(valid, peek.rows_within(valid, 1000, NUMBERS // 4), "rows")
            other = peek.read(valid, held)[0]
        return rows | twins(x, peek.classes(y), index, other)

    def judge(self, history: History) -> Finding | None:
        """The gravest of what is wrong with the examples."""
        rows = {k: v[-1][1] for k in ("looked", "n", *SHOWN) if (v := history.measured.get(f"rows.{k}"))}
        if len(rows) < len(SHOWN) + 2 or any(f.evidence.get("kind") in KINDS for f in history.findings):
            return None
        t = max(len(history.loss) - 1, 0)
        looked = int(rows["looked"])

        def named(kind: str) -> list[int]:
            found = [history.measured.get(f"rows.{kind}_{k}", [(0, -1.0)])[-1][1] for k in range(NAMED)]
            return [int(i) for i in found if i >= 0]

        def say(kind: str, what: str, why: str, remedy: str, examples: list[int]) -> Finding:
            evidence = {"kind": kind, "examples": examples, "looked": looked}
            return Finding(t, "data fault", "warn", what, why, remedy, evidence)

        if rows["broken"]:
            examples = named("broken")
            what = f"{rows['broken']:.0f} of {looked} training examples looked at are not finite: {listed(examples)}"
            return say(
                KINDS[0],
                what,
                "missing cells or a division by zero in the preparation",
                "fill these examples or leave them out",
                examples,
            )
        if 0 < rows["far"] <= max(0.02 * looked, 1) and rows["times"] > self.far:
            examples = named("far")
            what = f"{rows['far']:.0f} training examples are up to {rows['times']:.3g} times as large as others: {listed(examples)}"
            return say(
                KINDS[1],
                what,
                "another unit, a missing-value code or a damaged record",
                "look at these examples; mend them or leave them out",
                examples,
            )
        leaked, held = rows["leaked"], max(rows["held"], 1.0)
        share = min(leaked / held * rows["n"] / looked, 1.0)
        if leaked >= 3 and share > self.leak and leaked > rows["chance"] + 3 * math.sqrt(rows["chance"] + 1):
            examples = named("leaked")
            what = f"{share:.1%} of the validation examples are training examples too ({leaked:.0f} seen), as {listed(examples)}"
            return say(
                KINDS[2],
                what,
                "the data were split after copies had been made: the validation score flatters",
                "remove the copies before splitting",
                examples,
            )
        if rows["unlike"] >= 3 and rows["unlike"] > self.unlike * looked and rows["rich"]:
            examples = named("unlike")
            what = (
                f"{rows['unlike']:.0f} of {looked} training examples are there again with another label, such as {listed(examples)}"
            )
            return say(
                KINDS[3],
                what,
                "labels of several opinions, or an input that says too little",
                "decide for one label each",
                examples,
            )
        return None


KINDS = ("bad example", "outlier", "same example in train and valid", "same example with several labels")
SHOWN = ("broken", "far", "times", "held", "leaked", "chance", "unlike", "rich")


def listed(examples: list[int]) -> str:
    """Numbers of examples, in words."""
    return "example " + ", ".join(map(str, examples)) if examples else "unnamed"


def broken(x: Any, y: Any, index: Tensor) -> dict[str, float]:
    """Examples that are not finite, and such as are far larger than the others."""
    good, length = torch.ones(len(index), dtype=torch.bool), torch.zeros(len(index))
    for k, part in enumerate(peek.leaves(x) + peek.leaves(y)):
        if part.is_floating_point():
            flat = part.reshape(len(index), -1)
            size = torch.maximum(flat.amax(1), -flat.amin(1)).float() if flat.shape[1] else length  # without a copy of all
            good &= torch.isfinite(size)
            length = torch.maximum(length, size) if k < len(peek.leaves(x)) else length
    bad = (~good).nonzero().flatten()
    rows = {"broken": float(len(bad))} | _named("broken", index[bad])
    if good.sum() >= 100:
        usual = length[good].kthvalue(int(0.95 * int(good.sum()))).values.item()
        far = (good & (length > 20 * usual)).nonzero().flatten() if usual > 0 else bad[:0]
        far = far[length[far].argsort(descending=True)]
        rows |= {"far": float(len(far)), "times": (length[far[0]].item() / usual if len(far) else 0.0)} | _named("far", index[far])
    return rows


def _named(kind: str, index: Tensor) -> dict[str, float]:
    return {f"{kind}_{k}": float(i) for k, i in enumerate(index[:NAMED].tolist())}


def twins(x: Any, y: Tensor | None, index: Tensor, other: Any) -> dict[str, float]:
    """Examples that are there again: within train, in the validation data, with another label."""
    hashes, held = together(x, other)
    values, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    if len(values) < 2:
        return {}  # x says nothing, and is not meant to
    rows: dict[str, float] = {"rich": float(len(values) > 0.5 * len(hashes) and distinct(x) > 40.0)}
    again = counts[inverse] > 1
    if y is not None and again.any():
        low, high = np.full(len(values), np.iinfo(np.int64).max), np.full(len(values), -1)
        np.minimum.at(low, inverse, y.numpy())
        np.maximum.at(high, inverse, y.numpy())
        unlike = np.flatnonzero((low != high)[inverse])
        rows |= {"unlike": float(len(unlike))} | _named("unlike", index[torch.from_numpy(unlike)])
    if len(held):
        leaked = np.isin(held, values)
        first = {h: i for i, h in reversed(list(enumerate(hashes.tolist())))} if leaked.any() else {}
        where = torch.tensor([first[h] for h in held[leaked][:NAMED].tolist()], dtype=torch.int64)
        usual = again.mean() * len(held)
        rows |= {"held": float(len(held)), "leaked": float(leaked.sum()), "chance": float(usual)} | _named("leaked", index[where])
    return rows


def together(x: Any, other: Any) -> tuple[np.ndarray, np.ndarray]:
    """Numbers for the rows of x, and of other data or none: equal rows have equal ones. A few columns decide where they can."""
    parts = [x] if other is None else [x, other]
    short = [hashed(part, COLUMNS) for part in parts]
    whole = np.concatenate(short)
    _, inverse, counts = np.unique(whole, return_inverse=True, return_counts=True)
    doubtful = counts[inverse] > 1
    begin = 0
    for part, own in zip(parts, short, strict=True):
        where = np.flatnonzero(doubtful[begin : begin + len(own)])
        if len(where):
            own[where] += hashed(peek.select(part, torch.from_numpy(where)))
        begin += len(own)
    return short[0], short[1] if other is not None else whole[:0]


def hashed(x: Any, most: int = 0) -> np.ndarray:
    """(n,) int64: a sum of the bytes of each row, four at a time, times odd numbers; of `most` columns if given."""
    total: np.ndarray | int = 0
    for k, part in enumerate(peek.leaves(x)):
        n = len(part)
        flat = part.reshape(n, -1)
        if most and flat.shape[1] > most:
            flat = flat[:, torch.from_numpy(chance.permutation(flat.shape[1], 0, "rows", k)[:most])]
        data = flat.contiguous().view(torch.uint8).numpy()
        data = np.pad(data, ((0, 0), (0, -data.shape[1] % 4))) if data.shape[1] % 4 else data
        words = data.view(np.uint32).astype(np.int64)
        words = words * 0x9E3779B1 ^ (words >> 15)  # floats of few values differ in their first bits alone
        total = total + words @ (chance.bits(0, "rows", k, np.arange(words.shape[1])).astype(np.int64) | 1)
    return np.asarray(total)


def distinct(x: Any) -> float:
    """About how many bits a row has room for: the logarithms of how many values each column has, summed up."""
    bits = 0.0
    for part in peek.leaves(x):
        flat = part[:200].reshape(min(len(part), 200), -1)[:, :200]
        s = flat.sort(0).values
        bits += ((s[1:] != s[:-1]).sum(0) + 1).double().log2().sum().item()
    return bits


def sick() -> list[History]:
    """Three examples that are not numbers; two far too large; a tenth of valid in train; one in ten with two labels."""
    return [
        told({"broken": 3.0, "broken_0": 17.0, "broken_1": 40.0, "broken_2": 512.0}),
        told({"far": 2.0, "times": 1e4, "far_0": 7.0, "far_1": 9.0}),
        told({"held": 500.0, "leaked": 50.0, "chance": 0.0, "leaked_0": 3.0}),
        told({"unlike": 120.0, "rich": 1.0, "unlike_0": 1.0}),
    ]


def well() -> list[History]:
    """No twins; twins by chance in data of few bits, labels included; one heavy tail."""
    bits = {"held": 500.0, "leaked": 17.0, "chance": 15.0, "unlike": 60.0}
    return [told({}), told(bits), told({"far": 4.0, "times": 30.0}), told({"held": 500.0, "leaked": 2.0})]


def told(found: Mapping[str, float]) -> History:
    """A short run whose examples showed this."""
    history = History()
    history.note(0, "rows", {"looked": 1200.0, "n": 1200.0, **dict.fromkeys(SHOWN, 0.0), **found})
    for t in range(3):
        history.add(Step(t, 1.0 - 0.1 * t, 1.0, 0.1, 32, t * 0.1, True, 0.0))
    return history
