"""Claim: in a long run on CIFAR-10 none of the other dials tried is better than the plan's rules by half a point.

A run of 16 epochs at the width of `--time 15m`, as planned, and with one dial set by hand: decay and rate of the matrices (a third
of the decay is what is usual in a run of this length where nothing is said of pictures), smoothing, squares covered, more layers.
Each run has a core of its own, and as many go on at once as there are cores. Rows of dials that are not run again are kept.
"""

from __future__ import annotations

import datetime
import json
import os
import queue
import statistics
from concurrent.futures import ThreadPoolExecutor

import measure
from gradlearn.picture_plan import TURN
from gradlearn.plan import usual_rate
from measure import Row

WIDTH, EPOCHS = 48, 16
TRAINED, BATCH = 47_500, 128  # pictures less those of validation
STEPS = EPOCHS * TRAINED // BATCH
DECAY = TURN / usual_rate(STEPS)  # what the plan has for the matrices
DIALS: dict[str, tuple[str, ...]] = {
    "as planned": (),
    "decay of a third": ("--muon.weight_decay", f"{DECAY / 3:.4f}"),
    "decay x 3": ("--muon.weight_decay", f"{3 * DECAY:.4f}"),
    "rate x 2": ("--split.rates", "2,3,1,1"),
    "smoothing .2": ("--cross_entropy.label_smoothing", "0.2"),
    "cutout 8": ("--cutout", "8"),
    "depth 3": ("--resnet.depth", "3"),
    "gelu": ("--resnet.activation", "gelu"),
}
BETTER = 0.005  # by which another dial would have to be better for the rules to be wrong


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--data", default="../shared/data/cifar10", help="from the repository's root")
    parser.add_argument("--dial", choices=tuple(DIALS), action="append", help="default: all of them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    wanted = arguments.dial or list(DIALS)
    old = measure.RESULTS / "long_pictures.json"
    rows: list[Row] = [] if arguments.quick or not old.exists() else json.loads(old.read_text())["rows"]
    asked = [(dial, seed) for seed in arguments.seeds for dial in wanted]
    rows = [row for row in rows if (row["dial"], row["seed"]) not in asked and row["dial"] in DIALS]
    cores: queue.Queue[int] = queue.Queue()
    for core in os.sched_getaffinity(0):
        cores.put(core)

    def run(dial: str, seed: int) -> Row:
        core = cores.get()
        os.sched_setaffinity(0, {core})  # of this thread; its children inherit it
        width, epochs = (8, 0.2) if arguments.quick else (WIDTH, EPOCHS)
        options = ["--resnet.width", str(width), "--epochs", str(epochs), "--threads", "1", *DIALS[dial]]
        try:
            found = measure.train(arguments.data, *options, seed=seed)
        finally:
            cores.put(core)
        print(f"  {dial}, seed {seed}: test {found['test']:.4f}, {found['wall_s']:.0f} s", flush=True)
        about = {"cpu": measure.machine()["cpu"], "date": datetime.date.today().isoformat()}
        return {"dial": dial, "options": " ".join(DIALS[dial]), **found, **about}

    with ThreadPoolExecutor(cores.qsize()) as pool:
        rows += pool.map(lambda one: run(*one), asked)
    rows.sort(key=lambda row: (list(DIALS).index(row["dial"]), row["seed"]))
    bars = judged(rows)
    measure.table(rows, f"CIFAR-10, width {WIDTH}, {EPOCHS} epochs, a core each: test accuracy")
    measure.table(bars)
    measure.write("long_pictures", {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows}, arguments.quick)


def judged(rows: list[Row]) -> list[Row]:
    """One bar a dial: its mean over the plan's, over the seeds that both have."""
    by = {dial: {row["seed"]: row["test"] for row in rows if row["dial"] == dial} for dial in DIALS}
    plan, bars = by.pop("as planned"), []
    for dial, scores in by.items():
        if both := plan.keys() & scores.keys():
            more = statistics.mean(scores[seed] - plan[seed] for seed in both)
            bars.append(measure.bar(f"{dial}: test accuracy less the plan's", round(more, 4), BETTER))
    return bars


if __name__ == "__main__":
    main()
