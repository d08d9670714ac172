"""Claim: of all updates, the one that the plan chooses gets out of as many traps as the best, or one fewer.

Small problems that are easy to write down and easy to fail at (`trap_problems/`), three levels each, 300 steps. Every update is
given what `--update NAME` gives it, all else as the plan has it (schedule, average), and up to 10 tries: at its usual learning
rate, then at rates 3.2 times larger each, while that helps, or else smaller. A trap is solved if one of the tries passes; `alone`:
if the first does, at the usual rate. The plan itself, nothing said, is one more row. Rows of torch: a loop written by hand,
constant rate, no average.

Tries are kept in build/benchmarks/traps_tries.jsonl and not made again while problem and update are what they were.
"""

from __future__ import annotations

import argparse
import ast
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import torch

import measure
from gradlearn.find import names
from measure import Row
from trap_contest import TRIES, Contender, Tries, cell
from trap_problems import LEVELS, PROBLEMS, Problem

BARE = {"rate": ["constant"], "average": "plain"}  # a loop written by hand
KEPT = measure.SMOKE / "traps_tries.jsonl"


CONTENDERS = (
    Contender("plan", {}, "plan"),
    Contender("torch AdamW", {"update": "adamw", **BARE}, "torch", "AdamW"),
    Contender("torch NAdam", {"update": "nadam", **BARE}, "torch", "NAdam"),
    Contender("torch RMSprop", {"update": "adamw", **BARE}, "torch", "RMSprop"),
    Contender("torch Adagrad", {"update": "adamw", **BARE}, "torch", "Adagrad"),
    Contender("torch SGD, momentum 0.9", {"update": "sgd", **BARE}, "torch", "SGD"),
)


def everyone() -> list[Contender]:
    """The plan, every file in update/, and torch's own for calibration."""
    ours = [Contender(name, {"update": name}, "update") for name in names("update")]
    return [CONTENDERS[0], *ours, *CONTENDERS[1:]]


def cells(tries: Tries, people: Sequence[Contender], problems: Sequence[Problem], seeds: int, most: int) -> Iterator[list[Row]]:
    """All cells of one contender after another; of those only that can be had, where no try may be made."""
    for who in people:
        try:
            yield [cell(tries, who, p, level, seed, most) for p in problems for level in p.levels for seed in range(seeds)]
        except KeyError:
            continue


def twins(tries: Tries, problems: Sequence[Problem]) -> Row:
    """Ours that are torch's, beside torch's classes with the same options: how many tries at the hard levels end alike, to 1 %."""
    hard = [replace(p, levels=dict(list(p.levels.items())[-1:])) for p in problems]
    equal = whole = 0
    for name, kind in (("adamw", "AdamW"), ("nadam", "NAdam"), ("sgd", "SGD")):
        pair = [Contender(name, {"update": name}, "update"), Contender(f"torch as {name}", {"update": name}, "twin", kind)]
        for a, b in zip(*cells(tries, pair, hard, 1, 1), strict=True):
            equal += a["solved"] == b["solved"] and math.isclose(a["gaps"][0], b["gaps"][0], rel_tol=0.01)
            whole += 1
    return measure.bar(f"calibration: tries that end as with torch's AdamW, NAdam, SGD, of {whole}", equal, whole, below=False)


def standings(found: Sequence[Row], people: Sequence[Contender]) -> list[Row]:
    """One row a contender, best first."""
    rows = []
    for who in people:
        own = [row for row in found if row["who"] == who.name]
        if not own:
            continue
        solved = [row for row in own if row["solved"]]
        rows.append(
            {
                "update": who.name,
                "solved": len(solved),
                "of": len(own),
                "tries": sum(len(row["gaps"]) for row in own),
                "alone": sum(row["solved"] == 1 for row in own),
                **{level: sum(row["level"] == level for row in solved) for level in LEVELS},
                "us_step": round(1e6 * sum(row["seconds"] for row in own) / max(sum(row["steps"] for row in own), 1)),
                "broke": sum(bool(row["trouble"]) for row in own),
                "stale": sum(not row["as_now"] for row in own),
            }
        )
    return sorted(rows, key=lambda row: (-row["solved"], row["tries"]))


def by_problem(found: Sequence[Row], problems: Sequence[Problem], people: Sequence[Contender]) -> list[Row]:
    """How many of our updates solve each problem, level by level."""
    ours = {who.name for who in people if who.kind == "update"}
    rows = []
    for problem in problems:
        row: Row = {"problem": problem.name, "what": problem.about}
        for level in LEVELS:
            who = {r["who"] for r in found if r["problem"] == problem.name and r["level"] == level and r["who"] in ours}
            won = {r["who"] for r in found if (r["problem"], r["level"]) == (problem.name, level) and r["solved"]} & ours
            row[level] = f"{len(won)}/{len(who)}"
        rows.append(row)
    return rows


def judge(rows: Sequence[Row], people: Sequence[Contender], seeds: int) -> list[Row]:
    """The plan against the best of our updates, per seed: with tries, and by the usual rate alone."""
    ours = {who.name for who in people if who.kind == "update"}
    plan = next((row for row in rows if row["update"] == "plan"), None)
    best = [row for row in rows if row["update"] in ours]
    if plan is None or not best:
        return []
    out = []
    for what, words in (("solved", "solved with tries"), ("alone", "solved by the usual rate alone")):
        winner = max(best, key=lambda row: row[what])
        behind = (winner[what] - plan[what]) / seeds
        out.append(measure.bar(f"plan, {words}: fewer than the best ({winner['update']}), a seed", behind, 1.0))
    return out


def chosen(arguments: argparse.Namespace) -> tuple[list[Contender], list[Problem]]:
    """Who and what, from the options."""
    people, problems = everyone(), list(PROBLEMS.values())
    if arguments.only:
        wanted = arguments.only.split(",")
        people = sorted((who for who in people if who.name in wanted), key=lambda who: wanted.index(who.name))
    for extra in arguments.also:
        name, *pairs = extra.split()
        more = {k: value(v) for k, v in (pair.split("=") for pair in pairs)}
        people.append(Contender(extra, {"update": name, **more}, "update"))
    if arguments.problem:
        problems = [PROBLEMS[name] for name in arguments.problem.split(",")]
    return people, problems


def value(text: str) -> Any:
    """0.95 or (0.9,0.99) as such, all else as text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--only", default="", help="contenders, comma-separated (default all)")
    parser.add_argument("--also", action="append", default=[], help='a variant: "split split.matrix=soap"')
    parser.add_argument("--problem", default="", help="problems, comma-separated (default all)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of every problem (default 1)")
    parser.add_argument("--kept", action="store_true", help="compute nothing: the table of what is kept, complete contenders only")
    parser.add_argument("--tries", type=int, default=TRIES, help="learning rates at most (default 10)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    people, problems = chosen(arguments)
    most = 2 if arguments.quick else arguments.tries
    if arguments.quick:
        people, problems = people[:3], problems[:2]
    tries = Tries(KEPT, make=not arguments.kept)
    found: list[Row] = []
    for own in cells(tries, people, problems, arguments.seeds, most):
        seconds = sum(row["seconds"] for row in own)
        print(f"  {own[0]['who']}: {sum(r['solved'] > 0 for r in own)} of {len(own)}, {seconds:.0f} s", flush=True)
        found += own
    rows, sorts = standings(found, people), by_problem(found, problems, people)
    bars = judge(rows, people, arguments.seeds)
    bars += [] if arguments.only or arguments.kept else [twins(tries, problems)]
    missing = [who.name for who in people if who.name not in {row["update"] for row in rows}]
    measure.table(sorts)
    measure.table(rows, f"{len(problems)} problems, {arguments.seeds} seeds, up to {most} tries")
    measure.table(bars)
    partial = arguments.quick or bool(arguments.only or arguments.problem)
    payload = {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows, "problems": sorts, "missing": missing}
    payload["cells"] = _compact(found)
    measure.write("traps", payload, quick=partial)


def _compact(found: Sequence[Row]) -> dict[str, dict[str, str]]:
    """{contender: {problem: the try that solved each level and seed, - for none}}."""
    out: dict[str, dict[str, str]] = {}
    for row in found:
        own = out.setdefault(row["who"], {})
        own[row["problem"]] = f"{own.get(row['problem'], '')} {row['solved'] or '-'}".strip()
    return out


if __name__ == "__main__":
    main()
