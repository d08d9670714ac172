"""What a trained classifier of pictures does, as files for the report: what it confuses, gets wrong, doubts, looks at; its data.

pictures/confusion.json, calibration.json, and with a PNG for each picture mistakes.json, unsure.json, suspects.json, looks.json,
filters.json, lint.json. All of it is a pure function of the weights, the data and the length of the run, so that a resumed run
writes the same bytes; and little beside the run: of training pictures as many are asked as a fortieth of what training saw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlearn.adapt import Subset, placed
from gradlearn.classified import log_probabilities
from gradlearn.data.stored import take
from gradlearn.insight import filters, png
from gradlearn.insight.calibration import calibration, temperature, tempered
from gradlearn.insight.saliency import laid_over, saliency
from gradlearn.insight.suspects import suspects
from gradlearn.loop import Descent
from gradlearn.record.record import Record
from gradlearn.run import fresh
from gradlearn.symbols import Data
from gradlearn.tasks.images import Images

MOST = 24  # pictures of one kind shown
CLOSE, LEAST = 0.5, 6  # a lead of the first answer over the second that is none, and pictures shown where all lead by more
LOOKS, DRAWS = 8, 12  # right answers, and wrong ones, whose pixels are asked about, and how often each
ASKED = 10_000  # training pictures whose labels are asked about, at most,
AUDIT = 40  # and at most one for so many that training has seen
GLANCE = 100  # likewise, of derivatives by pixels


@dataclass(frozen=True, slots=True)
class Said:
    """What the model says of some pictures."""

    split: str
    rows: np.ndarray  # (n,) where each is in the data
    logp: Tensor  # (n, classes)
    labels: Tensor  # (n,)


def write_pictures(task: Images, d: Descent, record: Record) -> None:
    """Write all of it, above all of the test pictures (the validation pictures where there are none); in evaluation mode."""
    held = [_said(task, d, split, data) for split, data in (("valid", d.valid), ("test", d.test)) if data is not None and len(data)]
    if not held:
        record.write_json("pictures/lint.json", task.lint())
        return
    last, names = held[-1], list(task.pictures.classes)
    guess = last.logp.argmax(1)
    matrix = torch.zeros(len(names), len(names), dtype=torch.int64)
    matrix.index_put_((last.labels, guess), torch.ones_like(last.labels), accumulate=True)
    counts = {
        k: np.bincount(task.pictures.labels[task.pictures.split[k]], minlength=len(names)).tolist() for k in ("train", "valid")
    }
    record.write_json(
        "pictures/confusion.json", {"classes": names, "matrix": matrix.tolist(), "split": last.split, "counts": counts}
    )
    folder = record.folder / "pictures"
    wrong = torch.nonzero(guess != last.labels).flatten()
    worst = wrong[last.logp[wrong, last.labels[wrong]].argsort(stable=True)][:MOST]
    record.write_json("pictures/mistakes.json", [_answer(task, folder, f"mistake-{k:02d}", last, i) for k, i in _counted(worst)])
    two = last.logp.exp().topk(2, dim=1).values
    gap = two[:, 0] - two[:, 1]
    doubtful = gap.argsort(stable=True)[: min(max(int((gap < CLOSE).sum()), LEAST), MOST)]
    record.write_json("pictures/unsure.json", [_answer(task, folder, f"unsure-{k:02d}", last, i) for k, i in _counted(doubtful)])
    record.write_json("pictures/calibration.json", _calibrated(task, held))
    record.write_json("pictures/suspects.json", _suspects(task, d, folder, held))
    record.write_json("pictures/looks.json", _looks(task, d, folder, last, worst))
    record.write_json("pictures/filters.json", _filters(task, d, folder))
    record.write_json("pictures/lint.json", [_linted(task, folder, k, row) for k, row in enumerate(task.lint())])


def seconds_of_lint(task: Images) -> float:
    """How long the check of the data takes at the end of a run, on a slow core; nothing else in it grows with the data."""
    n = len(task.pictures)
    return 2e-5 * n + 5e-9 * n * math.prod(task.shape)


def _counted(rows: Tensor) -> list[tuple[int, int]]:
    return list(enumerate(rows.tolist()))


def _said(task: Images, d: Descent, split: str, data: Data) -> Said:
    scored = task.scored if split == "test" and task.scored is not None and task.scored[0] is data else None  # the last of all
    logp, labels = scored[1:] if scored else task.outputs(d.theta.model, data)
    return Said(split, task.pictures.split[split], logp, labels)


def _device(d: Descent) -> str:
    return str(next(iter(d.theta.model.parameters())).device)


def _pixels(task: Images, row: int) -> np.ndarray:
    return take(task.pictures.pixels, np.array([row]))[0]


def _answer(task: Images, folder: Path, name: str, said: Said, i: int) -> dict[str, Any]:
    """Picture i of `said` with what the model takes it for, and what comes second."""
    names, row = task.pictures.classes, int(said.rows[i])
    p, order = (v.tolist() for v in said.logp[i].exp().topk(2))
    return {
        "file": png.write(folder / f"{name}.png", _pixels(task, row)),
        "truth": names[int(said.labels[i])],
        "guess": names[order[0]],
        "p": round(p[0], 4),
        "second": names[order[1]],
        "second p": round(p[1], 4),
        "own p": round(float(said.logp[i, said.labels[i]].exp()), 4),
        "source": task.pictures.files[row],
    }


def _calibrated(task: Images, held: list[Said]) -> dict[str, Any]:
    """Calibration on each part, and on the last of them at the temperature that is best for the first."""
    first, last = held[0], held[-1]
    found: dict[str, Any] = {one.split: calibration(one.logp, one.labels) for one in held}
    t = temperature(first.logp, first.labels) if first.split == "valid" else None
    if t is not None:
        found["temperature"] = t
        found["tempered"] = {"split": last.split, "ece": calibration(tempered(last.logp, t), last.labels)["ece"]}
    return found


def _suspects(task: Images, d: Descent, folder: Path, held: list[Said]) -> dict[str, Any]:
    """Labels in doubt among held-out pictures, judged together, and among those of training that were asked."""
    data = task.data("train")
    asked = min(len(data), ASKED, d.seen // AUDIT)
    groups = [held]
    if asked:
        index = torch.linspace(0, len(data) - 1, asked).long()
        said = task.outputs(d.theta.model, Subset(placed(data, _device(d)), index))
        groups.append([Said("train", task.pictures.split["train"][index.numpy()], *said)])
    counts, shown = {}, []
    for group in groups:
        logp, labels = torch.cat([s.logp for s in group]), torch.cat([s.labels for s in group])
        where, other = suspects(logp, labels)
        part = np.concatenate([np.full(len(s.rows), k) for k, s in enumerate(group)])
        place = np.concatenate([np.arange(len(s.rows)) for s in group])
        for k, s in enumerate(group):
            counts[s.split] = int((part[where.numpy()] == k).sum())
        for i, j in list(zip(where.tolist(), other.tolist(), strict=True))[:MOST]:
            said = group[int(part[i])]
            shown.append((said, int(place[i]), int(j)))
    rows = [
        _answer(task, folder, f"suspect-{k:02d}", said, i) | {"split": said.split, "like": task.pictures.classes[j]}
        for k, (said, i, j) in enumerate(shown[: 2 * MOST])
    ]
    sizes = {s.split: len(s.rows) for group in groups for s in group}
    return {"asked": sizes, "found": counts, "train": len(data), "rows": rows}


def _looks(task: Images, d: Descent, folder: Path, said: Said, worst: Tensor) -> list[dict[str, Any]]:
    """Right answers, the surest of each of a few classes, and the worst wrong ones, each with the pixels that they rest on."""
    guess = said.logp.argmax(1)
    right = torch.nonzero(guess == said.labels).flatten()
    right = right[said.logp[right, guess[right]].argsort(descending=True, stable=True)]
    surest: dict[int, int] = {}  # of each class
    for i in right.tolist():
        surest.setdefault(int(guess[i]), i)
    chosen = torch.tensor([*list(surest.values())[:LOOKS], *worst[:LOOKS].tolist()], dtype=torch.int64)
    draws = min(DRAWS, d.seen // GLANCE // max(len(chosen), 1))
    if not draws:
        return []
    device = _device(d)
    x = placed(task.data(said.split), device)(chosen, -1).x
    maps = saliency(
        lambda moved: log_probabilities(d.theta.model, moved, *task.views),
        x,
        guess[chosen].to(device),
        draws,
        task.plan.get("seed", 0),
    )
    found = []
    for k, (i, strength) in enumerate(zip(chosen.tolist(), maps.cpu().numpy(), strict=True)):
        row = _answer(task, folder, f"look-{k:02d}", said, i)
        over = laid_over(_pixels(task, int(said.rows[i])), strength)
        found.append(row | {"map": png.write(folder / f"look-{k:02d}-map.png", over)})
    return found


def _filters(task: Images, d: Descent, folder: Path) -> dict[str, Any]:
    """The first convolution before and after training; or why there is nothing to show."""
    found = filters.first(d.theta.model, task.shape[2])
    if isinstance(found, str):
        return {"reason": found}
    chosen = filters.order(found.weight)
    told: dict[str, Any] = {"layer": found.name, "shape": list(found.weight.shape), "shown": len(chosen), "order": chosen}
    told |= {"frozen": found.frozen, "columns": filters.columns(len(chosen))}
    told["after"] = png.write(folder / "filters-after.png", filters.sheet(found.weight, chosen), most=4096)
    begun = None if found.frozen else filters.first(fresh(task, task.plan.get("seed", 0)), task.shape[2])
    if isinstance(begun, filters.First) and begun.weight.shape == found.weight.shape:
        told["before"] = png.write(folder / "filters-before.png", filters.sheet(begun.weight, chosen), most=4096)
        told["changed"] = filters.changed(begun.weight, found.weight.cpu())
    return told


def _linted(task: Images, folder: Path, k: int, row: dict[str, Any]) -> dict[str, Any]:
    """A row of the lint with its pictures."""
    if "at" not in row:
        return row
    shown = [
        [png.write(folder / f"lint-{k:02d}-{i}-{j}.png", _pixels(task, at)) for j, at in enumerate(one)]
        for i, one in enumerate(row["at"])
    ]
    return row | {"shown": shown}
