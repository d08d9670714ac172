"""Claim: an elementwise update costs one pass over memory: 0.7 of the limit on 10 M parameters, 0.5 on 500 tensors of 1,000.

The limit is a loop in C (gcc -O3, made here and only here) that reads and writes exactly the bytes which that update must read and
write, on tensors of the same size. Beside it: our update on one flat vector (as in a run) and on a list of tensors (as in a loop of
one's own), compiled and in pure PyTorch (without the extra `fast`); torch's fused kernel, where there is one, or torch's default;
the same update of pytorch_optimizer, schedulefree, prodigyopt and torch-optimi at their defaults, on the list.

One thread, one core. Contenders take turns, a few steps each, in rounds; medians over rounds. Time is the thread's own (CPU) time,
so that other programs' turns on the core do not count; nobody sleeps or waits here. Ours is compiled before the first round, which
in a run happens once plain PyTorch has cost as much time.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import measure
from measure import ROOT, Row

os.environ.setdefault("OMP_NUM_THREADS", "1")

SIZES = {"10 M": [1_000_000] * 10, "500 x 1,000": [1000] * 500}
STEPS = {"10 M": 2, "500 x 1,000": 20}  # in one turn
PEERS = ROOT / ".peers" / "updates" / "bin" / "python"

# What each update must read and write: for each pass over memory, how many vectors change and how many are only read.
PASSES = {
    "adamw": [(3, 1)],
    "nadam": [(3, 1)],
    "radam": [(3, 1)],
    "sgd": [(2, 1)],
    "lion": [(2, 1)],
    "rmsprop": [(2, 1)],
    "adagrad": [(2, 1)],
    "adadelta": [(3, 1)],
    "adamax": [(3, 1)],
    "ademamix": [(4, 1)],
    "schedule_free": [(3, 1)],
    "schedule_free_sgd": [(2, 1)],
    "prodigy": [(3, 3), (1, 2)],  # d is known only when all gradients have been seen
    "dog": [(0, 1), (2, 2)],  # so is |g|; the average is a vector too
    "momo": [(1, 2), (1, 1)],
    "momo_adam": [(2, 2), (1, 2)],
}
TORCH = {
    "adamw": "AdamW",
    "nadam": "NAdam",
    "radam": "RAdam",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "adamax": "Adamax",
}
FUSED = ("adamw", "sgd", "adagrad")
THEIRS = {
    "adamw": ("pytorch_optimizer.AdamW", "optimi.AdamW"),
    "nadam": ("pytorch_optimizer.NAdam",),
    "radam": ("pytorch_optimizer.RAdam", "optimi.RAdam"),
    "sgd": ("pytorch_optimizer.SGD", "optimi.SGD"),
    "lion": ("pytorch_optimizer.Lion", "optimi.Lion"),
    "rmsprop": ("pytorch_optimizer.RMSprop",),
    "adadelta": ("pytorch_optimizer.AdaDelta",),
    "adamax": ("pytorch_optimizer.AdaMax",),
    "ademamix": ("pytorch_optimizer.AdEMAMix",),
    "schedule_free": ("schedulefree.AdamWScheduleFree", "pytorch_optimizer.ScheduleFreeAdamW"),
    "schedule_free_sgd": ("schedulefree.SGDScheduleFree", "pytorch_optimizer.ScheduleFreeSGD"),
    "prodigy": ("prodigyopt.Prodigy", "pytorch_optimizer.Prodigy"),
}


def tensors(sizes: list[int]) -> list[Any]:
    """Parameters with gradients, the same for all."""
    import torch

    g = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(n, generator=g)) for n in sizes]
    for p in params:
        p.grad = torch.randn(p.shape, generator=g) * 1e-2
    return params


def limit(passes: list[tuple[int, int]], sizes: list[int]) -> Callable[[], None]:
    """The C loop: per pass one stream over all vectors, each element of which enters a sum that each changed element takes up."""
    import torch

    code = ["#include <stddef.h>", "static volatile float sink;"]
    for k, (written, read) in enumerate(passes):
        names = [f"w{i}" for i in range(written)] + [f"r{i}" for i in range(read)]
        arguments = ", ".join(f"{'' if name[0] == 'w' else 'const '}float *restrict {name}" for name in names)
        total = " + ".join(f"{name}[i]" for name in names)
        change = " ".join(f"w{i}[i] = w{i}[i] * 0.5f + s * {0.1 * (i + 1)}f;" for i in range(written))
        fold = "" if written else "t += s;"
        loop = f"for (size_t i = 0; i < n; i++) {{ float s = {total}; {change} {fold} }}"
        code.append(f"void pass{k}(size_t n, {arguments}) {{ float t = 0; {loop} sink = t; }}")
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "limit.c", Path(folder) / "limit.so"
        source.write_text("\n".join(code))
        flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
        subprocess.run(["gcc", *flags, str(source), "-o", str(library)], check=True)
        loaded = ctypes.CDLL(str(library))
    n = sum(sizes)
    vectors = [torch.randn(n) * 1e-3 for _ in range(max(w + r for w, r in passes))]
    calls = [
        (getattr(loaded, f"pass{k}"), [ctypes.c_size_t(n), *(ctypes.c_void_p(v.data_ptr()) for v in vectors[: w + r])])
        for k, (w, r) in enumerate(passes)
    ]

    def step() -> None:
        for function, arguments in calls:
            function(*arguments)

    step.keep = vectors  # type: ignore[attr-defined]  # the addresses are theirs
    return step


def stepper(update: Any) -> Callable[[], None]:
    """One step; ours are told of the loss."""
    if not hasattr(update, "observe"):
        return update.step
    from gradlearn.symbols import Estimate

    estimate = Estimate(1.0, 1.0, 1)

    def step() -> None:
        update.observe(estimate)
        update.step()

    return step


def plainly(step: Callable[[], None]) -> Callable[[], None]:
    """The same as where numba is not installed."""
    from gradlearn import sweep

    def without() -> None:
        had = sweep._native
        sweep._native = lambda: False  # type: ignore[assignment]
        try:
            step()
        finally:
            sweep._native = had

    return without


def contenders(name: str, sizes: list[int]) -> dict[str, Callable[[], None]]:
    """Ours, torch's and the limit of one update."""
    import torch

    from gradlearn import sweep
    from gradlearn.find import find

    sweep.ENOUGH = 0  # compile at once
    kind = find("update", name)
    found: dict[str, Callable[[], None]] = {"limit": limit(PASSES[name], sizes)}
    found["ours, flat"] = stepper(kind(tensors([sum(sizes)])))
    found["ours, list"] = stepper(kind(tensors(sizes)))
    if name not in ("adamw", "sgd"):
        found["ours, pure PyTorch, flat"] = plainly(stepper(kind(tensors([sum(sizes)]))))
    if name in TORCH:
        how = {"fused": True} if name in FUSED else {}
        extra = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
        twin = getattr(torch.optim, TORCH[name])
        found["torch, list"] = twin(tensors(sizes), lr=1e-3, **how, **extra).step
        found["torch, flat"] = twin(tensors([sum(sizes)]), lr=1e-3, **how, **extra).step
    return found


def theirs(name: str, sizes: list[int]) -> dict[str, Callable[[], None]]:
    """The peers' updates of this name, on the list."""
    import importlib

    found: dict[str, Callable[[], None]] = {}
    for path in THEIRS.get(name, ()):
        package, _, kind = path.partition(".")
        options: dict[str, Any] = {"momentum": 0.9} if name == "sgd" else {}
        if package == "optimi":
            options["lr"] = 1e-3
        update = getattr(importlib.import_module(package), kind)(tensors(sizes), **options)
        if hasattr(update, "train"):
            update.train()
        found[path] = update.step
    return found


def serve(make: Callable[[str, list[int]], dict[str, Callable[[], None]]]) -> None:
    """A warm process: builds contenders and times steps, one request a line."""
    import torch

    torch.set_num_threads(1)
    pool: dict[str, Callable[[], None]] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "build":
            pool = {}
            pool = make(asked["update"], SIZES[asked["size"]])
            for step in pool.values():
                for _ in range(2):
                    step()
            answer: Any = list(pool)
        else:
            start = time.thread_time()
            for _ in range(asked["steps"]):
                pool[asked["contender"]]()
            answer = (time.thread_time() - start) / asked["steps"]
        print(json.dumps(answer), flush=True)


class Process:
    """One of the two warm processes; both run on the same core."""

    def __init__(self, side: str, python: str, core: int) -> None:
        self.process = subprocess.Popen(
            [python, "-W", "ignore", __file__, "--serve", side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            text=True,
        )
        os.sched_setaffinity(self.process.pid, {core})

    def __call__(self, **asked: Any) -> Any:
        """The answer to one request."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"elementwise.py --serve ended with {self.process.wait()}; run it by hand to see why")
        return json.loads(line)

    def close(self) -> None:
        """Ends it by ending its stdin."""
        self.process.communicate()


def readings(processes: list[Process], update: str, size: str, rounds: int) -> dict[str, list[float]]:
    """Seconds a step of every contender, round by round; each round begins with another one."""
    where = {name: process for process in processes for name in process(do="build", update=update, size=size)}
    order, found = list(where), {name: [] for name in where}
    for i in range(rounds):
        for name in order[i % len(order) :] + order[: i % len(order)]:
            found[name].append(where[name](do="read", contender=name, steps=STEPS[size]))
    return found


def summarise(update: str, size: str, found: dict[str, list[float]]) -> Iterator[Row]:
    """One row a contender."""
    base = statistics.median(found["limit"])
    numbers = sum(2 * w + r for w, r in PASSES[update])
    for name, seconds in found.items():
        middle = statistics.median(seconds)
        gigabytes = 4e-9 * numbers * sum(SIZES[size]) / middle
        row = {"size": size, "update": update, "contender": name, "ms": round(middle * 1e3, 4), "share": round(base / middle, 3)}
        yield row | {"low_ms": round(min(seconds) * 1e3, 4), "high_ms": round(max(seconds) * 1e3, 4), "GB/s": round(gigabytes, 2)}


def judge(rows: list[Row]) -> list[Row]:
    """The bars: the worst update of each kind."""
    ms = {(row["size"], row["update"], row["contender"]): row["ms"] for row in rows}
    bars: list[Row] = []

    def worst(what: str, values: dict[str, float], bound: float, below: bool = False) -> None:
        if values:
            name = (max if below else min)(values, key=lambda key: values[key])
            bars.append(measure.bar(f"{what} ({name})", values[name], bound, below))

    for size, bound in (("10 M", 0.7), ("500 x 1,000", 0.5)):
        for way in ("flat", "list"):
            if size == "10 M" or way == "flat":
                shares = {u: ms[size, u, "limit"] / t for (s, u, c), t in ms.items() if s == size and c == f"ours, {way}"}
                worst(f"{size}, {way}: share of the limit, worst", shares, bound)
    for size in SIZES:
        for way in ("flat", "list"):
            fused = {u: ms[size, u, f"ours, {way}"] / ms[size, u, f"torch, {way}"] for u in FUSED if (size, u, "limit") in ms}
            worst(f"{size}, {way}: ours / torch fused, worst", fused, 1.05, True)
    for size in SIZES:
        for way in ("list", "flat"):
            peers = {f"{u}, {c}": t / ms[s, u, f"ours, {way}"] for (s, u, c), t in ms.items() if s == size and "." in c}
            worst(f"{size}: peer on the list / ours, {way}, worst", peers, 3.0)
    formulas = {
        u: ms[s, u, "torch, list"] / ms[s, u, "ours, list"]
        for (s, u, c) in ms
        if s == "500 x 1,000" and c == "torch, list" and u not in ("adamw", "sgd")
    }
    worst("500 x 1,000, list: torch / ours of formulas, worst", formulas, 2.0)
    return bars


def main() -> None:
    """Runs all updates at both sizes, prints table and bars, keeps the result."""
    parser = measure.options(__doc__)
    parser.add_argument("--serve", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--update", choices=tuple(PASSES), action="append", help="default: all")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contender (default 9)")
    arguments = parser.parse_args()
    if arguments.serve:
        serve(contenders if arguments.serve == "ours" else theirs)
        return
    if not shutil.which("gcc"):
        raise SystemExit("elementwise.py: needs gcc, for the limit only")
    if not PEERS.exists():
        raise SystemExit(f"no {PEERS.relative_to(ROOT)}; run benchmarks/peers.sh first")
    core = max(os.sched_getaffinity(0))
    processes = [Process("ours", sys.executable, core), Process("theirs", str(PEERS), core)]
    rows: list[Row] = []
    raw: dict[str, dict[str, list[float]]] = {}
    try:
        for size in SIZES:
            for update in arguments.update or PASSES:
                found = readings(processes, update, size, 2 if arguments.quick else arguments.rounds)
                raw[f"{update}, {size}"] = found
                rows += summarise(update, size, found)
                shown = ", ".join(f"{name} {statistics.median(s) * 1e3:.2f}" for name, s in found.items())
                print(f"  {size} {update}, ms: {shown}", flush=True)
    finally:
        for process in processes:
            process.close()
    bars = judge(rows)
    measure.table(rows, "ms a step; share: of the limit")
    measure.table(bars)
    partial = arguments.quick or bool(arguments.update)
    payload = {"claim": measure.first_line(__doc__), "passes": PASSES, "bars": bars, "rows": rows}
    measure.write("elementwise", {**payload, "seconds": raw}, quick=partial, peers=True)


if __name__ == "__main__":
    main()
