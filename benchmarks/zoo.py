"""Claim: 9 in 10 sick runs are named right, 95 % of what is said is right, and at most 2 % of healthy runs raise an alarm.

The runs (`zoo_sick.py`, `zoo_healthy.py`) are small models on real data, watched by `gradlearn.fit` and not acted on. Each has a
label that follows from how it is made and was written before any check looked at it: names that are right (`accept`) and names
that are true consequences (`also`). A finding speaks where its level is "warn" or "alarm"; a remark ("info") does not.

    recall       sick runs of which at least one acceptable finding speaks / sick runs   (at a minimum, a remark is enough)
    precision    acceptable findings / all findings that speak, over all runs, each name once a run; `also` counts as neither
    false alarm  a healthy run of which any finding speaks

A third of each kind is held out by the hash of its name: thresholds must not be set on it. Of held-out runs only totals are
printed and kept, unless --show-held-out. `--look` shows the facts of the runs (losses, scores, units) and no finding. Results of
single runs are kept in build/zoo and used again until the run, the checks or what calls them change.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import measure
from measure import Row
from zoo_healthy import healthy
from zoo_runs import SPEAKING, Case, checks_key, digest, marked, run, shows
from zoo_sick import sick

KEPT = measure.ROOT / "build" / "zoo"
SHARED = measure.ROOT.parent / "shared" / "data"


@dataclass(frozen=True)
class Outcome:
    """What was said of one run, against its label."""

    case: Case
    facts: dict[str, Any]
    findings: list[dict[str, Any]]

    @property
    def speaking(self) -> dict[str, str]:
        """Name -> sentence of each finding that speaks, the first of a name."""
        found: dict[str, str] = {}
        for f in self.findings:
            if f["level"] in SPEAKING:
                found.setdefault(f["name"], f"{f['what']}{' [' + f['sort'] + ']' if f['sort'] else ''}")
        return found

    @property
    def right(self) -> list[str]:
        """Acceptable names that speak."""
        return [name for name in self.speaking if name in self.case.accept]

    @property
    def wrong(self) -> list[str]:
        """Names that speak and are neither acceptable nor true consequences."""
        return [name for name in self.speaking if name not in (*self.case.accept, *self.case.also)]

    @property
    def named(self) -> bool:
        """Whether a sick run is named right."""
        remarked = self.case.remark and any(f["name"] in self.case.accept for f in self.findings)
        return bool(self.right) or remarked


def cases_of(only: Sequence[str], fast: bool) -> list[Case]:
    """The runs asked for: those whose name or kind holds one of the words; every third, if fast."""
    cases = marked([*sick(), *healthy()])
    chosen = [c for c in cases if not only or any(word in c.name or word in c.kind for word in only)]
    return chosen[::3] if fast else chosen


def place(c: Case) -> Path:
    """Where the result of a run is kept."""
    return KEPT / f"{c.name.replace('/', '--')}.json"


def key_of(c: Case, checks: str) -> str:
    """What a kept result must have been made with."""
    return digest(c.key.encode(), checks.encode())


def kept(c: Case, checks: str) -> Outcome | None:
    """The result of an earlier call, if nothing has changed since."""
    try:
        stored = json.loads(place(c).read_text())
    except (OSError, ValueError):
        return None
    return Outcome(c, stored["facts"], stored["findings"]) if stored["key"] == key_of(c, checks) else None


def work(c: Case, checks: str) -> str:
    """In a worker: one run, kept. Returns what broke, if something did."""
    import torch

    torch.set_num_threads(1)
    try:
        result = run(c)
    except Exception as error:
        import traceback

        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
    place(c).write_text(json.dumps({"key": key_of(c, checks), **result}))
    return ""


def outcomes_of(cases: Sequence[Case], jobs: int, fresh: bool) -> tuple[list[Outcome], dict[str, str]]:
    """Results of all, those that are kept read and the others run, some at a time; and what broke, by the name of the run."""
    KEPT.mkdir(parents=True, exist_ok=True)
    checks, broken = checks_key(), {}
    due = [c for c in cases if fresh or kept(c, checks) is None]
    start = time.perf_counter()
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        running = {pool.submit(work, c, checks): c for c in due}
        for k, done in enumerate(as_completed(running)):
            if done.result():
                broken[running[done].name] = done.result()
            if (k + 1) % 20 == 0:
                print(f"  {k + 1} of {len(due)} runs, {time.perf_counter() - start:.0f} s", flush=True)
    found = [kept(c, checks) for c in cases if c.name not in broken]
    return [o for o in found if o is not None], broken


def share(part: float, whole: float) -> float:
    """A share; 1 of nothing."""
    return part / whole if whole else 1.0


def totals(outcomes: Sequence[Outcome], broken: int = 0) -> Row:
    """Recall, precision and false alarms of these; a run that broke is a sick one not named."""
    ill, fit = [o for o in outcomes if not o.case.healthy], [o for o in outcomes if o.case.healthy]
    right, wrong = sum(len(o.right) for o in outcomes), sum(len(o.wrong) for o in outcomes)
    named, alarms = sum(o.named for o in ill), sum(bool(o.speaking) for o in fit)
    row: Row = {"sick": len(ill) + broken, "named right": named, "recall": share(named, len(ill) + broken)}
    row |= {"said right": right, "said wrong": wrong, "precision": share(right, right + wrong)}
    return row | {"healthy": len(fit), "false alarms": alarms, "rate": alarms / max(len(fit), 1)}


def by_kind(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row for each kind of run."""
    rows = []
    for kind in dict.fromkeys(o.case.kind for o in outcomes):
        own = [o for o in outcomes if o.case.kind == kind]
        wrong = Counter(name for o in own for name in o.wrong)
        named = sum(o.named for o in own) if not own[0].case.healthy else sum(not o.speaking for o in own)
        row: Row = {"kind": kind, "runs": len(own), "named right": named, "missed": len(own) - named}
        rows.append(row | {"named wrong": ", ".join(f"{name} {k}" for name, k in wrong.most_common()) or "-"})
    return rows


def tell(outcomes: Sequence[Outcome]) -> None:
    """What is not as it should be, run by run, with the sentences."""
    for o in outcomes:
        if not o.case.healthy and not o.named:
            also = ", ".join(sorted({f"{f['name']} ({f['level']})" for f in o.findings})) or "nothing"
            print(f"  missed  {o.case.name}: expected {' or '.join(o.case.accept)}; said {also}")
        for name in o.wrong:
            print(f"  wrong   {o.case.name}: {name}: {o.speaking[name]}")


def look(outcomes: Sequence[Outcome]) -> None:
    """The facts of each run, without a finding: whether the label is true is for the eye."""
    for o in outcomes:
        f = o.facts
        print(f"{'' if shows(o.case, f) else 'NOT SHOWN '}{o.case.name}  {f['cpu']} s  {f['error'][:70]}")
        print("   loss ", *(f"{x:.3g}" for x in f["losses"]))
        print("   valid", *(f"{value:.3g}/{loss:.3g}" for _, value, loss in f["scores"][::4] + f["scores"][-1:]))
        print("   units", *(f"dead {u['dead']:.2f} bound {u['bound']:.2f};" for u in f["units"]))


def bars_of(all_of_it: Row, held: Row) -> list[Row]:
    """The bars of the claim, for all runs and for those held out."""
    rows = []
    for which, row in (("all", all_of_it), ("held out", held)):
        rows.append(measure.bar(f"recall, {which}", row["recall"], 0.90, below=False))
        rows.append(measure.bar(f"precision, {which}", row["precision"], 0.95, below=False))
        rows.append(measure.bar(f"false alarms, {which}", row["rate"], 0.02))
    return rows


def main() -> int:
    parser = measure.options(__doc__)
    parser.add_argument("--only", action="append", default=[], help="runs whose name or kind holds this; may be repeated")
    parser.add_argument("--fast", action="store_true", help="every third run")
    parser.add_argument("--fresh", action="store_true", help="run again what is kept")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--look", action="store_true", help="show the facts of the runs and no finding")
    parser.add_argument("--show-held-out", action="store_true", help="held-out runs by name too: not to set a threshold by")
    given = parser.parse_args()
    if not SHARED.is_dir():
        print("skipped: the shared data folder is not here")
        return 0
    start = time.perf_counter()
    cases = cases_of(given.only, given.fast or given.quick)
    outcomes, broken = outcomes_of(cases, given.jobs, given.fresh)
    if given.look:
        look(outcomes)
        return 0
    held = [o for o in outcomes if o.case.held_out]
    open_ones = outcomes if given.show_held_out else [o for o in outcomes if not o.case.held_out]
    unclear = [o.case.name for o in outcomes if not shows(o.case, o.facts)]
    hidden = {c.name for c in cases if c.held_out}
    lost = {part: sum((name in hidden) == (part == "held out") for name in broken) for part in ("open", "held out")}
    parts = {"open": totals([o for o in outcomes if not o.case.held_out], lost["open"]), "held out": totals(held, lost["held out"])}
    parts["all"] = totals(outcomes, len(broken))
    kinds = by_kind(open_ones)
    measure.table(kinds, "by kind" + ("" if given.show_held_out else ", without those held out"))
    tell(open_ones)
    for name, why in broken.items():
        print(f"  broken  {name}: {why}")
    if unclear:
        print(f"  facts that do not show the label: {', '.join(unclear)}")
    measure.table([{"part": part, **row} for part, row in parts.items()], "totals")
    bars = bars_of(parts["all"], parts["held out"])
    measure.table(bars)
    cpu = sum(o.facts["cpu"] for o in outcomes)
    print(f"{len(outcomes)} runs: {cpu:.0f} s of one core; this call {time.perf_counter() - start:.0f} s")
    payload = {"claim": measure.first_line(__doc__), "bars": bars, "totals": parts, "rows": kinds, "core_seconds": round(cpu)}
    measure.write("zoo", payload | {"broken": broken}, bool(given.quick or given.fast or given.only or given.show_held_out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
