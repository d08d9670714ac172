"""Claim: no damage to a checkpoint is loaded in silence.

A real small checkpoint (a convolutional network with its AdamW state, average and a snapshot: about 60 kB in 7 files) is cut
at every 64th byte of every file, and one bit is flipped in every 64th byte (in every byte of the two JSON files). Each mutant
must be noticed, named in a warning, and the checkpoint before it used instead, bit for bit.

    python benchmarks/checkpoint_faults.py [--quick]
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

import measure
from gradlearn.record import checkpoint

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


def damage(folder: Path, thin: int) -> list[measure.Row]:
    """Try every `thin`-th mutant of every file of the newest step; counts by file."""
    home = folder / "checkpoints"
    victim, good = home / f"step-{2:012d}", home / f"step-{1:012d}"
    shutil.move(victim, folder / "aside")
    before = checkpoint.newest(folder)
    shutil.move(folder / "aside", victim)
    assert before is not None
    rows = []
    for path in sorted(victim.iterdir()):
        data = path.read_bytes()
        row = {"file": path.name, "bytes": len(data), "cut": 0, "flip": 0, "silent": 0, "fell back": 0, "said so": 0}
        for i, (kind, bad) in enumerate(mutants(data, path.suffix == ".json")):
            if i % thin:
                continue
            path.write_bytes(bad)
            loaded = checkpoint.newest(folder)
            row[kind] += 1
            if loaded is None or loaded.t == 2:
                row["silent"] += 1
                continue
            row["fell back"] += loaded.t == 1 and same(loaded, before)
            said = [line.startswith(f"{victim}: ") and line.endswith(f"; using {good.name}") for line in loaded.warnings]
            row["said so"] += said == [True]
            victim.with_name(victim.name + ".corrupt").rename(victim)
        path.write_bytes(data)
        rows.append(row)
    healed = checkpoint.newest(folder)
    assert healed is not None
    assert healed.t == 2
    return [*rows, {key: sum(row[key] for row in rows) if key != "file" else "all" for key in rows[0]}]


def cost(folder: Path) -> dict[str, float]:
    """Milliseconds to save (with all waiting for the disk) and to load 5 MB in 50 tensors: medians of 15."""
    folder.mkdir()
    parts = {"model": {f"layer{i}.weight": torch.randn(125, 200) for i in range(50)}}
    save, load = [], []
    for t in range(15):
        start = time.perf_counter()
        checkpoint.save(folder, t, parts, {"t": t})
        middle = time.perf_counter()
        checkpoint.newest(folder)
        save.append(middle - start)
        load.append(time.perf_counter() - middle)
    return {"save 5 MB, ms": 1e3 * statistics.median(save), "load 5 MB, ms": 1e3 * statistics.median(load)}


def main() -> None:
    quick = measure.options(__doc__).parse_args().quick
    with measure.scratch() as folder:
        for t, (parts, state) in enumerate(states(2), 1):
            checkpoint.save(folder, t, parts, state)
        rows = damage(folder, 16 if quick else 1)
        speed = cost(folder / "cost")
    total = rows[-1]
    count = total["cut"] + total["flip"]
    bars = [
        measure.bar("mutants loaded in silence", total["silent"], 0),
        measure.bar("mutants that fell back to the step before, bit for bit", total["fell back"], count, below=False),
        measure.bar("mutants that were named in a warning", total["said so"], count, below=False),
    ]
    measure.table(rows, f"{count} damaged checkpoints")
    measure.table([speed])
    measure.table(bars)
    measure.write("checkpoint_faults", {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows, **speed}, quick)


if __name__ == "__main__":
    main()
