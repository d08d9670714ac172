"""Claim: on BCCD `train detect`, from scratch on two cores, has mAP50 0.70 after 10 minutes and 0.85 after 60, and YOLO no more.

Trained on trainval, reported on test, as the data set gives them. The peer is ultralytics' nano network without pretrained
weights, by its own recipe, for the same time and at the image size that ours chose; its time is that of training alone. By itself
it would leave a core unused; here it has all. Its score is its own validator's on the test pictures. Rows are kept as they come.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import measure
from measure import Row

BUDGETS = {"10m": (600.0, 0.70), "60m": (3600.0, 0.85)}  # --time: seconds, mAP50 on test
SMOKE = {"1m": (60.0, 0.0)}
OURS, PEER = "gradlearn", "yolo11n.yaml"
SCRIPT = """
import json, sys, os
os.environ["YOLO_OFFLINE"] = "true"
from ultralytics import YOLO, settings
settings.update({"sync": False})
data, hours, out = sys.argv[1], float(sys.argv[2]), sys.argv[5]
size, seed, threads = (int(sys.argv[i]) for i in (3, 4, 6))
import torch, ultralytics.utils.torch_utils
ultralytics.utils.torch_utils.NUM_THREADS = threads  # which it sets whenever it begins: all cores but one
model = YOLO(sys.argv[7])
model.train(data=data, time=hours, imgsz=size, seed=seed, pretrained=False, device="cpu", project=out, name="run", exist_ok=True,
            workers=threads, plots=False, verbose=False, amp=False)
best = YOLO(os.path.join(out, "run", "weights", "best.pt"))
found = best.val(data=data, split="test", imgsz=size, device="cpu", plots=False, verbose=False, project=out, name="val")
import csv
epochs = sum(1 for _ in open(os.path.join(out, "run", "results.csv"))) - 1
print("RESULT " + json.dumps({"map50": float(found.box.map50), "map": float(found.box.map), "epochs": epochs}), flush=True)
"""


def ours(data: str, time: str, seed: int) -> dict[str, Any]:
    """The whole command; its document has the test score and the image size."""
    with measure.scratch() as runs:
        found = measure.command(
            "train", "detect", data, "--valid", "0.1", "--time", time, "--seed", str(seed), "--runs", str(runs), "--json"
        )
        if found.code or not found.document:
            raise SystemExit(f"gradlearn train detect --time {time}: exit code {found.code}\n{found.said}")
        import tomllib

        with open(Path(found.document["run"]) / "run.toml", "rb") as file:
            choices = tomllib.load(file)["choice"]
    scores = found.document["score"]["all"]
    score = {"mAP50": scores["test_mAP50"], "mAP": scores["test_mAP"], "size": int(choices["size"]["value"])}
    return score | {"steps or epochs": found.document["steps"], "wall_s": found.wall}


def theirs(data: Path, seconds: float, size: int, seed: int) -> dict[str, Any]:
    """Ultralytics in its own environment."""
    threads = len(os.sched_getaffinity(0))
    with measure.scratch() as out:
        command = [str(measure.PEERS / "vision" / "bin" / "python"), "-W", "ignore", "-c", SCRIPT]
        command += [str(data / "data.yaml"), str(seconds / 3600), str(size), str(seed), str(out), str(threads), PEER]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=out)
    told = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not told:
        raise SystemExit(f"ultralytics: exit code {done.returncode}\n{done.stderr[-2000:]}")
    result = json.loads(told[-1].removeprefix("RESULT "))
    score = {"mAP50": result["map50"], "mAP": result["map"], "size": size}
    return score | {"steps or epochs": result["epochs"], "wall_s": seconds}


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--data", default="../shared/data/bccd", help="the VOC folder, from the repository's root")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--time", choices=tuple(BUDGETS), action="append", help="default: both")
    parser.add_argument("--contender", choices=(OURS, PEER), action="append", help="default: both; of the other, rows are kept")
    arguments = parser.parse_args()
    wanted = SMOKE if arguments.quick else {time: BUDGETS[time] for time in arguments.time or BUDGETS}
    names = arguments.contender or [OURS, PEER]
    rows = [] if arguments.quick else kept()
    asked = {(time, name, seed) for time in wanted for name in names for seed in range(arguments.seeds)}
    rows = [row for row in rows if (row["time"], row["contender"], row["seed"]) not in asked]
    with measure.scratch() as folder:
        done = measure.command("convert", arguments.data, str(folder / "yolo"), "--to", "yolo", "--json")
        if done.code:
            raise SystemExit(f"gradlearn convert: exit code {done.code}\n{done.said}")
        for time, (seconds, _) in wanted.items():
            for seed in range(arguments.seeds):
                for name in names:
                    mine = next((r for r in rows if (r["time"], r["contender"], r["seed"]) == (time, OURS, seed)), None)
                    if name == PEER and mine is None:
                        raise SystemExit(f"{PEER} takes the image size that ours chose: run {OURS} at {time} first")
                    found = theirs(folder / "yolo", seconds, mine["size"], seed) if mine else ours(arguments.data, time, seed)
                    rows.append({"time": time, "contender": name, "seed": seed, **found, **about()})
                    print(f"  {time}, {name}, seed {seed}: mAP50 {found['mAP50']:.4f}, mAP {found['mAP']:.4f}", flush=True)
                    told(rows, arguments.quick)


def kept() -> list[Row]:
    """Rows of earlier runs."""
    old = measure.RESULTS / "bccd.json"
    return json.loads(old.read_text())["rows"] if old.exists() else []


def about() -> dict[str, Any]:
    """Where and when a row was measured."""
    return {"cpu": measure.machine()["cpu"], "date": datetime.date.today().isoformat()}


def told(rows: list[Row], quick: bool) -> None:
    """All that is measured by now, as a table and as a result."""
    rows.sort(key=lambda row: (row["time"], row["seed"], row["contender"] != OURS))
    bars = judged(rows, SMOKE if quick else BUDGETS)
    measure.table(rows, "BCCD, test")
    measure.table(bars)
    measure.write("bccd", {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows}, quick, peers=True)


def judged(rows: list[Row], budgets: dict[str, tuple[float, float]]) -> list[Row]:
    """Three bars of each time: our score, ours less theirs, the clock."""
    bars = []
    for time, (seconds, least) in budgets.items():
        by = {name: [row for row in rows if row["time"] == time and row["contender"] == name] for name in (OURS, PEER)}
        if not by[OURS]:
            continue
        score = {name: sum(row["mAP50"] for row in mine) / max(len(mine), 1) for name, mine in by.items()}
        bars.append(measure.bar(f"--time {time}: mAP50", score[OURS], least, below=False))
        if by[PEER]:
            bars.append(measure.bar(f"--time {time}: ours less {PEER}", score[OURS] - score[PEER], 0.0, below=False))
        bars.append(measure.bar(f"--time {time}: longest command, s", max(row["wall_s"] for row in by[OURS]), seconds))
    return bars


if __name__ == "__main__":
    main()
