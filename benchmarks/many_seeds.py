"""Claim: 64 seeds of a small MLP in one `fit_many` take a tenth of the time of 64 runs one after the other, and are the same runs.

    plain     64 hand-written PyTorch loops: index_select, AdamW (fused), the same steps and rates
    eager     64 calls of `fit(compile="off")`
    alone     64 calls of `fit(compile="on")`, each with its own recording, the machine code from memory
    many      one `fit_many`

MLP 32-64-64-10 on 20,480 rows, batch 32, two epochs, no validation data, one thread, one core, called in turn, a quarter of the
seeds at a time. Each run of `fit_many` is compared with the one that `fit(compile="on")` made of the same seed, bit for bit, and
with the eager one; a rate of 1e-3 keeps what rounding differs from growing.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gradlearn
import measure
from measure import Row

SETTINGS: dict[str, Any] = {"batch": 32, "update": "adamw", "lr": 1e-3, "valid": None}


def mlp() -> nn.Module:
    """32-64-64-10."""
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def plain(seed: int, x: Tensor, y: Tensor, steps: int) -> nn.Module:
    """A hand-written loop with warmup and linear decay."""
    torch.manual_seed(seed)
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.05, fused=True)
    order, at = torch.randperm(len(x)), 0
    for t in range(steps):
        if at + 32 > len(x):
            order, at = torch.randperm(len(x)), 0
        index = order[at : at + 32]
        at += 32
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1.0, (t + 1) / (0.05 * steps)) * (1.0 - (t + 0.5) / steps)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x.index_select(0, index)), y.index_select(0, index)).backward()
        optimizer.step()
    return model


def one(seed: int, data: Any, steps: int, compiled: str) -> nn.Module:
    """A run of its own."""
    torch.manual_seed(seed)
    return gradlearn.fit(mlp(), data, seed=seed, steps=steps, compile=compiled, **SETTINGS).model


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, what came of it)."""
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def apart(a: nn.Module, b: nn.Module) -> float:
    """Largest difference of a parameter, in units of the largest of its tensor."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max(((p - q).abs().max() / q.abs().max()).item() for p, q in pairs)


def main() -> int:
    arguments = measure.options(__doc__).parse_args()
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(10, 32, generator=g)
    y = torch.randint(10, (20_480,), generator=g)
    x = centres[y] + torch.randn(20_480, 32, generator=g)
    steps, parts, each = (200, 1, 4) if arguments.quick else (1280, 4, 16)
    gradlearn.fit_many(mlp, (x, y), runs=1, steps=steps, compile="on", **SETTINGS)
    found: dict[str, list[float]] = {"plain": [], "eager": [], "alone": [], "many": []}
    bits, near = [], []
    for part in range(parts):
        seeds = list(range(part * each, (part + 1) * each))
        work: dict[str, Callable[[], Any]] = {
            "plain": lambda seeds=seeds: [plain(s, x, y, steps) for s in seeds],
            "eager": lambda seeds=seeds: [one(s, (x, y), steps, "off") for s in seeds],
            "alone": lambda seeds=seeds: [one(s, (x, y), steps, "on") for s in seeds],
            "many": lambda seeds=seeds: [
                r.model
                for r in gradlearn.fit_many(mlp, (x, y), runs=[{"seed": s} for s in seeds], steps=steps, compile="on", **SETTINGS)
            ],
        }
        models: dict[str, Any] = {}
        for name in work if part % 2 == 0 else reversed(work):
            seconds, models[name] = timed(work[name])
            found[name].append(seconds / each)
        bits += [apart(a, b) for a, b in zip(models["many"], models["alone"], strict=True)]
        near += [apart(a, b) for a, b in zip(models["many"], models["eager"], strict=True)]
        print(f"  {part + 1}/{parts}: " + ", ".join(f"{k} {1e3 * v[-1]:.1f} ms a run" for k, v in found.items()), flush=True)
    ratio = {k: statistics.median(a / b for a, b in zip(found[k], found["many"], strict=True)) for k in found}
    rows: list[Row] = [{"runs": k, "ms a run": 1e3 * statistics.median(v), "by fit_many": ratio[k]} for k, v in found.items()]
    bars = [
        measure.bar("64 plain loops / fit_many", ratio["plain"], 10.0, below=False),
        measure.bar("64 eager fits / fit_many", ratio["eager"], 10.0, below=False),
        measure.bar("largest difference from its own run", max(bits), 1e-5),
        measure.bar("largest difference from its eager run (median of the runs)", statistics.median(near), 1e-3),
    ]
    measure.table(rows, f"{parts * each} runs of {steps} steps")
    measure.table(bars)
    measure.write("many_seeds", {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows}, arguments.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
