"""Claim: on the More-Garbow-Hillstrom set `minimize` solves as many problems as SciPy's L-BFGS-B or more, in no more evaluations.

All 35 problems, from the standard starts, exact gradients for both, and both see the very same function. Solved: f - f* is at
most 1e-8 of f* (of f at the start where f* is 0), for the f* of any minimum that the paper lists, recomputed by
Levenberg-Marquardt and checked against the printed digits. Counted: evaluations of f with its gradient up to the first that is
good enough; L-BFGS-B runs without its own stopping rules, with 10 (its default) and with 30 remembered steps; the bar takes, for
each problem, whichever needs fewer.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

import measure
from measure import Row
from more_garbow_hillstrom import PROBLEMS, Problem

GOOD = 1e-8
MOST = 3000  # evaluations after which a program has failed


class Solved(Exception):
    """Good enough, or too many evaluations."""


class Counted:
    """f with a count, and the evaluation at which it was good enough."""

    def __init__(self, problem: Problem, targets: list[float]) -> None:
        self.problem, self.targets, self.count, self.when, self.least = problem, targets, 0, 0, math.inf

    def seen(self, f: float) -> None:
        """One evaluation."""
        self.count += 1
        self.least = min(self.least, f if f == f else math.inf)
        if self.when == 0 and any(low <= f <= target for low, target in self.targets):
            self.when = self.count
            raise Solved
        if self.count >= MOST:
            raise Solved

    def __call__(self, x: Tensor) -> Tensor:
        """f, differentiable."""
        f = (self.problem.residuals(x) ** 2).sum()
        self.seen(float(f.detach()))
        return f


def minimum_near(problem: Problem, x: Tensor, steps: int = 300) -> tuple[Tensor, float]:
    """Levenberg-Marquardt with exact Jacobians, to the last digit."""
    damping = 1e-3
    r = problem.residuals(x)
    f = float(r @ r)
    for _ in range(steps):
        jacobian = torch.autograd.functional.jacobian(problem.residuals, x)
        scale = (jacobian**2).sum(0).sqrt().clamp_min(1e-12)
        stacked = torch.cat([jacobian, torch.diag(math.sqrt(damping) * scale)])
        step = torch.linalg.lstsq(stacked, torch.cat([-r, torch.zeros_like(x)])[:, None], driver="gelsd").solution[:, 0]
        trial = problem.residuals(x + step)
        value = float(trial @ trial)
        if value <= f:
            done = f - value <= 1e-16 * f
            x, r, f, damping = x + step, trial, value, max(damping / 5, 1e-15)
            if done:
                break
        else:
            damping *= 4
            if damping > 1e12:
                break
    return x, f


def targets(problem: Problem, ends: list[Tensor]) -> list[tuple[float, float]]:
    """(from, to) of the values that count as solved, for each listed minimum that some program came near to."""
    first = float((problem.residuals(problem.start) ** 2).sum())
    accurate = [minimum_near(problem, x)[1] for x in [problem.start, *ends]] if max(problem.minima) > 0.0 else []
    found = []
    for listed in problem.minima:
        if listed == 0.0:
            found.append((-math.inf, GOOD * first))
            continue
        near = [f for f in accurate if abs(f - listed) <= 2e-5 * listed]
        if near:
            found.append((min(near) * (1 - 1e-6), min(near) * (1 + GOOD)))
    return found


def ours(problem: Problem, aims: list[tuple[float, float]]) -> tuple[Counted, Tensor]:
    """gradlearn."""
    from gradlearn.descend import minimize

    f = Counted(problem, aims)
    last: list[Tensor] = [problem.start]

    def kept(x: Tensor) -> Tensor:
        last[0] = x.detach().clone()
        return f(x)

    with suppress(Solved):
        last[0] = minimize(kept, problem.start).x
    return f, last[0]


class Peer:
    """L-BFGS-B, in its own environment: one process for all problems."""

    def __init__(self) -> None:
        script = [str(measure.PEERS / "optimise" / "bin" / "python"), str(Path(__file__).parent / "smooth_peer.py")]
        self.process = subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, document: Row) -> None:
        """One line to the peer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(document) + "\n")
        self.process.stdin.flush()

    def run(self, problem: Problem, aims: list[tuple[float, float]], maxcor: int) -> tuple[Counted, Tensor]:
        """L-BFGS-B with so many remembered steps."""
        assert self.process.stdout is not None
        f, x = Counted(problem, aims), problem.start
        self.say({"start": problem.start.tolist(), "maxcor": maxcor})
        for line in self.process.stdout:
            asked = json.loads(line)
            if "done" in asked:
                break
            x = torch.tensor(asked["x"], dtype=torch.float64, requires_grad=True)
            try:
                value = f(x)
            except Solved:
                self.say({"enough": True})
                break
            (g,) = torch.autograd.grad(value, x)
            self.say({"f": float(value.detach()), "g": g.tolist()})
        return f, x.detach()


def main() -> None:
    arguments = measure.options(__doc__).parse_args()
    torch.set_num_threads(1)
    chosen = PROBLEMS[:6] if arguments.quick else PROBLEMS
    rows: list[Row] = []
    peer = Peer()
    runs: dict[str, Callable[[Problem, list[tuple[float, float]]], tuple[Counted, Tensor]]] = {
        "gradlearn": ours,
        "L-BFGS-B": lambda p, a: peer.run(p, a, 10),
        "L-BFGS-B, 30": lambda p, a: peer.run(p, a, 30),
    }
    for problem in chosen:
        ends = [run(problem, [])[1] for run in runs.values()] if max(problem.minima) > 0.0 else []
        aims = targets(problem, ends)
        row: Row = {"problem": problem.name, "n": problem.start.shape[0]}
        for name, run in runs.items():
            f, _ = run(problem, aims)
            row[name] = f.when or None
        rows.append(row)
        print(f"  {row}", flush=True)
    peer.process.kill()
    solved = {name: sum(row[name] is not None for row in rows) for name in runs}
    never = math.inf
    best = [min(row["L-BFGS-B"] or never, row["L-BFGS-B, 30"] or never) for row in rows]
    ratios = [row["gradlearn"] / b for row, b in zip(rows, best, strict=True) if row["gradlearn"] and b < never]
    theirs_solved = sum(b < never for b in best)
    bars = [
        measure.bar(
            "problems solved, ours less L-BFGS-B's (the better of two)", solved["gradlearn"] - theirs_solved, 0, below=False
        ),
        measure.bar("median ratio of evaluations, where both solve", statistics.median(ratios), 1.0),
    ]
    measure.table(rows, "evaluations until solved")
    measure.table([solved])
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows, "solved": solved}
    measure.write("minimize_smooth", payload, arguments.quick, peers=True)


if __name__ == "__main__":
    main()
