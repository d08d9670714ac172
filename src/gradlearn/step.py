"""The equation, once: theta <- theta - eta * u(g), g ~ grad L_B(theta)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from gradlearn.symbols import Average, Batch, Controls, Gradient, Now, Objective, Rate, Step, Update
from gradlearn.theta import Theta

FAR = 10.0  # times the bound: such a gradient is left out


def step(
    theta: Theta,
    batch: Batch,
    objective: Objective,
    gradient: Gradient,
    update: Update,
    rate: Sequence[Rate],
    average: Average,
    now: Now,
    controls: Controls,
    examples: int,
    start: float = 0.0,
) -> Step:
    """Take one step and say what it was.

    A loss or gradient that is not finite blocks the update: theta, the update's state and the average stay as they are. So does a
    loss above the dial `most`, which the first step that is taken puts back.
    `examples` is the size of the data, for the epoch count; `start` the time (perf_counter) at which work on this step began.
    """
    start = start or time.perf_counter()
    estimate = gradient(objective, theta, batch)  # leaves g in .grad
    lr = set_rates(update, factor(rate, now, controls), now.t)
    taken = estimate.finite and not 0.0 < controls.most < estimate.loss
    if taken:
        controls.most = 0.0
        if (by := shrinking(controls, estimate.norm)) != 1.0:
            theta.scale_grad(by)
        update.observe(estimate)
        # a closure evaluates the same batch with the same draws again; torch's updates would call it even if they need none
        closure = (lambda: gradient(objective, theta, batch).loss) if getattr(update, "needs_closure", False) else None
        with theta.still(update) if theta.untouched else nullcontext():
            update.step(closure)
        average.see(theta, now)
    return Step(
        now.t,
        estimate.loss,
        estimate.norm,
        lr,
        batch.n,
        (now.seen + batch.n) / examples,
        taken,
        time.perf_counter() - start,
        batch.index if estimate.suspects is None else estimate.suspects,
    )


def factor(rate: Sequence[Rate], now: Now, controls: Controls) -> float:
    """eta as a factor of each group's own base: the schedules, times the dial."""
    return controls.rate * schedule(rate, now, controls)


def limit(controls: Controls) -> float:
    """The bound on ||g||_2, the lower of the two dials that are not 0; 0 where both are."""
    return min(controls.clip or controls.bound, controls.bound or controls.clip)


def shrinking(controls: Controls, norm: float) -> float:
    """What a gradient of this norm is multiplied by: as long as the limit at most; 0 where it is beyond all that the run has shown.

    Cut to the bound a damaged batch would still fill the update's memory with its direction.
    """
    most = limit(controls)
    if not 0.0 < most < norm:
        return 1.0
    return 0.0 if most == controls.bound and norm > FAR * most else most / norm


def schedule(rate: Sequence[Rate], now: Now, controls: Controls) -> float:
    """The product of the schedules; once `finish` was asked, a straight line from what it was then to zero at the new end."""
    if 0 <= controls.finish <= now.t:
        return controls.level * max(controls.end - now.t, 0) / max(controls.end - controls.finish, 1)
    return math.prod(part(now) for part in rate)


def factors(rate: Sequence[Rate], times: Sequence[Now], controls: Controls) -> list[float]:
    """`factor` of several steps, the same numbers in less time."""
    if 0 <= controls.finish <= times[-1].t:
        return [factor(rate, now, controls) for now in times]
    columns = [[part(now) for now in times] for part in rate]
    return [controls.rate * math.prod(row) for row in zip(*columns, strict=True)] if columns else [controls.rate] * len(times)


def rate_of(group: Mapping[str, Any], factor: float, t: int) -> float:
    """The lr of a group at step t: its own base (`initial_lr`) x factor; 0 before the step at which it `begins` to move."""
    return group["initial_lr"] * factor if t >= group.get("begins", 0) else 0.0


def set_rates(update: Update, factor: float, t: int) -> float:
    """Each group's lr at step t; returns the first group's."""
    for group in update.param_groups:
        group["lr"] = rate_of(group, factor, t)
    return update.param_groups[0]["lr"]
