"""Claim: ten times more pictures cost less memory than the pictures decoded, and none past the memory-map threshold.

Two generated IDX folders of grey 64 x 64 pictures, 40 and 400 MB decoded (uint8), same model, batch and number of
steps. First with room to keep all decoded pictures in memory, then with `--memory` below both, so that they are mapped
from a file. Two peaks are read: `resident`, ru_maxrss, all that was resident at once, pages of mapped files included,
which the system takes back whenever it likes; and `anonymous`, the largest RssAnon + RssShmem sampled 50 times a
second, memory that no file stands behind. The median over repeats of each.
"""

from __future__ import annotations

import statistics
import struct
from pathlib import Path

import measure
from measure import Row

SIDE = 64
NOISE = 5_000_000  # bytes by which two equal runs may differ


def generate(folder: Path, rows: int) -> int:
    """An MNIST-style folder of `rows` training and 1,000 test pictures, ten classes. Returns its decoded bytes."""
    import numpy as np

    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    prototypes = chance.integers(0, 200, (10, SIDE, SIDE), dtype=np.uint8)
    for name, n in (("train", rows), ("t10k", 1000)):
        labels = (np.arange(n) % 10).astype(np.uint8)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, n) + labels.tobytes())
        with (folder / f"{name}-images-idx3-ubyte").open("wb") as file:
            file.write(struct.pack(">IIII", 0x803, n, SIDE, SIDE))
            for start in range(0, n, 1000):
                part = labels[start : start + 1000]
                noise = chance.integers(0, 56, (len(part), SIDE, SIDE), dtype=np.uint8)
                file.write((prototypes[part] + noise).tobytes())
    return (rows + 1000) * SIDE * SIDE


def peak(folder: Path, memory: str, repeats: int, steps: int) -> Row:
    """Median peaks of whole commands on one folder."""
    resident, anonymous = [], []
    for _ in range(repeats):
        with measure.scratch() as runs:
            arguments = ["train", "images", str(folder), "--steps", str(steps), "--batch", "64", "--valid", "0.01"]
            done = measure.command(*arguments, "--memory", memory, "--runs", str(runs), "--json", watch=True)
        if done.code:
            raise SystemExit(f"gradlearn {' '.join(arguments)} --memory {memory}: exit code {done.code}\n{done.said}")
        resident.append(done.peak)
        anonymous.append(done.anonymous)
    return {"resident": statistics.median(resident), "anonymous": statistics.median(anonymous), "repeats": repeats}


def compare(folders: dict[Path, int], memory: str, repeats: int, steps: int) -> tuple[list[Row], dict[str, float]]:
    """Both folders under one threshold; and by how many bytes the larger one's peaks are higher."""
    rows = [
        {"memory": memory, "decoded": size, **peak(folder, memory, repeats, steps)} for folder, size in folders.items()
    ]
    small, large = rows
    return rows, {key: large[key] - small[key] for key in ("decoded", "resident", "anonymous")}


def main() -> None:
    arguments = measure.options(__doc__).parse_args()
    small, repeats, steps = (1_000, 1, 5) if arguments.quick else (10_000, 3, 30)
    with measure.scratch() as place:
        folders = {place / f"{n}": generate(place / f"{n}", n) for n in (small, 10 * small)}
        kept, by = compare(folders, "4GB", repeats, steps)
        mapped, none = compare(folders, "2MB", repeats, steps)
    bars = [
        measure.bar("in memory: resident grows by, over decoded bytes", by["resident"] / by["decoded"], 1.0),
        measure.bar("in memory: anonymous grows by, over decoded bytes", by["anonymous"] / by["decoded"], 1.0),
        measure.bar("mapped: anonymous grows by, bytes", none["anonymous"], NOISE),
        measure.bar("mapped: resident grows by, over decoded bytes", none["resident"] / none["decoded"], 1.0),
    ]
    megabytes = [
        {key: f"{value / 1e6:.1f} MB" if key in by else value for key, value in row.items()} for row in kept + mapped
    ]
    measure.table(megabytes, f"peak memory, {steps} steps")
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "noise": NOISE, "bars": bars, "rows": kept + mapped}
    measure.write("memory", payload, arguments.quick)


if __name__ == "__main__":
    main()
