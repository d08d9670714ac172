"""Claim: keeping freed memory makes a training step of a convolutional network a tenth shorter or more, for little memory.

Forward and backward as `train` has them, each way in processes of their own, in turns: as the C library does it, and with
`allocation.kept`. What is compared is the mean over all steps of all turns; medians are in the table.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import measure

CASES = {  # network, width, pixels a side, pictures
    "resnet 24, 24 px": ("resnet", 24, 24, 128),
    "resnet 32, 32 px": ("resnet", 32, 32, 128),
    "resnet 64, 32 px": ("resnet", 64, 32, 128),
    "detector 32, 416 px": ("detector", 32, 416, 8),
    "detector 32, 640 px": ("detector", 32, 640, 8),
}
WAYS = ("glibc", "keep")


def child(network: str, width: int, side: int, n: int, way: str, seconds: float) -> dict[str, Any]:
    """Steps for so many seconds, in this process."""
    import resource
    import time

    import torch
    import torch.nn.functional as F

    from gradlearn.allocation import kept
    from gradlearn.detection import detection_losses
    from gradlearn.find import find
    from gradlearn.models.detector import decode, places
    from gradlearn.precision import precision

    keeping = ExitStack()
    if way == "keep" and not keeping.enter_context(kept()):
        raise SystemExit("nothing is kept: no glibc, or the environment speaks of the allocator")
    torch.manual_seed(0)
    options = {"width": width, "precision": precision("cpu")[0]}
    model = find("models", network)((side, side, 3), 10, **options).to(memory_format=torch.channels_last).train()
    x = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    label, corner = torch.randint(0, 10, (n, 10)), (side - 80) * torch.rand(n, 10, 2)
    boxes = torch.cat([label[:, :, None], corner, corner + 20 + 60 * torch.rand(n, 10, 2)], 2)

    def loss() -> torch.Tensor:
        if network != "detector":
            return F.cross_entropy(model(x), label[:, 0], label_smoothing=0.1)
        answers = model(x)
        at = places(answers, model.strides)
        return detection_losses(*decode(answers, at), at, boxes).total.mean()

    times, start = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - start < seconds:
        began = time.perf_counter()
        model.zero_grad()
        loss().backward()
        times.append(1e3 * (time.perf_counter() - began))
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"ms": times[2:], "MB": used.ru_maxrss / 1024, "faults": used.ru_minflt / len(times)}


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--child", nargs=6, help="internal")
    arguments = parser.parse_args()
    if arguments.child:
        network, width, side, n, way, seconds = arguments.child
        print(json.dumps(child(network, int(width), int(side), int(n), way, float(seconds))))
        return
    turns, seconds = (1, 0.5) if arguments.quick else (arguments.turns, 3.0)
    rows = []
    for name, case in CASES.items():
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(turns):
            for way in WAYS:
                command = [sys.executable, __file__, "--child", *map(str, case), way, str(seconds)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[way].append(json.loads(done.stdout))
        rows.append(row(name, found))
        print("  ", rows[-1], flush=True)
    ratio = statistics.geometric_mean(row["kept / not"] for row in rows)
    bars = [measure.bar("mean step with freed memory kept / without, geometric mean", ratio, 0.9, below=True)]
    measure.table(rows, "forward and backward, ms")
    measure.table(bars)
    measure.write("kept_memory", {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows}, arguments.quick)


def row(name: str, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Both ways beside each other."""
    times = {way: [ms for one in found[way] for ms in one["ms"]] for way in WAYS}
    means = {way: statistics.mean(times[way]) for way in WAYS}
    told: dict[str, Any] = {"step": name, "kept / not": round(means["keep"] / means["glibc"], 3)}
    for way in WAYS:
        told |= {f"{way} mean": round(means[way], 1), f"{way} median": round(statistics.median(times[way]), 1)}
        told |= {f"{way} MB": round(max(one["MB"] for one in found[way])), f"{way} faults": round(found[way][0]["faults"])}
    return told


if __name__ == "__main__":
    main()
