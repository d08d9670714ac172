"""Claim: a batch is augmented in at most two thirds of the processor time of torchvision's transforms and of kornia's.

Eight augmentations of a batch of 128 colour pictures of 32 x 32 and of 32 of 224 x 224, one thread each: mirror images, random
resized crops (35 to 100 % of the area), turns within 15 degrees, brightness, contrast and saturation within 1 +- 0.4, cutout of a
quarter of the side, TrivialAugment, mixup and cutmix (`augmentation_contender.py`). Each contender in a warm process of its own,
called in turn; the least of seven calls is one reading, medians over rounds. Bars are on the geometric mean over the eight, and on
the worst of them. Crops of ours and torchvision's are smoothed against aliasing, kornia's are not; our colours are one affine map
(`data/colour.py`), theirs one pass for each of three.
"""

from __future__ import annotations

import statistics
import sys

import measure
from augmentation_contender import CASES
from measure import ROOT, Row, Worker

PEER_PYTHON = ROOT / ".peers" / "augment" / "bin" / "python"
WHAT = ("mirror", "crop", "turn", "colour", "cutout", "trivial", "mixup", "cutmix")
NAMES = ("ours", "torchvision", "kornia")
MEAN, WORST = 2 / 3, 1.05  # ours by the faster peer


def those_with(what: str) -> tuple[str, ...]:
    """Who has this augmentation: kornia's TrivialAugment takes one change for the whole batch, which is another thing."""
    return NAMES[:2] if what == "trivial" else NAMES


def main() -> None:
    arguments = measure.options(__doc__).parse_args()
    rounds, times = (1, 1) if arguments.quick else (3, 7)
    python = {name: sys.executable if name == "ours" else str(PEER_PYTHON) for name in NAMES}
    workers = {name: Worker(python[name], "augmentation_contender.py", name, {"OMP_NUM_THREADS": "1"}) for name in NAMES}
    found: dict[tuple[str, str, str], list[float]] = {}
    for k in range(rounds + 1):  # the first is a warm-up
        for case in CASES:
            for what in WHAT:
                for name in those_with(what) if k % 2 else those_with(what)[::-1]:
                    ms = workers[name].ask(case=case, what=what, times=times)["ms"]
                    if k:
                        found.setdefault((case, what, name), []).append(ms)
    for worker in workers.values():
        worker.close()
    rows: list[Row] = []
    for case in CASES:
        for what in WHAT:
            took = {name: statistics.median(found[case, what, name]) for name in those_with(what)}
            shown = {f"{name}, ms": took.get(name) for name in NAMES}
            best = min(value for name, value in took.items() if name != "ours")
            rows.append({"batch": case, "what": what, **shown, "ours by the faster": took["ours"] / best})
    bars = []
    for case in CASES:
        ratios = {row["what"]: row["ours by the faster"] for row in rows if row["batch"] == case}
        worst = max(ratios, key=lambda what: ratios[what])
        bars.append(
            measure.bar(f"{case}: ours by the faster peer, geometric mean", statistics.geometric_mean(ratios.values()), MEAN)
        )
        bars.append(measure.bar(f"{case}: ours by the faster peer, the worst ({worst})", ratios[worst], WORST))
    measure.table(rows, "processor time of one batch, one thread")
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows}
    measure.write("augmentation", payload, arguments.quick, peers=True)


if __name__ == "__main__":
    main()
