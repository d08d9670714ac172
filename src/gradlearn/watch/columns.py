"""Columns: do the inputs come as a network can take them, every column with something to say and at one scale?

    scale_j = (q95 - q5 of column j) / 3.3,   unscaled  <=>  max scale / least scale > 1,000  or  |median_j| > 100 scale_j

Looked at once, before the first step, on at most 1,000 training examples that are in memory. Columns of two values, and pictures,
have no scale of their own; a model that begins with a norm needs none. LeCun, Bottou, Orr, Mueller, "Efficient BackProp" (1998),
4.3: inputs of mean 0 and one scale. Constant columns cost nothing but room: many of them say that something went wrong on the way.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gradlearn import peek
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Columns"]

NUMBERS = 300_000  # at most, that are looked at, of 1,000 examples at most
KINDS = ("unscaled columns", "offset columns", "constant features", "repeated features")


class Columns:
    """Speaks of columns that are constant, repeated, far apart in scale or far from zero: "data fault".

    Args:
        apart: largest over least scale from which columns are unscaled.
        away: from zero, in scales of the column.
        constant: share of columns with one value throughout.
    """

    when = "before"
    every = 1
    cost = 0.0

    def __init__(self, *, apart: float = 1000.0, away: float = 100.0, constant: float = 0.1) -> None:
        self.apart, self.away, self.constant = apart, away, constant

    def measure(self, step: Step, theta: Theta, objective: Objective) -> Mapping[str, float] | None:
        """What the columns show; None where they cannot be read cheaply."""
        data = peek.of(objective, "data")
        if data is None or not peek.in_memory(data):
            return None
        index = peek.chosen(data, peek.rows_within(data, 1000, NUMBERS), "columns")
        x = peek.read(data, index)[0]
        x = x[0] if isinstance(x, tuple) and x else x  # a table: its numbers come first
        found = peek.table(x)
        if found is None or not isinstance(x, Tensor) or found.shape[1] < 2 or x.dtype == torch.uint8:
            return None
        found = found[torch.isfinite(found).all(1)]
        return shown(found, picture=x.ndim > 2, normed=begins_with_a_norm(objective.model)) if len(found) >= 20 else None

    def judge(self, history: History) -> Finding | None:
        """The gravest of what is wrong with the columns."""
        rows = {k: history.measured[f"columns.{k}"][-1][1] for k in SHOWN if history.measured.get(f"columns.{k}")}
        if len(rows) < len(SHOWN) or any(f.evidence.get("kind") in KINDS for f in history.findings):
            return None
        d, t = int(rows["columns"]), max(len(history.loss) - 1, 0)
        ask = "standardise them: subtract the mean of the training examples, divide by their deviation"
        if rows["apart"] > self.apart:
            what = f"column {rows['large']:.0f} of {d} varies {rows['apart']:.3g} times as much as column {rows['small']:.0f}"
            return said(t, "warn", KINDS[0], what, "columns in units of their own: the largest drowns the others", ask, rows)
        if rows["away"] > self.away or (rows["all_away"] > self.away / 2):
            what = f"column {rows['far']:.0f} of {d} lies {rows['away']:.3g} times its own spread away from zero"
            return said(
                t, "warn", KINDS[1], what, "inputs that are not centred: every weight must first undo the offset", ask, rows
            )
        odd, blank = rows["constant"] * d, rows["blank"] * d
        if odd >= 2 and rows["constant"] > self.constant:
            what = f"{odd:.0f} of {d} columns have one value for all examples looked at, such as column {rows['still']:.0f}"
            return said(t, "warn", KINDS[2], what, "a step of the preparation has written the same value everywhere", FILLED, rows)
        if blank >= 2 and rows["blank"] > 4 * self.constant:
            what = f"{blank:.0f} of {d} columns are empty for all examples looked at"
            return said(t, "warn", KINDS[2], what, "columns that were never filled, or most of a picture cut off", FILLED, rows)
        if rows["copies"] >= 3 and rows["copies"] > 0.1 * d:
            what = f"{rows['copies']:.0f} of {d} columns are copies of another one, such as column {rows['copy']:.0f}"
            return said(
                t,
                "warn",
                KINDS[3],
                what,
                "a column was joined several times, which weighs it so often",
                "leave the copies out",
                rows,
            )
        return None


FILLED = "look at these columns; leave them out if they are meant so"
SHOWN = ("columns", "apart", "large", "small", "away", "far", "all_away", "constant", "still", "blank", "copies", "copy")


def said(t: int, level: str, kind: str, what: str, why: str, remedy: str, rows: Mapping[str, float]) -> Finding:
    """A finding about the training inputs."""
    return Finding(t, "data fault", level, f"the training inputs: {what}", why, remedy, {"kind": kind, **rows})


def shown(x: Tensor, picture: bool, normed: bool) -> dict[str, float]:
    """The numbers of (n, d) inputs that `judge` goes by."""
    low, high = x.amin(0), x.amax(0)
    still = low == high
    base = x.min()
    empty = still & ((low == 0) | (low == base))
    odd = still & ~empty
    whole = bool(still.all())  # then x says nothing at all, and is not meant to
    rows = dict.fromkeys(SHOWN, 0.0) | {"columns": float(x.shape[1])}
    if not whole:
        rows |= {"constant": odd.float().mean().item(), "still": float(odd.float().argmax()), "blank": empty.float().mean().item()}
    if not picture:
        copies = copied(x[:, ~still]) if not whole else torch.zeros(0, dtype=torch.bool)
        if copies.any():
            rows |= {"copies": float(copies.sum()), "copy": float((~still).nonzero().flatten()[copies][0])}
    if picture or pixels(low, high):
        return rows | (_whole(x) if not normed else {})
    free = ~still & (((x != low) & (x != high)).any(0))  # of three values at least
    if normed or not free.any():
        return rows
    places = free.nonzero().flatten()
    middle, scale = spread(x[:, free])
    if len(scale) > 1:
        rows |= {
            "apart": (scale.max() / scale.min()).item(),
            "large": float(places[scale.argmax()]),
            "small": float(places[scale.argmin()]),
        }
    away = middle.abs() / scale
    return rows | {"away": away.max().item(), "far": float(places[away.argmax()]), "all_away": away.median().item()}


def _whole(x: Tensor) -> dict[str, float]:
    """Of pictures: how far all of their numbers lie from zero, in their own spread."""
    away = (x.mean().abs() / x.std().clamp_min(1e-30)).item()
    return {"away": away, "all_away": away}


def spread(x: Tensor) -> tuple[Tensor, Tensor]:
    """(median, scale) of each column: the middle nine tenths over 3.3, or the deviation where most values are one."""
    quantiles = torch.quantile(x[:: max(len(x) // 300, 1)], torch.tensor([0.05, 0.5, 0.95]), dim=0)
    scale = (quantiles[2] - quantiles[0]) / 3.29
    scale = torch.where(scale > 0.05 * x.std(0), scale, x.std(0))
    return quantiles[1], scale.clamp_min(1e-30)


def pixels(low: Tensor, high: Tensor) -> bool:
    """Whether columns share their bounds, as those of a picture do: half of them the least, a quarter the largest."""
    return bool((low == low.min()).float().mean() > 0.5) and bool((high == high.max()).float().mean() > 0.25)


def copied(x: Tensor) -> Tensor:
    """(d,) whether a column is, up to its scale, one that came before it; columns of few rows that differ are left out."""
    varied = (x != x.median(0).values).sum(0) >= max(20, len(x) // 100)
    z = x[:1000].double()
    z = z - z.mean(0)
    z = z / z.norm(dim=0).clamp_min(1e-30)
    sure = z.norm(dim=0) > 0.5
    first = (torch.arange(1, z.shape[0] + 1, dtype=torch.float64).sqrt() @ z).mul(1e6).round()  # equal for equal columns
    _, group = torch.unique(first, return_inverse=True)
    order = torch.full((int(group.max()) + 1,), x.shape[1]).scatter_reduce(0, group, torch.arange(x.shape[1]), "amin")
    earlier = order[group]
    same = (z * z[:, earlier]).sum(0) > 1 - 1e-9
    return varied & sure & same & (earlier < torch.arange(x.shape[1]))


def begins_with_a_norm(model: nn.Module) -> bool:
    """Whether the first layer that has anything to learn or to keep is a norm."""
    for module in model.modules():
        if module._parameters or module._buffers:
            return "Norm" in type(module).__name__
    return False


def sick() -> list[History]:
    """Columns at scales from 1 to 10,000; offsets; constants; copies."""
    return [
        told({"apart": 1e4, "large": 3.0, "small": 7.0}),
        told({"away": 300.0, "all_away": 300.0}),
        told({"constant": 0.3, "still": 4.0}),
        told({"blank": 0.8}),
        told({"copies": 12.0, "copy": 20.0}),
    ]


def well() -> list[History]:
    """Standardised columns; a picture with an empty border; a column that is a year; one constant."""
    return [told({}), told({"blank": 0.25}), told({"away": 40.0, "all_away": 0.5, "apart": 200.0}), told({"constant": 1 / 64})]


def told(found: Mapping[str, float]) -> History:
    """A short run whose columns showed this."""
    history = History()
    history.note(0, "columns", {**dict.fromkeys(SHOWN, 0.0), "columns": 64.0, "apart": 2.0, **found})
    for t in range(3):
        history.add(Step(t, 1.0 - 0.1 * t, 1.0, 0.1, 32, t * 0.1, True, 0.0))
    return history
