"""Claim: photographs reach the network 1.5 times as fast as from the best DataLoader, over a first epoch of JPEG and two more.

Photographs of 500 x 375, JPEG of quality 90 and 85 kB each, made from those of blood cells with crops and grain of their own. Every
contender does the same to each (`loading_contender.py`): decode, random crop to 224 x 224, mirror, ColorJitter(0.4), batches of 64
as normalised float32. Peers decode anew in each epoch: torchvision's ImageNet example, timm's transform, torchvision v2 on bytes
with its own decoder (2 and 3 workers), and on Pillow images; the best of them in each reading is the peer. Ours decodes once with
the short side at 256, keeps the bytes in memory or in a file, and changes those; its first epoch has the reading in it, headers
and fingerprint included. All files are in the system's cache. Two cores; readings in turn, medians.

The peers' processes are warm when they are read (an epoch before the first); ours is a new process, with everything imported, for
each round. Beside images a second on the clock stands processor time a picture, which another program's load changes less.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

import measure
from measure import ROOT, Row, Worker

DATA = ROOT.parent / "shared" / "data" / "bccd" / "JPEGImages"
PEER_PYTHON = ROOT / ".peers" / "augment" / "bin" / "python"
OURS = ("ours", "ours, in a file")
PEERS = (
    "torchvision, Pillow",
    "timm",
    "torchvision v2, bytes",
    "torchvision v2, bytes, 3 workers",
    "torchvision v2, Pillow, bytes",
)
EPOCHS = 3
LEAST = {"first epoch": 1.0, "each later epoch": 1.5, f"{EPOCHS} epochs": 1.5}


def generate(folder: Path, source: Path, n: int) -> int:
    """`n` photographs in ten classes; returns their bytes."""
    import numpy as np
    from PIL import Image

    found, chance, size = sorted(source.glob("*.jpg")), np.random.default_rng(0), 0
    if not found:
        raise SystemExit(f"{source}: no photographs; give a folder with --data")
    for i in range(n):
        with Image.open(found[i % len(found)]) as image:
            share = chance.uniform(0.6, 1.0)
            w, h = int(share * image.width), int(share * image.height)
            left, top = int(chance.integers(image.width - w + 1)), int(chance.integers(image.height - h + 1))
            part = image.convert("RGB").crop((left, top, left + w, top + h)).resize((500, 375), Image.Resampling.BICUBIC)
        grain = np.clip(np.asarray(part) + chance.normal(0, 14, (375, 500, 1)), 0, 255).astype(np.uint8)
        path = folder / f"class-{i % 10}" / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grain).save(path, quality=90)
        size += path.stat().st_size
    return size


def epochs(folder: Path, rounds: int) -> dict[str, list[list[dict[str, Any]]]]:
    """Of each contender, in each round, what it answered for each epoch; contenders take turns within a round."""
    extra = {"FOLDER": str(folder), "OMP_WAIT_POLICY": "PASSIVE"}  # a thread that waits spins for no one, whoever else is there
    peers = {name: Worker(str(PEER_PYTHON), "loading_contender.py", name, extra) for name in PEERS}
    found: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in (*OURS, *PEERS)}
    for peer in peers.values():
        peer.ask(epoch=0)  # workers start and import
    for k in range(rounds):
        for name in OURS if k % 2 else OURS[::-1]:
            own = Worker(sys.executable, "loading_contender.py", name, extra)
            found[name].append([own.ask(epoch=e) for e in range(EPOCHS)])
            own.close()
        for name, peer in peers.items():
            found[name].append([peer.ask(epoch=1 + k)] * EPOCHS)  # its epochs are alike: one is read
    for peer in peers.values():
        peer.close()
    return found


def row(name: str, readings: list[list[dict[str, Any]]]) -> Row:
    """Medians over rounds: images a second, and processor time a picture."""
    n = readings[0][0]["pictures"]

    def median(key: str, first: int, last: int) -> float:
        return statistics.median(statistics.fmean(one[key] for one in reading[first:last]) for reading in readings)

    return {
        "loader": name,
        "first, images/s": n / median("seconds", 0, 1),
        "later, images/s": n / median("seconds", 1, EPOCHS),
        f"{EPOCHS} epochs, images/s": n / median("seconds", 0, EPOCHS),
        "first, processor ms": 1e3 * median("processor", 0, 1) / n,
        "later, processor ms": 1e3 * median("processor", 1, EPOCHS) / n,
        "processor ms": 1e3 * median("processor", 0, EPOCHS) / n,
        "rounds": len(readings),
    }


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="a folder of JPEG photographs")
    arguments = parser.parse_args()
    n, rounds = (64, 1) if arguments.quick else (640, 3)
    with measure.scratch() as place:
        size = generate(place / "photographs", arguments.data, n)
        found = epochs(place / "photographs", rounds)
    rows = [row(name, readings) for name, readings in found.items()]
    spans = {"first epoch": (0, 1), "each later epoch": (1, EPOCHS), f"{EPOCHS} epochs": (0, EPOCHS)}
    bars = []
    for what, (first, last) in spans.items():
        for name in OURS:
            ratios = [
                min(sum(e["seconds"] for e in found[peer][k][first:last]) for peer in PEERS)
                / sum(e["seconds"] for e in found[name][k][first:last])
                for k in range(rounds)
            ]
            bars.append(
                measure.bar(f"{what}: {name}, by the best peer's images/s", statistics.median(ratios), LEAST[what], below=False)
            )
    measure.table(rows, f"{n} photographs of {size // n:,} bytes")
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "bytes": size, "bars": bars, "rows": rows, "readings": found}
    measure.write("loading", payload, arguments.quick, peers=True)


if __name__ == "__main__":
    main()
