"""Claim: the rate band's upper edge is 2 / largest curvature within a factor of 2, and looking for it leaves no trace.

200 seeded problems with plain gradient descent on all of the data: 120 least-squares ones with a known spectrum (2 to 200 numbers,
condition 1 to 10,000, random rotations, largest curvature from 0.01 to 100) and 80 logistic regressions on random data, with their
largest curvature where the descent starts, by a dense eigenvalue solver in double precision. `edge` is what the band says (from
Hessian-vector products for this update); `tried` is the edge of its trial steps alone, which know nothing of the curvature. On a
logistic loss, which gets flatter where a step goes far, the loss need not rise from that rate on: told apart, and without a bar.

Around every probe all that a step changes is compared bit for bit: parameters, buffers, gradients, the update's state, the average,
torch's random state, the order of the data, history and counters. The same for networks with BatchNorm and dropout and for other
updates, before the first step and in the middle of a run.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import measure
from gradlearn.band import band
from gradlearn.learn import choices_of, planned, task_of
from gradlearn.loop import Descent, train
from gradlearn.optimizer import pack
from gradlearn.plan import Plan
from gradlearn.symbols import Now
from measure import Row

PLAIN = {"update": "sgd", "sgd__momentum": 0.0, "sgd__weight_decay": 0.0, "batch": "full"}


def descent(model: nn.Module, data: Any, loss: str, **options: Any) -> Descent:
    """As `fit` would begin it."""
    user = choices_of({"compile": "off"}, {"steps": 200, "average": "plain", "inputs": "as given"} | options)
    return planned(task_of(model, data, loss, None, user, None, 0), Plan(user), 0.0)[0]


def linear(n: int, random: np.random.Generator) -> nn.Linear:
    """n numbers, drawn."""
    model = nn.Linear(n, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(random.standard_normal((1, n))).float())
    return model


def quadratic(seed: int) -> tuple[Descent, float, str]:
    """Least squares with a spectrum of choice: H = (2 / n) A'A."""
    random = np.random.default_rng(seed)
    n = round(2 * 100 ** random.random())
    condition, top = 10 ** (4 * random.random()), 10 ** (4 * random.random() - 2)
    spectrum = top * condition ** -np.concatenate([[0.0, 1.0], random.random(n - 2)])
    rotations = [np.linalg.qr(random.standard_normal((n, n)))[0] for _ in range(2)]
    a = rotations[0] @ np.diag(np.sqrt(spectrum * n / 2)) @ rotations[1]
    y = a @ random.standard_normal((n, 1))
    d = descent(linear(n, random), (torch.from_numpy(a).float(), torch.from_numpy(y).float()), "mse", **PLAIN)
    return d, 2.0 / top, f"{n} numbers, condition {condition:.3g}"


def logistic(seed: int) -> tuple[Descent, float, str]:
    """Two classes, random data, a fifth of the labels drawn by a coin."""
    random = np.random.default_rng(seed)
    n = round(2 * 100 ** random.random())
    rows = round(n * (1 + 4 * random.random())) + 8
    a = random.standard_normal((rows, n)) * 10 ** random.random(n)
    label = (a @ random.standard_normal(n) > 0) ^ (random.random(rows) < 0.2)
    model = linear(n, random)
    with torch.no_grad():
        model.weight.mul_(0.1 / n**0.5)
    p = 1.0 / (1.0 + np.exp(-(a @ model.weight.detach().double().numpy()[0])))
    top = np.linalg.eigvalsh((a * (p * (1 - p))[:, None]).T @ a / rows)[-1]
    data = torch.from_numpy(a).float(), torch.from_numpy(label).long()
    return descent(model, data, "cross_entropy", **PLAIN), 2.0 / float(top), f"{n} numbers, {rows} examples"


def state_of(d: Descent) -> dict[str, Any]:
    """Everything that a step changes, copied."""
    tensors, groups = pack(d.update)
    nows = [Now(d.t + k, d.controls.end, d.seen + k * d.batches.size, d.seed) for k in range(5)]
    parts: dict[str, Tensor] = {f"model {k}": v for k, v in d.theta.tensors().items()}
    parts |= {f"update {k}": v for k, v in tensors.items()} | {f"average {k}": v for k, v in d.average.state().items()}
    parts |= {f"grad {i}": b.grad for i, b in enumerate(d.theta.blocks)} | {"random": torch.get_rng_state()}
    parts |= {f"order {k}": d.batches(now) for k, now in enumerate(nows)}
    plain = {"groups": groups, "modes": [m.training for m in d.theta.model.modules()], "controls": copy.copy(d.controls)}
    plain |= {"counts": (d.t, d.seen, d.round), "history": list(d.history.loss), "ring": len(d.ring)}
    return {k: v.clone() for k, v in parts.items()} | copy.deepcopy(plain)


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not the same bits."""
    names = sorted(before.keys() | after.keys())
    return [k for k in names if k not in before or k not in after or not same(before[k], after[k])]


def same(a: Any, b: Any) -> bool:
    """Equal, tensors bit for bit."""
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
    return repr(a) == repr(b)


def net() -> tuple[nn.Module, Any]:
    """A small convolutional network with BatchNorm and dropout on made-up pictures of three classes."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(3, (256,), generator=g)
    x = torch.randn(256, 1, 8, 8, generator=g) + y[:, None, None, None] * torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 3)), (x, y)


UPDATES: dict[str, dict[str, Any]] = {
    "adamw": {"update": "adamw"},
    "split": {"update": "split"},
    "soap": {"update": "soap"},
    "momentum": {"update": "sgd", "sgd__momentum": 0.9},
    "prodigy": {"update": "prodigy"},
    "all of the data": {"update": "sgd", "batch": "full"},
}


def nets(quick: bool) -> list[Row]:
    """The band of a network under several updates, at the start and after 30 steps."""
    rows: list[Row] = []
    for name, options in list(UPDATES.items())[: 2 if quick else None]:
        for warm in (0, 30):
            model, data = net()
            d = descent(model, data, "cross_entropy", **options)
            for step in train(d) if warm else ():
                if step.t + 1 == warm:
                    break
            d.theta.model.train()
            before = state_of(d)
            found = band(d, steps=12)
            differs = changed(before, state_of(d))
            rows.append(
                {
                    "update": name,
                    "after": warm,
                    "chosen": found.chosen,
                    "low": found.low,
                    "edge": found.edge,
                    "verdict": found.verdict,
                    "changed": ", ".join(differs) or "nothing",
                }
            )
    return rows


def near(rows: list[Row], key: str) -> float:
    """Share of the rows within a factor of 2."""
    return sum(0.5 <= row[key] <= 2.0 for row in rows) / len(rows)


def main() -> int:
    parser = measure.options(__doc__)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    begun = time.perf_counter()
    for kind, make, count in (("quadratic", quadratic, 120), ("logistic", logistic, 80)):
        for seed in range(8 if arguments.quick else count):
            d, known, what = make(seed)
            before = state_of(d)
            found = band(d, steps=30)
            differs = changed(before, state_of(d))
            tried = math.sqrt(found.tried[0] * found.tried[1])
            row: Row = {"kind": kind, "seed": seed, "what": what, "known": known, "edge / known": found.edge / known}
            rows.append(row | {"tried / known": tried / known, "changed": ", ".join(differs) or "nothing"})
    seconds = (time.perf_counter() - begun) / len(rows)
    others = nets(arguments.quick)
    parts = {kind: [r for r in rows if r["kind"] == kind] for kind in ("quadratic", "logistic")}
    summary: list[Row] = []
    for kind, some in parts.items():
        by = sorted(r["tried / known"] for r in some)
        row = {"kind": kind, "problems": len(some), "edge within 2": near(some, "edge / known")}
        row |= {
            "tried within 2": near(some, "tried / known"),
            "tried, lowest": by[0],
            "median": by[len(by) // 2],
            "highest": by[-1],
        }
        summary.append(row)
    bars = [
        measure.bar("share of problems whose edge is within a factor of 2", near(rows, "edge / known"), 0.95, below=False),
        measure.bar("quadratics: the same by trial steps alone", near(parts["quadratic"], "tried / known"), 0.95, below=False),
        measure.bar("problems where a bit has changed", sum(r["changed"] != "nothing" for r in rows), 0),
        measure.bar("networks and updates where a bit has changed", sum(r["changed"] != "nothing" for r in others), 0),
    ]
    measure.table(summary, f"plain gradient descent, 30 steps a trial, {seconds:.2f} s a probe")
    measure.table(others, "networks with BatchNorm and dropout, and other updates")
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "bars": bars, "rows": summary, "networks": others, "problems": rows}
    measure.write("rate_band", payload, arguments.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
