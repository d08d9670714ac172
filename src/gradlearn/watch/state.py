"""State: is the memory of the update one that its gradients can have made?

    S = norm over theta of one kind of state (momentum: p = 1, mean square: p = 2),    G = largest ||g|| of the window of k steps
    spoilt  <=>  S > times * S before * max(1, G / median ||g|| before)^p  and  S > 2 (S before + f sum of beta^age ||g||^p)
            or   S < 0.9 beta^k S before, squares: each of them keeps at least beta^k of what it was
            or   V < 0.9 V made,   V: sum of the squares,  V made <- beta V made + (1 - beta) ||g||^2 from V at the look before,
                 where V was V made, to 2 %, at the look before

f = 1 - beta of a mean, 1 of a sum: by the triangle inequality no gradients of these norms make more.

The running statistics of the model are looked at too: a batch in other units moves them a million times as far as any, at no loss,
and they are what the model is scored with. A mean of gradients cannot outgrow them. What does - a bit that flipped, a state loaded
from somewhere else, a loop that wrote into it - takes all speed from a run (squares too large) or sends it anywhere (momentum too
large) with no sign in the loss of why. Costs a pass over the state every `every` steps. No peer looks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["State"]

SQUARES = ("exp_avg_sq", "square_avg")  # states of torch and of ours that hold squares of gradients
WATCHED = ("exp_avg", "exp_avg_sq", "momentum_buffer", "square_avg")
RUNNING = "running statistics"
SURELY = 0.9  # of what squares must have kept: all but rounding
TINY = 1e-20  # sums of squares below it may have lost what is no normal number
SAME, LESS = 0.02, 0.9  # how near the sum of squares was to what gradients make, and what is less


class State:
    """Speaks when a state of the update, or of the model's norms, has changed as no gradient or batch can change it.

    Args:
        every: steps between two looks.
        times: factor beyond what gradients explain, above 1.
    """

    cost = 0.05
    of = "update"

    def __init__(self, *, every: int = 10, times: float = 20.0) -> None:
        if every < 1:
            raise InputTrouble(f"--state.every {every}: must be at least 1")
        if not times > 1.0:
            raise InputTrouble(f"--state.times {times}: must be above 1")
        self.every, self.times = every, times

    def measure(self, step: Step, theta: Theta, objective: Objective, update: Any = None) -> Mapping[str, float] | None:
        """{"exp_avg": its norm over all of theta, ..., "keep", "mean": betas of squares and mean, "total": sum of the squares}.

        None of an unknown update.
        """
        squares: dict[str, float] = {}
        total, covered = 0.0, 0
        for own in getattr(update, "state", {}).values():
            for name in WATCHED:
                if isinstance(tensor := own.get(name), Tensor):
                    squares[name] = squares.get(name, 0.0) + torch.linalg.vector_norm(tensor).item() ** 2
                    if name in SQUARES:
                        total += tensor.sum().item() if tensor.element_size() >= 4 else math.nan  # less is lost in rounding
                        covered += tensor.numel()
        for buffer in theta.buffers() if update is not None else ():
            if buffer.is_floating_point() and bool(torch.isfinite(buffer).all()):
                squares[RUNNING] = squares.get(RUNNING, 0.0) + torch.linalg.vector_norm(buffer).item() ** 2
        found = {name: math.sqrt(value) for name, value in squares.items() if math.isfinite(value)}
        groups = getattr(update, "param_groups", ())
        keep = [g["betas"][1] if "betas" in g else g.get("alpha", 0.0) for g in groups]
        mean = [g["betas"][0] if "betas" in g else g.get("momentum", 0.0) for g in groups]
        kept = {"keep": float(min(keep, default=0.0)), "mean": float(min(mean, default=0.0))}
        if total > TINY and covered >= len(theta) and min(keep) == max(keep):  # else ||g|| is of more than went into it
            kept["total"] = total
        return found | kept if found else None

    def judge(self, history: History) -> Finding | None:
        """A finding where a norm has left the bounds since the look before."""
        t = len(history.loss) - 1
        undone = max((a.t for a in history.actions if a.name in ("rewind", "restore")), default=-1)
        known: dict[int, float] = {}  # the usual norm of the gradients before a look: of all names the same
        for name in (*WATCHED, RUNNING):
            rows = [row for row in history.measured.get(f"state.{name}", [])[-2:] if row[0] > undone]
            if len(rows) < 2 or rows[-1][0] != t:
                continue
            (since, before), (_, now) = rows
            keep = history.measured.get("state.keep", [(t, 0.0)])[-1][1] if name in SQUARES else 0.0
            kept = keep ** (t - since)
            if kept * before <= now <= min(3.0, self.times) * before and name != RUNNING:
                continue  # the quick way out
            if since not in known:
                known[since] = usual_norm(history, since)
            bounds = self._bounds(history, since, t, before, name, known[since])
            if bounds is not None and not bounds[0] <= now <= bounds[1]:
                return _finding(t, since, name, before, now, bounds)
        return self._missing(history, t, undone)

    def _missing(self, history: History, t: int, undone: int) -> Finding | None:
        """A finding where the squares add up to less than the gradients since the look before have made of them."""
        rows = [row for row in history.measured.get("state.total", [])[-3:] if row[0] > undone]
        rows = [(-1, 0.0), *rows] if len(rows) == 2 and undone < 0 else rows
        if len(rows) < 3 or rows[-1][0] != t:
            return None
        keep = history.measured["state.keep"][-1][1]
        earlier, made = (_made(history, a, b, before, keep) for (a, before), (b, _) in pairwise(rows))
        if abs(rows[1][1] - earlier) > SAME * earlier:
            return None
        if not rows[2][1] < LESS * made < math.inf:
            return None
        return _finding(t, rows[1][0], "sum of squares", rows[1][1], rows[2][1], (made, made))

    def _bounds(self, history: History, since: int, t: int, before: float, name: str, usual: float) -> tuple[float, float] | None:
        """Within which the norm may be now; None where too little is known."""
        if name == RUNNING:
            return (0.0, self.times**2 * before) if before > 0.0 else None
        fresh = [g for g in history.norm[since + 1 : t + 1] if g - g == 0.0]
        if not fresh or not before > 0.0 or not usual > 0.0:
            return None
        grown = max(max(fresh) / usual, 1.0) ** (2 if name in SQUARES else 1)
        keep, mean = (history.measured.get(f"state.{own}", [(t, 0.0)])[-1][1] for own in ("keep", "mean"))
        p, beta = (2, keep) if name in SQUARES else (1, mean)
        f = 1.0 - beta if name.startswith("exp_avg") else 1.0
        most = 2.0 * (before + f * sum((beta or 1.0) ** k * g**p for k, g in enumerate(reversed(fresh))))
        least = SURELY * keep ** (t - since) * before if name in SQUARES else 0.0
        return least, max(self.times * grown * before, most)


def usual_norm(history: History, since: int) -> float:
    """The median norm of the 100 gradients up to step `since`; 0 where there are too few."""
    norms = [g for g in history.norm[max(since - 100, 0) : since + 1] if g - g == 0.0]
    return median(norms) if len(norms) >= 20 else 0.0


def _made(history: History, since: int, t: int, total: float, keep: float) -> float:
    """What steps after `since`, up to t, make of a sum of squares."""
    for k in range(since + 1, t + 1):
        if history.applied[k]:
            total = keep * total + (1.0 - keep) * history.cut.get(k, history.norm[k]) ** 2
    return total


def _finding(t: int, since: int, name: str, before: float, now: float, bounds: tuple[float, float]) -> Finding:
    numbers = f"{now:.3g} long, {before:.3g} at step {since}; {bounds[0]:.3g} to {bounds[1]:.3g} can be explained"
    own = name == RUNNING
    return Finding(
        t,
        "precision fault",
        "alarm",
        f"step {t}: {'the running statistics are' if own else f'the {name} of the update is'} {numbers}",
        "a batch in other units" if own else "the update's memory was written by something other than its gradients",
        "go back to before it" if own else "take the memory back from before",
        {
            "kind": RUNNING if own else "update state",
            "name": name,
            "before": before,
            "now": now,
            "onset": since,  # what is kept at the step after it may be spoilt already
            "slows": name in SQUARES and now > before,
        },
    )


def sick() -> list[History]:
    """Squares that are a million times what they were, and a momentum a thousand times, under steady gradients."""
    return [_run("exp_avg_sq", [1.0, 1.1, 1.1e6]), _run("momentum_buffer", [0.5, 0.4, 300.0])]


def well() -> list[History]:
    """A memory that falls as the gradients do, one that is shaken, and one that grows with them."""
    grown = _run("exp_avg_sq", [1.0, 0.9, 900.0], lambda t: 30.0 if t >= 120 else 1.0)
    return [_run("exp_avg_sq", [1.0, 0.5, 0.4]), _run("momentum_buffer", [0.5, 0.05, 0.6]), grown]


def _run(name: str, norms: list[float], slope: Any = lambda t: 1.0) -> History:
    history = History()
    for t in range(50 * len(norms)):
        history.add(Step(t, 2.0 * 0.99**t + 0.1, slope(t), 0.1, 32, t * 0.1, True, 0.0))
        if (t + 1) % 50 == 0:
            history.note(t, "state", {name: norms[t // 50]})
    return history
