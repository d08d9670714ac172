"""Claim: ten times more pictures cost less memory than the pictures decoded, and none past the limit that --memory sets.

Two generated IDX folders of grey 64 x 64 pictures, 45 and 414 MB decoded (uint8), same network, batch and number of
steps. First with room for all decoded pictures in memory; then with `--memory` below both, so that they are read from a
file. Of pictures that fit, those that are only scored wait in a file where they are 16 MiB or more (`data/apart.py`): here
25 MB of the large set and none of the small one, which is what brings the first reading below one.

Two peaks: `resident`, ru_maxrss, all that was resident at once, mapped libraries included; and `anonymous`, the largest
RssAnon + RssShmem of 50 samples a second, memory that no file stands behind. One thread, one malloc arena and a fixed
hash seed, since equal runs otherwise differ by 10 to 60 MB and with them by 0.1. Sizes take turns; medians.
"""

from __future__ import annotations

import statistics
import struct
from pathlib import Path

import measure
from measure import Finished, Row

SIDE = 64
NOISE = 5_000_000  # bytes by which two equal runs may differ
STILL = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "PYTHONHASHSEED": "0"}
LIMITS = {"in memory": "4GB", "in a file": "2MB"}
MEGABYTES = ("decoded", "resident", "anonymous", "spread")


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


def once(folder: Path, limit: str, steps: int) -> Finished:
    """One whole command on one folder."""
    options = ["--steps", str(steps), "--batch", "32", "--model", "convnet", "--convnet.width", "8", "--valid", "0.05"]
    with measure.scratch() as runs:
        places = ["--memory", limit, "--runs", str(runs), "--json"]
        done = measure.command("train", "images", str(folder), *options, *places, watch=True, extra=STILL)
    if done.code:
        raise SystemExit(f"gradlearn train images {folder} --memory {limit}: exit code {done.code}\n{done.said}")
    return done


def peaks(folders: dict[Path, int], kept: str, repeats: int, steps: int) -> list[Row]:
    """One row a folder, the smaller first: median peaks in bytes."""
    once(next(iter(folders)), LIMITS[kept], steps)  # compiles what is not compiled yet
    found: dict[Path, list[Finished]] = {folder: [] for folder in folders}
    for _ in range(repeats):
        for folder, readings in found.items():
            readings.append(once(folder, LIMITS[kept], steps))
    return [
        {
            "pictures": kept,
            "decoded": folders[folder],
            "resident": statistics.median(done.peak for done in readings),
            "anonymous": statistics.median(done.anonymous for done in readings),
            "spread": max(done.anonymous for done in readings) - min(done.anonymous for done in readings),
            "repeats": repeats,
        }
        for folder, readings in found.items()
    ]


def main() -> None:
    arguments = measure.options(__doc__).parse_args()
    small, repeats, steps = (5_000, 1, 5) if arguments.quick else (10_000, 3, 30)
    with measure.scratch() as place:
        folders = {place / f"{n}": generate(place / f"{n}", n) for n in (small, 10 * small)}
        rows = {kept: peaks(folders, kept, repeats, steps) for kept in LIMITS}
    by = {kept: {key: two[1][key] - two[0][key] for key in MEGABYTES[:3]} for kept, two in rows.items()}
    room, file = by["in memory"], by["in a file"]
    bars = [
        measure.bar("in memory: resident grows by, over decoded bytes", room["resident"] / room["decoded"], 1.0),
        measure.bar("in memory: anonymous grows by, over decoded bytes", room["anonymous"] / room["decoded"], 1.0),
        measure.bar("in a file: resident grows by, MB", file["resident"] / 1e6, NOISE / 1e6),
        measure.bar("in a file: anonymous grows by, MB", file["anonymous"] / 1e6, NOISE / 1e6),
    ]
    each = {f"{kept}: {key} bytes a picture more": round(one[key] / (9 * small), 1) for kept, one in by.items() for key in one}
    both = [row for two in rows.values() for row in two]
    shown = [{k: f"{v / 1e6:.1f} MB" if k in MEGABYTES else v for k, v in row.items()} for row in both]
    measure.table(shown, f"peak memory, {steps} steps")
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "each": each, "bars": bars, "rows": both}
    measure.write("memory", payload, arguments.quick)


if __name__ == "__main__":
    main()
