"""Claim: 20,000 pictures with 200,000 boxes are read and linted in 60 s on one core, as VOC, COCO and YOLO, in little memory.

A made-up set: JPEGs of 64 x 48, ten boxes in each, five classes, in three parts; the same pictures and boxes in all three forms.
Each reading is a process of its own on one core, with the page cache warm: `data/boxes/read.py` looks at every box, reads every
file whole (header, end, SHA-256) and lints. Memory is what the largest resident size grows by once everything is imported; a tenth
of the set is read too, and the growth from it to the whole is told in bytes a box, beside those of the arrays that are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import measure
from measure import ROOT, Row

KINDS = ("voc", "coco", "yolo")
LIMIT_S, LIMIT_MB = 60.0, 100.0
BOXES = 10  # a picture
W, H = 64, 48


def generate(place: Path, n: int) -> None:
    """`place`/voc, coco and yolo: n pictures, hard links of the same files."""
    import numpy as np
    from PIL import Image

    from gradlearn.data.boxes.boxed import Boxed
    from gradlearn.data.boxes.convert import WRITERS
    from gradlearn.data.boxes.write import FOLDERS

    chance = np.random.default_rng(0)
    low = chance.uniform(0, 0.7, (n * BOXES, 2)) * (W, H)
    high = low + chance.uniform(0.05, 0.3, (n * BOXES, 2)) * (W, H)
    boxes = np.round(np.concatenate([low, high], axis=1), 1).astype(np.float32)
    cuts = (0, int(0.8 * n), int(0.9 * n), n)
    split = {part: np.arange(cuts[i], cuts[i + 1], dtype=np.int32) for i, part in enumerate(("train", "valid", "test"))}
    boxed = Boxed(
        root=str(place / "pictures"),
        files=[f"{i:06d}.jpg" for i in range(n)],
        sizes=np.full((n, 2), (H, W), np.int32),
        boxes=boxes,
        labels=chance.integers(0, 5, len(boxes)).astype(np.int32),
        hard=np.zeros(len(boxes), bool),
        first=np.arange(n + 1, dtype=np.int64) * BOXES,
        classes=("ant", "bee", "cow", "dog", "elk"),
        split=split,
        kind="coco",
        source="made up",
        notes=[],
        fingerprint="",
        image_ids=np.arange(1, n + 1),
        category_ids=np.arange(1, 6),
    )
    Path(boxed.root).mkdir(parents=True)
    for i in range(n):
        pixels = chance.integers(0, 256, (H // 8, W // 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((W, H)).save(boxed.path(i), "JPEG", quality=60)
    names = {part: [str(boxed.files[i]) for i in rows.tolist()] for part, rows in split.items()}
    for kind in KINDS:
        for part, rows in split.items():
            folder = place / kind / ("JPEGImages" if kind == "voc" else f"images/{FOLDERS[part]}")
            folder.mkdir(parents=True, exist_ok=True)
            for i in rows.tolist():
                os.link(boxed.path(i), folder / str(boxed.files[i]))
        WRITERS[kind](boxed, names, place / kind)


def worker(path: str) -> None:
    """Read one set; a JSON line about time and memory. In a process of its own."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import numpy as np

    from gradlearn.data.boxes.plain_yaml import load  # noqa: F401  all that a reading imports is in before it
    from gradlearn.data.boxes.read import read
    from gradlearn.data.header import plugins

    plugins()
    import yaml  # noqa: F401

    Path("/proc/self/clear_refs").write_text("5")  # the largest size so far is forgotten: a child begins with its parent's
    before = resident("VmRSS")
    start = time.perf_counter()
    boxed = read(path)
    seconds = time.perf_counter() - start
    grown = resident("VmHWM") - before
    kept = sum(value.nbytes for value in vars(boxed).values() if isinstance(value, np.ndarray))
    names = sum(map(sys.getsizeof, boxed.files))
    said = {"pictures": len(boxed), "boxes": len(boxed.boxes), "kept": kept, "names": names}
    print(json.dumps({"seconds": seconds, "grown": grown, **said}))


def resident(name: str) -> int:
    """Bytes of this process that are (VmRSS), or at most were (VmHWM), resident."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def once(path: Path) -> dict[str, float]:
    """One reading."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__)), "--worker", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"many_boxes.py --worker {path}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def reading(kind: str, small: Path, large: Path, repeats: int) -> Row:
    """Median time, and memory, of one form."""
    once(large / kind)  # warms the page cache
    few = [once(small / kind) for _ in range(repeats)]
    many = [once(large / kind) for _ in range(repeats)]
    one = many[0]
    grown, before = (statistics.median(found["grown"] for found in some) for some in (many, few))
    boxes = one["boxes"] - few[0]["boxes"]
    return {
        "form": kind,
        "pictures": one["pictures"],
        "boxes": one["boxes"],
        "seconds": round(statistics.median(found["seconds"] for found in many), 2),
        "grown_mb": round(grown / 1e6, 1),
        "grown_bytes_a_box": round((grown - before) / boxes, 1),
        "kept_bytes_a_box": round((one["kept"] + one["names"]) / one["boxes"], 1),
        "repeats": repeats,
    }


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="readings of each form (default 3)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker)
        return
    n, repeats = (1_000, 1) if arguments.quick else (20_000, arguments.repeats)
    with measure.scratch() as place:
        generate(place / "small", n // 10)
        generate(place / "large", n)
        rows = [reading(kind, place / "small", place / "large", repeats) for kind in KINDS]
    bars = [measure.bar(f"{row['form']}: seconds", row["seconds"], LIMIT_S) for row in rows]
    bars += [measure.bar(f"{row['form']}: memory grows by, MB", row["grown_mb"], LIMIT_MB) for row in rows]
    measure.table(rows, "pictures with boxes, one core")
    measure.table(bars)
    measure.write("many_boxes", {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows}, arguments.quick)


if __name__ == "__main__":
    main()
