"""Claim: of a hundred faults put into running trainings, with remedies at least ninety-five end as the clean run does.

    as well  <=>  metric <= clean + max(2 %, two standard deviations of the clean runs over seeds),   clean: the same seed's

A run whose rate is given, a thousand times too low, is held against one whose rate is given and right: the plan sets more than
the rate where it may set the rate.

Five small trainings (`workloads.py` has their like), three updates, faults of ten kinds at five times of the run, drawn once and
for all by `--draw`. A fault is put in from outside, between two steps of `fit(show=...)`, or lies in the data: checks and remedies
are told nothing. Every run is made twice, with remedies and without (`act=False`); the clean ones of six seeds too, which shows
how often remedies act on healthy runs. One thread; what has been run is kept, by the sources, in build/.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import statistics
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import measure
from measure import ROOT, Row

SEEDS = 6
TIMES = (0.15, 0.3, 0.45, 0.6, 0.75)
STEPS = {"digits": 555, "friedman": 600, "fashion": 320, "reviews": 300, "softmax": 500}
UPDATES = ("adamw", "sgd", "split")
OTHERS = ["regularise", "best"]  # remedies for what is no fault of the run: they have claims of their own
BLIND = ("reviews",)  # its inputs are words, which are never NaN nor large
KINDS = {
    "rate x100 for a step": 8,
    "rate x100 for good": 8,
    "NaN example": 10,
    "infinite target": 8,
    "batch x1e4": 12,
    "20 steps of wrong labels": 14,
    "squares zeroed": 8,
    "squares x1e6": 8,
    "squares NaN": 4,
    "momentum x1e3": 8,
    "rate / 1000": 12,
}


@dataclass(frozen=True)
class Case:
    """One training, with a fault or clean."""

    kind: str  # "" for a clean run
    workload: str
    update: str
    seed: int
    at: int  # the step before which it is put in
    act: bool = True
    given: bool = False  # whether the rate of a clean run is given

    @property
    def name(self) -> str:
        """One line that tells it from all others."""
        kind = self.kind or ("clean given" if self.given else "clean")
        return f"{self.workload} {self.update} {self.seed} {kind} @{self.at}{'' if self.act else ' watched only'}"


def faults(draw: int) -> list[Case]:
    """The hundred cases."""
    chance, found = random.Random(draw), []
    for kind, count in KINDS.items():
        places = [(w, u) for w in STEPS for u in UPDATES if fits(kind, w, u)]
        chance.shuffle(places)
        for k in range(count):
            workload, update = places[k % len(places)]
            at = round(chance.choice(TIMES) * STEPS[workload]) + chance.randrange(20)
            found.append(Case(kind, workload, update, chance.randrange(SEEDS), at))
    return found


def fits(kind: str, workload: str, update: str) -> bool:
    """Whether there can be such a fault."""
    if kind in ("NaN example", "batch x1e4"):
        return workload not in BLIND
    if kind == "infinite target":
        return workload == "friedman"
    return not (kind.startswith("squares") and update == "sgd")


# ------------------------------------------------------------------------------------------------------------- trainings


@lru_cache
def parts(name: str) -> tuple[Callable[[int], Any], Any, Any, Any, int, Callable[..., float]]:
    """(model of a seed, training pair, validation pair, loss, batch, metric)."""
    from torch import nn

    import no_tuning_data as d
    import workloads as w
    from no_tuning_models import Reader, mlp

    def conv(_: int) -> nn.Module:
        layers = [nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1, bias=False)]
        return nn.Sequential(*layers, nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(784, 10))

    made = {
        "digits": (w.seeded(lambda _: mlp(64, 128, 128, 10)), d.digits(), w.CLASSES, 32, w.entropy),
        "friedman": (w.seeded(lambda _: mlp(10, 64, 64, 64, 1)), d.friedman(), w.NUMBERS, 32, w.squares),
        "fashion": (w.seeded(conv), d.fashion(4000, 2000, 5), w.CLASSES, 64, w.error),
        "reviews": (w.seeded(lambda _: Reader(2000, 24)), d.reviews(), w.CLASSES, 64, w.error),
        "softmax": (w.seeded(lambda _: nn.Linear(784, 10)), flat(d.fashion(4000, 2000, 6)), w.CLASSES, 64, w.entropy),
    }
    make, (train, valid), loss, batch, metric = made[name]
    return make, train, valid, loss, batch, metric


def flat(sets: Any) -> Any:
    """Pictures as rows, 0..1."""
    return tuple((x.flatten(1) + 0.5, y) for x, y in sets)


class Put:
    """Puts a fault into a descent; called after every step, as `show` is."""

    def __init__(self, case: Case) -> None:
        self.case, self.done = case, False

    def __call__(self, d: Any, step: Any) -> None:
        """After a step."""
        kind = self.case.kind
        if step.t == 0 and kind in ("batch x1e4", "20 steps of wrong labels"):
            d.data = Spoilt(d.data, kind, self.case.at, d.seed)
        if step.t == 0 and kind.startswith("rate x100"):
            d.rate = [*d.rate, Spike(self.case.at, 1 if kind.endswith("step") else 1 << 40)]
        if step.t + 1 == self.case.at and not self.done:
            self.done = True
            for state in d.update.state.values():
                for name, tensor in state.items():
                    spoil(kind, name, tensor)


def spoil(kind: str, name: str, tensor: Any) -> None:
    """One tensor of the update's state."""
    if kind.startswith("squares") and name == "exp_avg_sq":
        tensor.mul_({"squares zeroed": 0.0, "squares x1e6": 1e6, "squares NaN": float("nan")}[kind])
    if kind == "momentum x1e3" and name in ("exp_avg", "momentum_buffer"):
        tensor.mul_(1e3)


class Spike:
    """A factor on the rate, for so many steps."""

    def __init__(self, at: int, steps: int) -> None:
        self.at, self.steps = at, steps

    def __call__(self, now: Any) -> float:
        """1, or 100."""
        return 100.0 if self.at <= now.t < self.at + self.steps else 1.0


class Spoilt:
    """Data, some batches of which are wrong: those of a step, told by its draw."""

    def __init__(self, data: Any, kind: str, at: int, seed: int) -> None:
        from gradlearn import chance

        self.data, self.kind = data, kind
        self.draws = {chance.key(seed, "batch", t) for t in range(at, at + (1 if kind == "batch x1e4" else 20))}

    def __len__(self) -> int:
        return len(self.data)

    def __call__(self, index: Any, draw: int) -> Any:
        """The batch, or what has become of it."""
        import torch

        batch = self.data(index, draw)
        if draw not in self.draws:
            return batch
        if self.kind == "batch x1e4":
            return batch._replace(x=batch.x * 1e4)
        if batch.y.is_floating_point():
            return batch._replace(y=batch.y[torch.arange(len(batch.y)).roll(1)])
        return batch._replace(y=int(self.data.y.max()) - batch.y)


def run(case: Case) -> Row:
    """One training: its metric, what was found and what was done."""
    import torch

    import gradlearn
    from gradlearn.errors import NumericsTrouble

    torch.set_num_threads(1)
    make, (x, y), (vx, vy), loss, batch, metric = parts(case.workload)
    model = make(case.seed)
    if case.kind == "NaN example":
        x = x.clone()
        x[7 * case.seed + 3] = float("nan")
    if case.kind == "infinite target":
        y = y.clone()
        y[7 * case.seed + 3] = float("inf")
    kept: list[Any] = []
    put = Put(case)

    def show(d: Any, step: Any) -> None:
        kept[:] = [d.history]
        put(d, step)

    given: dict[str, Any] = {
        "without": OTHERS,
        "steps": STEPS[case.workload],
        "batch": batch,
        "update": case.update,
        "seed": case.seed,
    }
    if case.kind == "rate / 1000":
        given["lr"] = usual_rate(case) / 1000
    if case.given:
        given["lr"] = usual_rate(case)
    stopped = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            gradlearn.fit(model, (x, y), loss, valid=(vx[:500], vy[:500]), act=case.act, compile="off", show=show, **given)
        except NumericsTrouble as trouble:
            stopped = str(trouble)
    row: Row = {"name": case.name, "metric": metric(model, (vx, vy)), "stopped": stopped}
    h = kept[0]
    row["findings"] = [[f.t, f.name, f.level] for f in h.findings]
    row["actions"] = [[a.t, a.name, a.dial, a.before, a.after] for a in h.actions]
    row["weights"] = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()[:12]
    return row


def usual_rate(case: Case) -> float:
    """What the plan chooses."""
    from gradlearn.plan import Plan, choose_descent

    plan = Plan({"steps": STEPS[case.workload], "update": case.update, "batches": "shuffle"})
    choose_descent(plan, len(parts(case.workload)[1][1]))
    return plan["lr"]


# --------------------------------------------------------------------------------------------------------------- all of them


ACTING = ("watch", "remedy", "care.py", "descent.py", "loop.py", "run.py", "learn.py")  # what a run without remedies goes without


def digest(act: bool) -> str:
    """Of the sources that a run depends on, with remedies and without."""
    source = ROOT / "src" / "gradlearn"
    used = ["batches", "objective", "gradient", "update", "rate", "average", "step.py", "theta.py", "plan.py", "chance.py"]
    used += ["optimizer.py", "matrix.py", "supervised.py", *(ACTING if act else ())]
    paths = [p for name in used for p in ((source / name).rglob("*.py") if (source / name).is_dir() else [source / name])]
    texts = [p.read_bytes() for p in sorted(paths)]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:12]


def all_of(cases: list[Case], jobs: int) -> dict[str, Row]:
    """The rows of all cases by name; those that the same sources have made before are read."""
    store = measure.SMOKE / "injections.jsonl"
    store.parent.mkdir(parents=True, exist_ok=True)
    keys = {act: digest(act) for act in (True, False)}
    kept = map(json.loads, store.read_text().splitlines()) if store.exists() else ()
    found = {(row["name"], row["key"]): row for row in kept}
    left = [case for case in dict.fromkeys(cases) if (case.name, keys[case.act]) not in found]
    with store.open("a") as file, multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for row in pool.imap_unordered(run, left):
            row["key"] = keys[not row["name"].endswith("watched only")]
            found[row["name"], row["key"]] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
    return {case.name: found[case.name, keys[case.act]] for case in cases}


def clean(case: Case, act: bool = True) -> Case:
    """The same run without a fault."""
    return Case("", case.workload, case.update, case.seed, 0, act, case.kind == "rate / 1000")


def judged(case: Case, rows: dict[str, Row]) -> Row:
    """One fault: metric with and without remedies against the clean run."""
    over = [rows[clean(replace(case, seed=seed), False).name]["metric"] for seed in range(SEEDS)]
    mine = rows[clean(case, False).name]["metric"]
    room = max(0.02 * mine, 2.0 * statistics.stdev(over))
    acted, watched = rows[case.name], rows[replace(case, act=False).name]

    def well(row: Row) -> bool:
        return row["metric"] <= mine + room

    counted = Counter(a[1] for a in acted["actions"])
    return {
        "case": case.name,
        "kind": case.kind,
        "clean": mine,
        "room": room,
        "acted": acted["metric"],
        "watched only": watched["metric"],
        "well": well(acted),
        "well without": well(watched),
        "of the mean": acted["metric"] <= statistics.mean(over) + max(0.02 * mine, 2.0 * statistics.stdev(over)),
        "named": sorted({f[1] for f in acted["findings"] if f[2] != "info"}),
        "done": dict(counted),
    }


def main() -> int:
    parser = measure.options(__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--draw", type=int, default=0, help="which hundred: 0 was looked at when remedies were set, others were not"
    )
    parser.add_argument("--kind", help="those alone whose kind begins so")
    parser.add_argument("--show", action="store_true", help="a line for each that does not end well")
    parser.add_argument("--without", action="append", choices=tuple(STEPS), help="leave a workload out")
    arguments = parser.parse_args()
    if not (ROOT.parent / "shared" / "data").exists():
        raise SystemExit("injections: needs the data in ../shared/data")
    os.environ["OMP_NUM_THREADS"] = "1"
    cases = [case for case in faults(arguments.draw) if not arguments.kind or case.kind.startswith(arguments.kind)]
    cases = cases[:: 10 if arguments.quick else 1]
    if arguments.without:
        cases = [c for c in cases if c.workload not in arguments.without]
    both = [replace(c, act=act) for c in cases for act in (True, False)]
    healthy = [
        Case("", w, u, s, 0, act)
        for w, u in sorted({(c.workload, c.update) for c in cases})
        for s in range(SEEDS)
        for act in (True, False)
    ]
    own = [clean(replace(c, seed=s), False) for c in cases for s in range(SEEDS)]  # some with a rate that is given
    rows = all_of([*healthy, *own, *both], arguments.jobs)
    found = [judged(case, rows) for case in cases]
    kinds = [kind for kind in KINDS if any(f["kind"] == kind for f in found)]
    shown: list[Row] = []
    for kind in [*kinds, "all"]:
        some = [f for f in found if kind in (f["kind"], "all")]
        row: Row = {"fault": kind, "runs": len(some), "well, acted on": sum(f["well"] for f in some)}
        row |= {"well, watched only": sum(f["well without"] for f in some), "against the mean": sum(f["of the mean"] for f in some)}
        row |= {"named": sum(bool(f["named"]) for f in some), "acted": sum(bool(f["done"]) for f in some)}
        shown.append(row)
    measure.table(shown, measure.first_line(__doc__))
    pairs = [(rows[c.name], rows[clean(c, False).name]) for c in healthy if c.act]
    quiet = sum(not a["actions"] for a, _ in pairs)
    same = sum(a["weights"] == b["weights"] for a, b in pairs)
    spoke = Counter(f[1] for a, _ in pairs for f in {tuple(f[1:]): f for f in a["findings"] if f[2] != "info"}.values())
    print(f"healthy runs: {len(pairs)}, without an action {quiet}, bitwise as watched only {same}, spoken of {dict(spoke)}")
    if arguments.show:
        for f in found:
            if not f["well"]:
                print({k: round(v, 5) if isinstance(v, float) else v for k, v in f.items() if k != "kind"})
                print("   ", rows[f["case"]]["findings"][:6], rows[f["case"]]["actions"][:9], rows[f["case"]]["stopped"][:60])
    share = 100.0 * sum(f["well"] for f in found) / len(found)
    bars = [measure.bar("ends as the clean run, % of the faults", share, 95, below=False)]
    bars.append(measure.bar("healthy runs on which nothing is done, %", 100.0 * quiet / len(pairs), 98, below=False))
    measure.table(bars)
    name = "injections" if arguments.draw == 0 else f"injections_{arguments.draw}"
    if not arguments.kind:
        measure.write(
            name,
            {"claim": measure.first_line(__doc__).removeprefix("Claim: "), "bars": bars, "kinds": shown, "rows": found},
            arguments.quick,
        )
    return 0 if all(b["met"] for b in bars) else 1


if __name__ == "__main__":
    raise SystemExit(main())
