"""Claim: on a processor a step of Muon costs a tenth of what its peers take; SOAP's two thirds, and of many small tensors a third.

The same tensors (an MLP 784-512-512-10, ResNet-20, a GRU of two layers, 500 matrices of 25 x 40) for all: ours, torch.optim.Muon,
pytorch_optimizer, heavyball without its compiler. One process each, one thread, one core, in turn; medians of processor time. Of
SOAP a reading is a whole cycle of ten steps, so that the turn of the bases is in it; all turn them every tenth step. torch's Muon
gets kernels flattened and its fused AdamW for biases.

Why Muon is so much faster: the peers iterate in bfloat16, for which this processor has no instructions. Rows that end in
"float32" are the same peers with the cast taken out, which none of them offers as an option: what remains is batching, and is no
bar. On a processor with bfloat16 instructions the peers would be nearer. Rows that end in "gates" take each gate of the GRU as a
matrix of its own, as ours does in a run.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any

import measure
from measure import ROOT, Row

CASES = ("mlp", "resnet", "gru", "small")
MUON = ("ours-muon", "torch-muon", "pytorch_optimizer-muon", "heavyball-muon")
SOAP = ("ours-soap", "pytorch_optimizer-soap", "heavyball-soap")
EXTRA = ("torch-muon-float32", "pytorch_optimizer-muon-float32", "heavyball-muon-float32", "torch-adamw")
GATES = ("ours-muon-gates", "ours-soap-gates")
LIMIT = {"muon": {"mlp": 10.0, "resnet": 10.0, "gru": 10.0}, "soap": {"mlp": 1.5, "gru": 1.5, "small": 3.0}}
PEER_PYTHON = ROOT / ".peers" / "matrix" / "bin" / "python"


class Contender:
    """A warm process that takes steps when it is asked to."""

    def __init__(self, name: str, case: str) -> None:
        self.name, self.case = name, case
        self.steps = 10 if "soap" in name or case in ("resnet", "small") else 2
        self.seconds: list[float] = []
        python = sys.executable if name.startswith("ours") else str(PEER_PYTHON)
        self.process = subprocess.Popen(
            [python, "-W", "ignore", str(ROOT / "benchmarks" / "matrix_contender.py"), name, case],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def take(self, steps: int) -> float:
        """Seconds a step."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line or not (answer := json.loads(line))["finite"]:
            raise SystemExit(f"matrix_contender.py {self.name} {self.case} failed; run it by hand to see why")
        return answer["seconds"] / steps

    def close(self) -> None:
        """Ends it by ending its stdin."""
        self.process.communicate()


def read(case: str, names: list[str], rounds: int, quick: bool) -> dict[str, list[float]]:
    """Seconds a step of each contender, round by round, in turn."""
    pool = [Contender(name, case) for name in names]
    try:
        for one in pool:
            one.take(1 if quick else 2)  # state is made, kernels and formulas are loaded
        for i in range(rounds):
            for one in pool if i % 2 == 0 else reversed(pool):
                one.seconds.append(one.take(one.steps))
            print(f"  {case} {i + 1}/{rounds}: " + ", ".join(f"{o.name} {1e3 * o.seconds[-1]:.4g}" for o in pool), flush=True)
    finally:
        for one in pool:
            one.close()
    return {one.name: one.seconds for one in pool}


def summarise(case: str, found: dict[str, list[float]]) -> list[Row]:
    """One row a contender; the ratio is to ours of the same kind."""
    rows = []
    for name, seconds in found.items():
        reference = found.get("ours-soap" if "soap" in name else "ours-muon", [])
        ratio = [a / b for a, b in zip(seconds, reference, strict=True)]
        row: dict[str, Any] = {"case": case, "contender": name, "ms_step": round(1e3 * statistics.median(seconds), 3)}
        row |= {"over_ours": round(statistics.median(ratio), 2)} if ratio else {"over_ours": None}
        row |= {"low": round(min(ratio), 2), "high": round(max(ratio), 2)} if ratio else {"low": None, "high": None}
        rows.append(row | {"rounds": len(seconds)})
    return rows


def judge(rows: list[Row]) -> list[Row]:
    """A bar for each peer on each case that has one."""
    bars = []
    for row in rows:
        package, _, kind = row["contender"].partition("-")
        limit = LIMIT.get(kind, {}).get(row["case"])
        if package != "ours" and limit is not None and row["over_ours"] is not None:
            bars.append(measure.bar(f"{row['case']}: {package} / ours, {kind}", row["over_ours"], limit, below=False))
    return bars


def main() -> None:
    """Runs all cases, prints the table and the bars, keeps the result."""
    parser = measure.options(__doc__)
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    parser.add_argument("--only", default="", help="contenders, comma-separated")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    if not PEER_PYTHON.exists():
        raise SystemExit(f"no {PEER_PYTHON.relative_to(ROOT)}; run benchmarks/peers.sh first")
    rows: list[Row] = []
    raw: dict[str, Any] = {}
    for case in arguments.case or (("resnet", "small") if arguments.quick else CASES):
        names = arguments.only.split(",") if arguments.only else [*MUON, *SOAP, *EXTRA, *(GATES if case == "gru" else ())]
        raw[case] = read(case, names, 2 if arguments.quick else arguments.rounds, arguments.quick)
        rows += summarise(case, raw[case])
    bars = judge(rows)
    measure.table(rows, "milliseconds a step")
    measure.table(bars, measure.first_line(__doc__))
    if arguments.case or arguments.only:
        return  # only a whole run is kept
    payload = {"claim": measure.first_line(__doc__), "rows": rows, "bars": bars, "seconds": raw}
    measure.write("matrix_updates", payload, quick=arguments.quick, peers=True)


if __name__ == "__main__":
    main()
