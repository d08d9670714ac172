"""Claim: of all updates, the one that the plan chooses gets out of as many traps as the best, or one fewer.

Small problems that are easy to write down and easy to fail at (`trap_problems/`), three levels each, 300 steps. Every update is
given what `--update NAME` gives it, all else as the plan has it (schedule, average), and up to 10 tries: at its usual learning
rate, then at rates 3.2 times larger each, while that helps, or else smaller. A trap is solved if one of the tries passes; `alone`:
if the first does, at the usual rate. The plan itself, nothing said, is one more row. Rows of torch: a loop written by hand,
constant rate, no average.

Finished cells are kept in build/benchmarks/traps.jsonl and not computed again while problem and update are what they were.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import torch

import measure
from gradlearn.find import names
from measure import Row
from trap_contest import TRIES, Contender, attempt, cell, fingerprint
from trap_problems import LEVELS, PROBLEMS, Problem

BARE = {"rate": ["constant"], "average": "plain"}  # a loop written by hand
KEPT = measure.SMOKE / "traps.jsonl"


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


def cells(people: Sequence[Contender], problems: Sequence[Problem], seeds: int, tries: int, kept: Path) -> Iterator[Row]:
    """Every cell, from what is kept or computed and kept."""
    old: dict[str, Row] = {}
    if kept.exists():
        old = {row["key"]: row for row in map(json.loads, kept.read_text().splitlines())}
    kept.parent.mkdir(parents=True, exist_ok=True)
    for who in people:
        for problem in problems:
            for level in problem.levels:
                for seed in range(seeds):
                    key = f"{who.name}|{problem.name}|{level}|{seed}|{tries}|{fingerprint(who, problem, level)}"
                    if key not in old:
                        old[key] = {"key": key, **cell(who, problem, level, seed, tries)}
                        with kept.open("a") as file:
                            file.write(json.dumps(old[key]) + "\n")
                    yield old[key]


def twins(problems: Sequence[Problem]) -> Row:
    """Ours that are torch's, and torch's classes with the same options, on every problem: how many tries end in the same bits."""
    pairs = [("adamw", "AdamW"), ("nadam", "NAdam"), ("sgd", "SGD")]
    equal = 0
    for name, kind in pairs:
        for problem in problems:
            level = list(problem.levels)[-1]
            ours = attempt(Contender(name, {"update": name}, "update"), problem, level, 0, 1.0)
            theirs = attempt(Contender(name, {"update": name}, "twin", kind), problem, level, 0, 1.0)
            equal += repr(ours) == repr(theirs) and not ours.trouble
    whole = len(pairs) * len(problems)
    return measure.bar(f"calibration: tries equal to torch's AdamW, NAdam, SGD bit for bit, of {whole}", equal, whole, below=False)


def standings(found: Sequence[Row], people: Sequence[Contender], tries: int) -> list[Row]:
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
                "tries": sum(row["solved"] or tries for row in own),
                "alone": sum(row["solved"] == 1 for row in own),
                **{level: sum(row["level"] == level for row in solved) for level in LEVELS},
                "us_step": round(1e6 * sum(row["seconds"] for row in own) / max(sum(row["steps"] for row in own), 1)),
                "broke": sum(bool(row["trouble"]) for row in own),
            }
        )
    return sorted(rows, key=lambda row: (-row["solved"], row["tries"]))


def by_problem(found: Sequence[Row], problems: Sequence[Problem], people: Sequence[Contender]) -> list[Row]:
    """How many of our updates solve each problem, level by level, and which solve the hardest level that any does."""
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
    parser.add_argument("--tries", type=int, default=TRIES, help="learning rates at most (default 10)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    people, problems = chosen(arguments)
    tries = 2 if arguments.quick else arguments.tries
    if arguments.quick:
        people, problems = people[:3], problems[:2]
    found: list[Row] = []
    for row in cells(people, problems, arguments.seeds, tries, KEPT):
        if found and row["who"] != found[-1]["who"]:
            _said(found)
        found.append(row)
    _said(found)
    rows, sorts = standings(found, people, tries), by_problem(found, problems, people)
    bars = [*judge(rows, people, arguments.seeds), twins(problems)]
    measure.table(sorts)
    measure.table(rows, f"{len(problems)} problems, {arguments.seeds} seeds, up to {tries} tries")
    measure.table(bars)
    partial = arguments.quick or bool(arguments.only or arguments.problem)
    payload = {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows, "problems": sorts, "cells": _compact(found)}
    measure.write("traps", payload, quick=partial)


def _said(found: Sequence[Row]) -> None:
    own = [row for row in found if row["who"] == found[-1]["who"]]
    seconds = sum(row["seconds"] for row in own)
    print(f"  {own[0]['who']}: {sum(r['solved'] > 0 for r in own)} of {len(own)}, {seconds:.0f} s", flush=True)


def _compact(found: Sequence[Row]) -> dict[str, dict[str, str]]:
    """{contender: {problem: the try that solved each level and seed, - for none}}."""
    out: dict[str, dict[str, str]] = {}
    for row in found:
        own = out.setdefault(row["who"], {})
        own[row["problem"]] = f"{own.get(row['problem'], '')} {row['solved'] or '-'}".strip()
    return out


if __name__ == "__main__":
    main()
