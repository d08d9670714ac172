"""Writes the tables of measured numbers in README.md and docs/ from benchmarks/results/*.json: none is typed by hand.

    python docs/figures.py [--check]        --check changes nothing, and fails where a table is not what the results say

A table stands between `<!-- figures: bars -->` (or: `details`, `traps`: the rows of one result, `traps.problems`: another list of
it) and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("performance", "traps", "images")))
PLACE = re.compile(r"(<!-- figures: ([\w.]+) -->\n).*?(^<!-- end -->$)", re.MULTILINE | re.DOTALL)
MOST = 40  # rows of a table; longer ones stay in the JSON file

Result = Mapping[str, Any]


def results(folder: Path = RESULTS) -> list[Result]:
    """All kept results, by name. Quick runs are none."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    return [result for result in found if not result.get("quick")]


def bars(found: Sequence[Result]) -> str:
    """A row for every claim, with its bars; one that was missed says so."""
    if not found:
        return "No result is on record yet; `make bench-digits` writes the first.\n"
    draws: dict[str, list[Result]] = {}  # injections, injections_1, ...: one claim, measured several times
    for one in found:
        draws.setdefault(re.sub(r"_\d+$", "", one["name"]), []).append(one)
    rows = []
    for name, some in draws.items():
        same = zip(*(one["bars"] for one in some), strict=True)
        rows.append({"claim": some[0]["claim"], "measured (bar)": "; ".join(map(bar, same)), "by": f"`bench-{name}`"})
    return table(rows)


def bar(same: Sequence[Mapping[str, Any]]) -> str:
    """One bar of a claim in words, as often as it was measured."""
    values, missed = [_cell(one["value"]) for one in same], not all(one["met"] for one in same)
    told = ", ".join(values if len(set(values)) > 1 else values[:1])
    return f"{same[0]['bar']}: {told} ({same[0]['limit']}{', **missed**' if missed else ''})"


def details(found: Sequence[Result]) -> str:
    """A section for every claim: what was claimed, on what, with what, bars and rows."""
    return "\n".join(section(one) for one in found) if found else bars(found)


def section(one: Result) -> str:
    """One claim."""
    machine, versions = one["machine"], dict(one["versions"])
    peers = versions.pop("peers", {})
    with_ = ", ".join(f"{name} {version}" for name, version in versions.items())
    beside = ", ".join(f"{name} {version}" for name, version in peers.items())
    parts = [
        f"## {one['name'].replace('_', ' ')}\n",
        f"{one['claim']}\n",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {with_}; {one['date'][:10]}."
        + (f" Peers: {beside}." if beside else "")
        + "\n",
        table(one["bars"]),
    ]
    rows = one.get("rows") or []
    if rows:
        parts.append(table(rows) if len(rows) <= MOST else f"{len(rows)} rows: `benchmarks/results/{one['name']}.json`.\n")
    return "\n".join(parts)


def one(found: Sequence[Result], place: str) -> str:
    """One list of one result: "traps" its rows, "traps.problems" another."""
    name, _, part = place.partition(".")
    result = next((r for r in found if r["name"] == name), None)
    return f"No result is on record yet; `make bench-{name}` writes it.\n" if result is None else table(result[part or "rows"])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; numbers to four significant digits, on the right."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    numeric = [all(_is_number(row.get(name)) for row in rows) for name in names]
    lines = [names, ["---:" if right else "---" for right in numeric], *([_cell(row.get(n)) for n in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def filled(page: str, found: Sequence[Result]) -> str:
    """The page with its tables as the results have them."""
    makers = {"bars": bars, "details": details}

    def made(place: str) -> str:
        return makers[place](found) if place in makers else one(found, place)

    return PLACE.sub(lambda place: f"{place[1]}\n{made(place[2])}\n{place[3]}", page)


def main() -> None:
    """Write the tables, or check them."""
    found = results()
    for path in PAGES:
        page = path.read_text("utf-8")
        new = filled(page, found)
        if new == page:
            continue
        if "--check" in sys.argv:
            raise SystemExit(f"{path.relative_to(ROOT)}: its tables are not what benchmarks/results says; run: make figures")
        path.write_text(new, "utf-8")
        print(f"{path.relative_to(ROOT)}: tables written")


if __name__ == "__main__":
    main()
