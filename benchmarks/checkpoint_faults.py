"""Claim: no damage to a checkpoint is loaded in silence.

A real small checkpoint (a convolutional network with its AdamW state, average and a snapshot: about 60 kB in 7 files) is cut
at every 64th byte of every file, and one bit is flipped in every 64th byte (in every byte of the two JSON files). Each mutant
must be noticed, named in a warning, and the checkpoint before it used instead, bit for bit.

    python benchmarks/checkpoint_faults.py        prints a table, writes results/checkpoint_faults.json
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from gradlearn.record import checkpoint, disk

RESULTS = Path(__file__).parent / "results" / "checkpoint_faults.json"
EVERY = 64


def states(steps: int) -> Iterator[tuple[dict[str, dict[str, torch.Tensor]], dict[str, object]]]:
    """The state of a tiny run after each of its first steps."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(72, 36),
        nn.ReLU(),
        nn.Linear(36, 10),
    )
    update = torch.optim.AdamW(model.parameters(), lr=3e-3)
    average = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for t in range(1, steps + 1):
        loss = nn.functional.cross_entropy(model(torch.randn(16, 1, 8, 8)), torch.randint(10, (16,)))
        update.zero_grad()
        loss.backward()
        update.step()
        theta = model.state_dict()
        average = {k: 0.9 * average[k] + 0.1 * v if v.is_floating_point() else v for k, v in theta.items()}
        moments = {f"{i}.{k}": v for i, s in update.state_dict()["state"].items() for k, v in s.items()}
        parts = {"model": theta, "update": moments, "average": average, "task": {}, "ring": {f"0.{k}": v for k, v in theta.items()}}
        state = {"t": t, "loss": loss.item(), "seen": 16 * t, "dials": {"rate": 1.0, "clip": 0.0}, "log": {"steps": 120 * t}}
        yield parts, state


def mutants(data: bytes, whole: bool) -> Iterator[tuple[str, bytes]]:
    """(kind, damaged bytes): every 64th place, or every place for flips if `whole`."""
    for at in range(0, len(data), EVERY):
        yield "cut", data[:at]
    for at in range(0, len(data), 1 if whole else EVERY):
        yield "flip", data[:at] + bytes([data[at] ^ (1 << (at if whole else at // EVERY) % 8)]) + data[at + 1 :]


def same(one: checkpoint.Loaded, two: checkpoint.Loaded) -> bool:
    """Whether two loaded checkpoints are equal bit for bit."""
    groups = one.parts.keys() == two.parts.keys() and all(one.parts[k].keys() == two.parts[k].keys() for k in one.parts)
    return (
        groups
        and one.state == two.state
        and all(torch.equal(v, two.parts[k][n]) for k, g in one.parts.items() for n, v in g.items())
    )


def damage(folder: Path) -> dict[str, dict[str, int]]:
    """Try every mutant of every file of the newest step; counts by file."""
    home = folder / "checkpoints"
    victim, good = home / f"step-{2:012d}", home / f"step-{1:012d}"
    shutil.move(victim, folder / "aside")
    before = checkpoint.newest(folder)
    shutil.move(folder / "aside", victim)
    assert before is not None
    table: dict[str, dict[str, int]] = {}
    for path in sorted(victim.iterdir()):
        data = path.read_bytes()
        row = table[path.name] = {"bytes": len(data), "cut": 0, "flip": 0, "silent": 0, "fell_back": 0, "said_so": 0}
        for kind, bad in mutants(data, path.suffix == ".json"):
            path.write_bytes(bad)
            loaded = checkpoint.newest(folder)
            row[kind] += 1
            row["silent"] += loaded is None or loaded.t == 2
            row["fell_back"] += loaded is not None and loaded.t == 1 and same(loaded, before)
            row["said_so"] += loaded is not None and [
                line.startswith(f"{victim}: ") and line.endswith(f"; using {good.name}") for line in loaded.warnings
            ] == [True]
            aside = victim.with_name(victim.name + ".corrupt")
            if aside.exists():
                aside.rename(victim)
        path.write_bytes(data)
    healed = checkpoint.newest(folder)
    assert healed is not None
    assert healed.t == 2
    return table


def cost(folder: Path) -> dict[str, float]:
    """Milliseconds to save and to load 5 MB (medians of 15), with and without waiting for the disk."""
    parts = {"model": {f"layer{i}.weight": torch.randn(125, 200) for i in range(50)}}
    times: dict[str, list[float]] = {"save": [], "load": []}
    for t in range(15):
        start = time.perf_counter()
        checkpoint.save(folder, t, parts, {"t": t})
        middle = time.perf_counter()
        checkpoint.newest(folder)
        times["save"].append(middle - start)
        times["load"].append(time.perf_counter() - middle)
    return {f"{name}_5MB_ms": round(1e3 * sorted(values)[7], 2) for name, values in times.items()}


def machine() -> dict[str, object]:
    """What the numbers were made on."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "safetensors")},
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": platform.system(),
    }


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for t, (parts, state) in enumerate(states(2), 1):
            checkpoint.save(folder, t, parts, state)
        start = time.perf_counter()
        table = damage(folder)
        seconds = time.perf_counter() - start
        (folder / "cost").mkdir()
        speed = cost(folder / "cost")
    total = {key: sum(row[key] for row in table.values()) for key in next(iter(table.values()))}
    count = total["cut"] + total["flip"]
    columns = list(total)
    print(f"{'file':24}" + "".join(f"{key:>10}" for key in columns))
    for file, row in [*table.items(), ("all", total)]:
        print(f"{file:24}" + "".join(f"{row[key]:10}" for key in columns))
    print(
        f"{count} mutants in {seconds:.1f} s: {total['silent']} loaded in silence, {total['fell_back']} fell back, {total['said_so']} said so"
    )
    print(", ".join(f"{key} {value}" for key, value in speed.items()))
    passed = total["silent"] == 0 and total["fell_back"] == total["said_so"] == count
    result = {"mutants": count, **total, "passed": passed, "files": table, **speed, "machine": machine()}
    disk.replace(RESULTS, (json.dumps(result, indent=1) + "\n").encode())
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
