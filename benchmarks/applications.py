"""Claim: a step of a small GRU, a PPO update, a circuit or a physics fit takes at most half the time of its plain PyTorch loop.

    GRU        embedding 200 x 32, GRU 64, 4 classes; batch 32, sequence 20
    PPO update two networks of 64-64, batch 256: clipped ratio, value, entropy
    circuit    6 qubits, 4 layers, one gate at a time in complex numbers, batch 32
    physics    heat equation by an MLP of 3 x 32, 256 points, second derivatives
    LSTM       embedding 5000 x 64, LSTM 128, batch 64, sequence 32 (nn.LSTM in the plain loop)
    CNN        conv 16 - pool - conv 32 - pool - 64 - 10 on 28 x 28, batch 128 (default memory format in the plain loop)

The same module in both; AdamW at the same rate; one core; a warm process; called in turn. Ours is the loop that
`fit(compile="on")` runs, with its checks, snapshots and history, read while it goes on; set-up and compiling stand beside it.
Whether a program computes what PyTorch does is seen from the loss after 20 steps of two fits, compiled and eager.

The roofline: floating-point operations of the matrix products and convolutions, and bytes that loops and products must move at
least, over the time of a step, against what this core does in a large product and in a large copy.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import torch
from torch import Tensor

import gradlearn
import measure
from application_models import Application, applications
from gradlearn.learn import planned, task_of
from gradlearn.loop import train
from gradlearn.plan import Plan
from gradlearn.supervised import operations
from measure import Row

ROUNDS = 9
LR = 1e-3
SETTINGS = {"update": "adamw", "lr": LR, "adamw.weight_decay": 0.01, "rate": ["constant"], "average": "plain"}


def rows_of(value: Any, index: Tensor) -> Any:
    """Examples of a tensor or of each in a tuple."""
    return tuple(v.index_select(0, index) for v in value) if isinstance(value, tuple) else value.index_select(0, index)


class Plain:
    """A plain loop, as a user writes it."""

    def __init__(self, app: Application) -> None:
        torch.manual_seed(0)
        self.app, self.model = app, app.make()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LR, weight_decay=0.01, fused=True)
        self.n = len(app.y[0]) if isinstance(app.y, tuple) else len(app.y)
        self.order, self.at = torch.randperm(self.n), 0

    def steps(self, count: int) -> float:
        """Seconds a step."""
        app = self.app
        start = time.perf_counter()
        for _ in range(count):
            if self.at + app.batch > self.n:
                self.order, self.at = torch.randperm(self.n), 0
            index = self.order[self.at : self.at + app.batch]
            self.at += app.batch
            self.optimizer.zero_grad(set_to_none=True)
            app.plain(self.model(rows_of(app.x, index)), rows_of(app.y, index)).backward()
            self.optimizer.step()
        return (time.perf_counter() - start) / count


def fitted(app: Application, steps: int, compiled: str) -> Any:
    """The run of one fit."""
    torch.manual_seed(0)
    more = {"steps": steps, "batch": app.batch, "compile": compiled} | {k.replace(".", "__"): v for k, v in SETTINGS.items()}
    return gradlearn.fit(app.make(), (app.x, app.y), app.loss, valid=None, **more)


class Ours:
    """The loop of a fit, some steps at a time."""

    def __init__(self, app: Application, compiled: str, most: int) -> None:
        torch.manual_seed(0)
        self.model = app.make()
        user = {"batch": app.batch, "steps": most, "compile": compiled, "looks": 0, **SETTINGS}
        task = task_of(self.model, (app.x, app.y), app.loss, None, user, None, 0)
        self.descent, _ = planned(task, Plan(user), 0.0)
        self.loop = train(self.descent, ahead=True)

    def steps(self, count: int) -> float:
        """Seconds a step."""
        start = time.perf_counter()
        for _ in range(count):
            next(self.loop)
        return (time.perf_counter() - start) / count


def one(name: str, app: Application, rounds: int) -> dict[str, Any]:
    """All readings of one application."""
    start = time.perf_counter()
    fitted(app, 1, "on")
    cold = time.perf_counter() - start
    check = [fitted(app, 20, how).history["loss"][-1] for how in ("on", "off")]
    most = app.steps * (rounds + 2)
    every = {"plain": Plain(app), "ours": Ours(app, "on", most), "eager": Ours(app, "off", most)}
    for loop in every.values():
        loop.steps(app.steps)
    found: list[dict[str, float]] = []
    for k in range(rounds):
        found.append({key: every[key].steps(app.steps) for key in (every if k % 2 == 0 else reversed(every))})
        print(f"  {name} {k + 1}/{rounds}: " + ", ".join(f"{key} {1e6 * v:,.0f} us" for key, v in found[-1].items()), flush=True)
    program = every["ours"].descent.program
    cost = {"flop": operations(every["ours"].descent.task, every["ours"].model) * app.batch, "bytes": 0.0}
    if program is not None:
        cost = {"flop": program.work(), "bytes": program.traffic()}
    return {"rows": found, "cold": cold, "loss": check, "cost": cost}


def limits() -> dict[str, float]:
    """What this core does: GFLOP/s of a large float32 product, GB/s of a large copy (read and write)."""
    a, b = torch.randn(1024, 1024), torch.randn(1 << 25)
    c, d = torch.empty_like(a), torch.empty_like(b)
    best = {"product": 0.0, "copy": 0.0}
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(a, a, out=c)
        best["product"] = max(best["product"], 2 * 1024**3 / (time.perf_counter() - start) / 1e9)
        start = time.perf_counter()
        d.copy_(b)
        best["copy"] = max(best["copy"], 2 * b.nbytes / (time.perf_counter() - start) / 1e9)
    return best


def main() -> int:
    parser = measure.options(__doc__)
    parser.add_argument("--only", action="append", help="one application")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    top, rows, bars = limits(), [], []
    readings: dict[str, Any] = {}
    for name, app in applications().items():
        if arguments.only and name not in arguments.only:
            continue
        got = one(name, app, 3 if arguments.quick else ROUNDS)
        readings[name] = got
        ratio = statistics.median(r["ours"] / r["plain"] for r in got["rows"])
        ours, plain, eager = (statistics.median(r[k] for r in got["rows"]) for k in ("ours", "plain", "eager"))
        bars.append(measure.bar(f"{name}: ours by plain loop", ratio, app.bar))
        away = abs(got["loss"][0] - got["loss"][1]) / max(abs(got["loss"][1]), 1e-9)
        bars.append(measure.bar(f"{name}: loss after 20 steps, compiled by eager, relative difference", away, 1e-3))
        row: Row = {"application": name, "plain us": 1e6 * plain, "ours us": 1e6 * ours, "ratio": ratio}
        row |= {"ours eager us": 1e6 * eager, "compiled in s": got["cold"]}
        flop, moved = got["cost"]["flop"], got["cost"]["bytes"]
        row |= {"MFLOP": flop / 1e6, "plain GFLOP/s": flop / plain / 1e9, "ours GFLOP/s": flop / ours / 1e9}
        row |= {"of the product": flop / ours / 1e9 / top["product"], "MB": moved / 1e6, "ours GB/s": moved / ours / 1e9}
        rows.append(row)
    measure.table(rows, f"one core; a large product {top['product']:.0f} GFLOP/s, a large copy {top['copy']:.0f} GB/s")
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "limits": top, "bars": bars, "rows": rows, "readings": readings}
    measure.write("applications", payload, arguments.quick or bool(arguments.only))
    return 0


if __name__ == "__main__":
    sys.exit(main())
