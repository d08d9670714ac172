"""Preflight: questions to a model, its loss and a few examples before the first step, each for the price of a few steps.

    first: loss, gradient and chance;   slopes: |g| against (L(theta + h v) - L(theta - h v)) / 2h along v = g / |g|
    learned: by how much the loss of a few examples falls when they are seen over and over;   costs: seconds and bytes of a step

theta is bitwise as found afterwards and `.grad` is not touched; running statistics and the random state are the caller's
(`peek.untouched`). In float32 a slope has three right digits: enough to tell a wrong backward, not to certify a right one, for
which there is `gradlearn check gradient` (in float64). What `watch/start.py` asks; after Karpathy, "A recipe for training neural
networks" (2019).
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.descent import ring_of
from gradlearn.symbols import Batch, Objective
from gradlearn.theta import Theta

KEPT = 5  # times theta: weights, gradient, two moments, average; and each snapshot all but the gradient
BESIDE = 0.1  # of a tensor's root mean square: nearer, what was tied still bends within a difference
TRIES = (1e-2, 1e-3, 1e-1)  # rates of Adam at which a few examples are learned


def total(objective: Objective, batch: Batch) -> Tensor:
    """The mean loss, with the same draws each time."""
    chance.reseed(chance.key(0, "start"))
    losses = objective(batch)
    return losses.total.sum() / losses.count.sum()


def gradients(objective: Objective, theta: Theta, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    """The loss and its gradient, a tensor for each member of theta; `.grad` is not touched."""
    loss = total(objective, batch)
    params = [m.param for m in theta.members]
    found = torch.autograd.grad(loss, params, allow_unused=True) if loss.requires_grad else [None] * len(params)
    return loss.detach(), [torch.zeros_like(p) if g is None else g.detach() for p, g in zip(params, found, strict=True)]


def first(objective: Objective, theta: Theta, batch: Batch) -> dict[str, float]:
    """Loss, chance, the norm of the gradient, and whether that of every matrix is zero."""
    kept: list[Any] = []
    handle = objective.model.register_forward_hook(lambda module, x, output: kept.append(output))
    try:
        loss, grads = gradients(objective, theta, batch)
    finally:
        handle.remove()
    norms = [g.double().norm().item() for g in grads]
    matrices = [n for n, m in zip(norms, theta.members, strict=True) if m.param.ndim > 1]
    zero = float(bool(matrices) and max(matrices) <= 1e-9 * max(max(norms), 1e-30))
    rows = {"loss": loss.item(), "norm": math.sqrt(sum(n * n for n in norms)), "zero": zero, "alike": alike(theta)}
    return rows | {"chance": by_chance(kept[-1] if kept else None, batch.y)}


def alike(theta: Theta) -> float:
    """1 where all units of the first layer, of several, start with the same weights: 0 included."""
    weights = [p.detach() for name, p in theta.model.named_parameters() if p.ndim > 1 and p.requires_grad]
    return float(len(weights) > 1 and len(weights[0]) > 1 and bool((weights[0] == weights[0][:1]).all()))


def by_chance(output: Any, y: Any) -> float:
    """The cross-entropy of even odds, or the mean square of the targets; 0 where it is neither."""
    if not isinstance(output, Tensor) or not isinstance(y, Tensor):
        return 0.0
    if not y.is_floating_point():
        return math.log(max(output.shape[1], 2)) if output.ndim > 1 and y.ndim in (1, output.ndim - 1) else math.log(2)
    return y.double().square().mean().item() if y.numel() == output.numel() else 0.0


def costs(objective: Objective, theta: Theta, batch: Batch, n: int) -> dict[str, float]:
    """Seconds and bytes of a step on n examples, from a gradient of this batch; bytes of memory that are free (0: not known)."""
    own = {b.flat.untyped_storage().data_ptr() for b in theta.blocks}
    saved: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return t

    begin = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        gradients(objective, theta, batch)
    seconds, share = time.perf_counter() - begin, max(n / max(batch.n, 1), 1.0)
    weights = sum(b.flat.nbytes for b in theta.blocks)
    return {
        "seconds": seconds * share,
        "bytes": float((KEPT + (KEPT - 1) * ring_of(len(theta))) * weights + sum(saved.values()) * share),
        "free": free(theta),
    }


def free(theta: Theta) -> float:
    """Bytes of memory that are free where theta is; 0 where nobody knows."""
    device = theta.blocks[0].flat.device if theta.blocks else torch.device("cpu")
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 0.0)
    except (OSError, ValueError, IndexError):
        return 0.0


def slopes(objective: Objective, theta: Theta, batch: Batch) -> dict[str, float]:
    """Of all of theta, and of its first tensor: the slope of the loss along its gradient, against the length of that gradient.

    Filters that start as copies and zeros leave maxima tied, where a gradient is one of many and the slope another: what disagrees
    is asked again a little beside. A wrong backward is wrong there too.
    """
    rows = compared(objective, theta, batch)
    if rows["slope_error"] > 0.0:
        kept = [m.param.detach().clone() for m in theta.members]
        try:
            _beside(theta)
            rows = min(rows, compared(objective, theta, batch), key=lambda found: found["slope_error"])
        finally:
            _back(theta, kept)
    return rows


def _beside(theta: Theta) -> None:
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for m in theta.members:
            size = BESIDE * m.param.double().square().mean().sqrt().item()
            m.param.add_(torch.randn(m.param.shape, generator=draws).to(m.param), alpha=size)


def compared(objective: Objective, theta: Theta, batch: Batch) -> dict[str, float]:
    """{"slope_error": 0 or the relative difference, "slope", "said"}, where the parameters are."""
    loss, grads = gradients(objective, theta, batch)
    sizes = [g.double().norm().item() for g in grads]
    whole = math.sqrt(sum(s * s for s in sizes))
    rows, height = {"slope_error": 0.0}, abs(loss.item())
    names = [m.name for m in theta.members]
    order = [names.index(name) for name, _ in theta.model.named_parameters() if name in names]  # from the inputs on
    first = next((k for k in order if sizes[k] > 0.03 * whole), 0)
    for some in (range(len(grads)), [first]):
        length = math.sqrt(sum(sizes[k] ** 2 for k in some))
        if not length > 0:
            continue
        params, v = [theta.members[k].param for k in some], [grads[k] / length for k in some]
        h = min(
            3e-3 * max(height, 1e-3) / length,
            0.02 * math.sqrt(sum(p.detach().double().square().sum().item() for p in params)) + 1e-3,
        )
        noise = 4e-7 * height / (h / 3)
        one = slope(objective, batch, params, v, h)
        if abs(one - length) <= 0.1 * length or noise > 0.05 * length:
            continue
        two, three = (slope(objective, batch, params, v, h / part) for part in (3, 9))
        bend = max(abs(one - two), abs(three - two) - 2 * noise) - noise
        if bend > (0.03 + min(0.15 * abs(two - length) / length, 0.12)) * abs(two) or (one == 0.0 and two == 0.0):
            return {"slope_error": 0.0}  # bends or is a staircase here: nothing can be said
        error = max(abs(two - length) - noise, 0.0) / length
        if error > rows["slope_error"]:
            rows |= {"slope_error": error, "slope": two, "said": length}
    return rows


def slope(objective: Objective, batch: Batch, params: list[Any], v: list[Tensor], h: float) -> float:
    """The central difference along v; the parameters are bitwise as before."""
    kept = [p.detach().clone() for p in params]
    ends: list[float] = []
    try:
        for way in (h, -h):
            with torch.no_grad():
                for p, old, direction in zip(params, kept, v, strict=True):
                    p.copy_(old).add_(direction, alpha=way)
            ends.append(total(objective, batch).double().item())
    finally:
        with torch.no_grad():
            for p, old in zip(params, kept, strict=True):
                p.copy_(old)
    return (ends[0] - ends[1]) / (2 * h)


def learned(objective: Objective, theta: Theta, batch: Batch, steps: int) -> dict[str, float]:
    """The share by which the loss of a few examples falls at the best of three rates; theta is bitwise as before."""
    kept = [m.param.detach().clone() for m in theta.members]
    begin, best = total(objective, batch).item(), 0.0
    try:
        for lr in TRIES:
            moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in kept]
            for t in range(1, steps + 1):
                loss, grads = gradients(objective, theta, batch)
                best = max(best, (begin - loss.item()) / max(abs(begin), 1e-12)) if math.isfinite(loss.item()) else best
                if best > 0.05:
                    break
                with torch.no_grad():
                    for m, (one, two), g in zip(theta.members, moments, grads, strict=True):
                        one.lerp_(g, 0.1)
                        two.lerp_(g.square(), 0.1)
                        m.param.sub_(lr * (one / (1 - 0.9**t)) / ((two / (1 - 0.9**t)).sqrt() + 1e-12))
            _back(theta, kept)
            if best > 0.05:
                break
    finally:
        _back(theta, kept)
    return {"few": begin, "fell": best}


def _back(theta: Theta, kept: list[Tensor]) -> None:
    with torch.no_grad():
        for m, value in zip(theta.members, kept, strict=True):
            m.param.copy_(value)
