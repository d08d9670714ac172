"""Claim: weights that know five classes, fine-tuned on 200 pictures of five others, beat a fresh start and the head alone.

Three transfers: the first five classes of Fashion-MNIST to the last five, of CIFAR-10 likewise, and back. A source is a network of
width 16, trained by the command on all pictures of its five classes. Then on 200 training, 200 validation and 1,000 test pictures
of the other five, for each seed others: `--from SOURCE`, nothing else said; the same with `--head-first 1`; and no source. Plan and
steps are the command's own, the same for all three; one thread. Means over seeds of the test accuracy. What has been run is kept in
build/fine_tune.jsonl, so that transfers may be run one by one (`--only`).
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gradlearn
import measure
from measure import Row

WIDTH, FEW, TEST = "16", 200, 1000
WAYS = {"fine-tuned": [], "head alone": ["--head-first", "1"]}
OURS = ("plan.py", "fine_tune.py", "start.py", "tasks/images.py", "models/convnet.py")
KEPT = measure.ROOT / "build" / "fine_tune.jsonl"


class Transfer(NamedTuple):
    """From five classes of a data set to the five others."""

    data: str
    old: range
    new: range
    steps: int  # of the source

    @property
    def name(self) -> str:
        """As it is shown."""
        return f"{self.data} {'first to last' if self.old.start == 0 else 'last to first'}"


FIRST, LAST = range(5), range(5, 10)
TRANSFERS = {
    t.name: t
    for t in (
        Transfer("fashion-mnist", FIRST, LAST, 600),
        Transfer("cifar10", FIRST, LAST, 800),
        Transfer("cifar10", LAST, FIRST, 800),
    )
}


def write(pictures: Any, rows: np.ndarray, folder: Path) -> None:
    """Pictures as files in folders by class."""
    from PIL import Image

    for row in rows.tolist():
        name = f"class-{pictures.classes[pictures.labels[row]]}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        pixels = pictures.pixels[row]
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(
            folder / name / f"{row:05d}.png", compress_level=1
        )


def chosen(pictures: Any, split: str, classes: range, most: int | None, seed: int) -> np.ndarray:
    """Rows of these classes, as many of each; for each seed others."""
    rows, draw = pictures.split[split], np.random.Generator(np.random.Philox(seed))
    each = [draw.permutation(rows[pictures.labels[rows] == k])[: None if most is None else most // len(classes)] for k in classes]
    return np.concatenate(each)


def parts(pictures: Any, classes: range, sizes: tuple[int | None, int, int], seed: int, folder: Path) -> Path:
    """A folder with train, valid and test."""
    for split, most in zip(("train", "valid", "test"), sizes, strict=True):
        write(pictures, chosen(pictures, split, classes, most, seed), folder / split)
    return folder


def main() -> int:
    parser = measure.options(__doc__)
    parser.add_argument("--data", default="../shared/data", help="folder of cifar10 and fashion-mnist, from the repository's root")
    parser.add_argument("--only", choices=list(TRANSFERS), help="one transfer")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    quick, rows = arguments.quick, []
    names = [arguments.only] if arguments.only else list(TRANSFERS)[: 1 if quick else None]
    for name in names:
        rows += of_transfer(TRANSFERS[name], measure.ROOT / arguments.data, 1 if quick else arguments.seeds, quick)
    if arguments.only:
        return 0
    bars = [
        measure.bar(
            "fine-tuned less fresh, the worst of the transfers", min(gain(rows, n, "fresh") for n in names), 0.01, below=False
        ),
        measure.bar(
            "fine-tuned less head alone, the worst of the transfers",
            min(gain(rows, n, "head alone") for n in names),
            0.01,
            below=False,
        ),
        measure.bar("steps, fine-tuned by fresh", max(r["steps"] / r["fresh, steps"] for r in rows), 1.0),
    ]
    measure.table(rows, f"test accuracy after {FEW} pictures of five new classes")
    measure.table(bars)
    measure.write("fine_tune", {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows}, quick)
    return 0


def of_transfer(transfer: Transfer, data: Path, seeds: int, quick: bool) -> list[Row]:
    """The rows of one transfer; what is kept of this very version is not run again."""
    from gradlearn.data.images import read

    parts_of_us = b"".join((Path(gradlearn.__path__[0]) / name).read_bytes() for name in OURS)
    mark = hashlib.sha256(parts_of_us + Path(__file__).read_bytes()).hexdigest()[:8]
    known = {} if quick or not KEPT.exists() else {row.pop("key"): row for row in map(json.loads, KEPT.read_text().splitlines())}
    keys = [f"{transfer.name}|{seed}|{mark}" for seed in range(seeds)]
    if any(key not in known for key in keys):
        pictures = read(data / transfer.data, seed=0)
        with measure.scratch() as place:
            source = trained(pictures, transfer, place, 60 if quick else transfer.steps)
            for seed, key in enumerate(keys):
                if key in known:
                    continue
                known[key] = compared(pictures, transfer, source, seed, place)
                print(f"  {known[key]}", flush=True)
                if not quick:
                    with KEPT.open("a") as file:
                        file.write(json.dumps({"key": key, **known[key]}) + "\n")
    return [known[key] for key in keys]


def gain(rows: list[Row], transfer: str, way: str) -> float:
    """Mean over seeds of how much better fine-tuning does."""
    return statistics.fmean(r["fine-tuned"] - r[way] for r in rows if r["transfer"] == transfer)


def trained(pictures: Any, transfer: Transfer, place: Path, steps: int) -> Path:
    """The run of a source."""
    data = parts(pictures, transfer.old, (None, 500, 1000), 0, place / "data")
    words = ["--steps", str(steps), "--convnet.width", WIDTH, "--threads", "1", "--runs", str(place), "--name", "run", "--json"]
    done = measure.command("train", "images", str(data), *words)
    if done.code:
        raise SystemExit(done.said)
    print(f"  source of {transfer.name}: {done.document['score']['test']:.4f} in {done.wall:.0f} s", flush=True)
    measure.remove(data)
    return place / "run"


def compared(pictures: Any, transfer: Transfer, source: Path, seed: int, place: Path) -> Row:
    """One transfer, one seed, three ways."""
    data = parts(pictures, transfer.new, (FEW, FEW, TEST), seed + 1, place / "few")
    ways = {way: ["--from", str(source), *more] for way, more in WAYS.items()} | {"fresh": ["--convnet.width", WIDTH]}
    row: Row = {"transfer": transfer.name, "seed": seed}
    for way, more in ways.items():
        found = measure.train(str(data), "--threads", "1", *more, seed=seed)
        row[way] = found["test"]
        row["steps" if way == "fine-tuned" else f"{way}, steps"] = found["steps"]
    measure.remove(data)
    return row


if __name__ == "__main__":
    sys.exit(main())
