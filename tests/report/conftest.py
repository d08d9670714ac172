"""Run folders as training would leave them, made up: healthy, diverged, killed, empty, overfitted, broad, hostile."""

from __future__ import annotations

import json
import math
import random
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w

DIGITS = [str(i) for i in range(10)]


def png(width: int, height: int, grey: Callable[[int, int], int]) -> bytes:
    """A grey 8-bit PNG, written by hand."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + bytes(grey(x, y) for x in range(width)) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def settings(**data: Any) -> dict[str, Any]:
    """run.toml of a small run on digits."""
    return {
        "format": 1,
        "program": "gradlearn 0.1.0",
        "task": "images",
        "data": {
            "source": "digits (embedded)",
            "kind": "digits",
            "fingerprint": "sha256:7d1c0e55",
            "classes": DIGITS,
            "shape": [8, 8, 1],
            "train": 1257,
            "valid": 180,
            "test": 360,
        }
        | data,
        "machine": {"python": "3.11.7", "torch": "2.13.0", "cpu": "Some CPU @ 2.6 GHz", "threads": 2, "device": "cpu"},
        "choice": {
            "model": {
                "value": "convnet-s",
                "by": "data",
                "why": "images of 8×8 pixels in 10 classes: 61,514 parameters",
            },
            "steps": {"value": 1200, "by": "plan", "why": "60 passes over 1,257 images"},
            "batch": {"value": 64, "by": "plan", "why": "about 20 batches a pass"},
            "update": {"value": "nadam", "by": "plan", "why": "the most even of the schemes tried on small data"},
            "lr": {"value": 0.004, "by": "user", "why": ""},
            "threads": {"value": 2, "by": "measured", "why": "2 threads: 11.8 ms a step; 1 thread: 17.2 ms"},
            "augment": {"value": False, "by": "data", "why": "digits are not symmetric under flips"},
            "seed": {"value": 0, "by": "plan", "why": "the default"},
        },
    }


def steps(n: int, final: float = 0.03, seed: int = 1, planned: int = 1200, per_epoch: int = 20) -> list[dict[str, Any]]:
    """Rows of a loss that falls towards `final`, under a rate that warms up for 5 % and then falls in a line."""
    draw, rows = random.Random(seed), []
    for t in range(n):
        share = (t + 0.5) / planned
        lr = 0.004 * min(share / 0.05, max(1 - share, 0.0) / 0.95)
        loss = (2.3 * math.exp(-9 * share) + final) * math.exp(draw.gauss(0, 0.22))
        norm = (0.4 + 2.2 * math.exp(-6 * share)) * math.exp(draw.gauss(0, 0.3))
        seconds = 0.0118 * math.exp(abs(draw.gauss(0, 0.08))) * (8 if t == 0 else 1)
        rows.append(
            {
                "t": t,
                "loss": loss,
                "norm": norm,
                "lr": lr,
                "n": 64,
                "epoch": (t + 1) / per_epoch,
                "applied": True,
                "seconds": seconds,
            }
        )
    return rows


def score(t: int, split: str, value: float, loss: float) -> dict[str, Any]:
    """A row of scores.jsonl."""
    every = {"accuracy": value, "loss": loss}
    return {"t": t, "split": split, "name": "accuracy", "higher": True, "value": value, "all": every, "seconds": 0.02}


def scores(n: int, every: int = 60, top: float = 178, of: int = 180, planned: int = 1200) -> list[dict[str, Any]]:
    """Validation scores that climb to `top` of `of` right answers."""
    rows = []
    for t in range(every, n + 1, every):
        share = t / planned
        right = round(of * 0.1 + (top - of * 0.1) * (1 - math.exp(-11 * share)))
        rows.append(score(t, "valid", right / of, 2.3 * math.exp(-8 * share) + 0.05))
    return rows


def finding(t: int, name: str, level: str, what: str, **more: Any) -> dict[str, Any]:
    """A row of findings.jsonl."""
    return {"t": t, "name": name, "level": level, "what": what, "why": "", "remedy": "", "evidence": {}} | more


def action(t: int, name: str, why: str, **more: Any) -> dict[str, Any]:
    """A row of actions.jsonl."""
    return {"t": t, "name": name, "why": why, "dial": "", "before": None, "after": None, "by": "watch"} | more


def lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows as JSON lines; non-finite numbers as null, as the log writes them."""

    def plain(v: Any) -> Any:
        return None if isinstance(v, float) and not math.isfinite(v) else v

    path.write_text("".join(json.dumps({k: plain(v) for k, v in row.items()}, separators=(",", ":")) + "\n" for row in rows))


def pictures(folder: Path, classes: Sequence[str] = DIGITS, n: int = 360, wrong: int = 5) -> None:
    """A confusion matrix with `wrong` mistakes, their pictures, and a check of the data."""
    folder.mkdir()
    k, draw = len(classes), random.Random(3)
    matrix = [[n // k if i == j else 0 for j in range(k)] for i in range(k)]
    rows = []
    for m in range(wrong):
        i, j = ((8, 1), (3, 8), (8, 1), (9, 4), (5, 9))[m % 5] if k == 10 else draw.sample(range(k), 2)
        matrix[i][i] -= 1
        matrix[i][j] += 1
        (folder / f"mistake-{m:02}.png").write_bytes(png(8, 8, lambda x, y, m=m: (x * 37 + y * 53 * (m + 1)) % 256))
        name = f"mistake-{m:02}.png"
        rows.append(
            {
                "file": name,
                "truth": classes[i],
                "guess": classes[j],
                "p": 0.99 - 0.06 * (m % 15),
                "source": f"row {97 * m}",
            }
        )
    (folder / "confusion.json").write_text(json.dumps({"classes": list(classes), "matrix": matrix}))
    (folder / "mistakes.json").write_text(json.dumps(rows))
    lint = [
        {
            "level": "warn",
            "what": "pictures that are in more than one split",
            "count": 2,
            "examples": ["row 12", "row 1301"],
        },
        {"level": "info", "what": "classes differ in size by a factor of at most 1.05", "count": 10, "examples": []},
    ]
    (folder / "lint.json").write_text(json.dumps(lint))


def summary(folder: Path, test: float, valid: float, n: int, reason: str = "done", message: str = "all steps done") -> None:
    """summary.json, without a story of its own."""
    value = {
        "run": str(folder),
        "task": "images",
        "steps": n,
        "seconds": 0.0165 * n + 3.0,
        "findings": [],
        "score": {"name": "accuracy", "higher": True, "valid": valid, "test": test, "all": {}},
        "stop": {"reason": reason, "message": message},
    }
    (folder / "summary.json").write_text(json.dumps(value))


def write(folder: Path, config: dict[str, Any], **logs: list[dict[str, Any]]) -> Path:
    """A run folder with a run.toml and these logs."""
    folder.mkdir(parents=True)
    (folder / "run.toml").write_bytes(tomli_w.dumps(config).encode())
    for name, rows in logs.items():
        lines(folder / f"{name}.jsonl", rows)
    return folder


def healthy(folder: Path, right: int = 355) -> Path:
    """1,200 steps to the end, scored on all three splits."""
    rows = [*scores(1200), score(1200, "train", 1.0, 0.004), score(1200, "test", right / 360, 0.06)]
    write(folder, settings(), steps=steps(1200), scores=rows, findings=[], actions=[])
    pictures(folder / "pictures", wrong=360 - right)
    (folder / "checkpoints" / "step-000000001200").mkdir(parents=True)
    summary(folder, right / 360, rows[-3]["value"], 1200)
    return folder


def diverged(folder: Path) -> Path:
    """The loss leaves the finite numbers, batches are skipped, the weights rewound, the rate halved; it ends well."""
    rows = steps(1200, final=0.2)
    for t, factor in ((410, 4), (411, 9), (412, 30), (413, 110)):
        rows[t]["loss"] *= factor
        rows[t]["norm"] *= factor**1.3
    for t in (414, 415, 416):
        rows[t] |= {"loss": math.nan, "norm": math.nan, "applied": False}
    found = [
        finding(
            413,
            "diverged",
            "alarm",
            "step 413: the loss is 57 times its running median of 0.31",
            why="the learning rate is too high here",
            remedy="rewound and cooled",
            evidence={"loss": 34.1, "median": 0.31},
        ),
        finding(414, "non-finite", "alarm", "loss and gradient are not finite numbers for 3 steps in a row"),
        finding(
            900,
            "plateau",
            "warn",
            "the validation loss moved by less than 0.001 over 200 steps",
            evidence={"slope": -2e-7},
        ),
        finding(1000, "healthy", "info", "gradient noise is as expected"),
    ]
    done = [action(t, "skip", "not finite: theta is as it was") for t in (414, 415, 416)]
    done += [
        action(416, "rewind", "three steps in a row were not finite; back to the snapshot of step 400"),
        action(416, "turn", "cooled after the rewind", dial="rate", before=1.0, after=0.5),
        action(
            1080,
            "finish",
            "the machine is slower than measured: 19 ms a step now, 2 s left",
            dial="end",
            before=1400,
            after=1200,
            by="clock",
        ),
    ]
    marks = [*scores(1200, top=172), score(1200, "test", 341 / 360, 0.21)]
    write(folder, settings(), steps=rows, scores=marks, findings=found, actions=done)
    pictures(folder / "pictures", wrong=19)
    summary(
        folder,
        341 / 360,
        marks[-2]["value"],
        1200,
        "time",
        "the time was used up at step 1200; the learning rate had been brought to zero",
    )
    return folder


def killed(folder: Path) -> Path:
    """No summary, a torn last line, no pictures."""
    write(folder, settings(), steps=steps(512), scores=scores(512), findings=[], actions=[])
    with (folder / "steps.jsonl").open("a") as file:
        file.write('{"t":512,"loss":0.2')
    return folder


def empty(folder: Path) -> Path:
    """Killed before the first step."""
    return write(folder, settings())


def overfitted(folder: Path) -> Path:
    """The validation loss turns while the training loss goes on falling; training data are fitted by heart."""
    rows = []
    for t in range(60, 1201, 60):
        share = t / 1200
        value = round(180 * (0.84 - 0.5 * math.exp(-9 * share) - 0.05 * max(share - 0.4, 0))) / 180
        rows.append(score(t, "valid", value, 0.45 + 1.8 * math.exp(-9 * share) + 0.5 * max(share - 0.35, 0.0)))
    rows += [score(1200, "train", 0.998, 0.01), score(1200, "test", 290 / 360, 0.8)]
    write(folder, settings(), steps=steps(1200, final=0.004), scores=rows, findings=[], actions=[])
    summary(folder, 290 / 360, rows[-3]["value"], 1200)
    return folder


def broad(folder: Path) -> Path:
    """100 classes with long names and 8,000 steps; still improving at its end."""
    names = [f"class of things number {i:03}" for i in range(100)]
    marks = [score(t, "valid", 0.2 + 0.45 * t / 8000, 2.9 - 1.5 * t / 8000) for t in range(400, 8001, 400)]
    marks.append(score(8000, "test", 0.6431, 1.4))
    config = settings(classes=names, train=45000, valid=5000, test=10000, source="photos/", shape=[32, 32, 3])
    write(
        folder,
        config,
        steps=steps(8000, final=1.2, planned=8000, per_epoch=352),
        scores=marks,
        findings=[],
        actions=[],
    )
    pictures(folder / "pictures", names, n=10000, wrong=400)
    summary(folder, 0.6431, marks[-2]["value"], 8000)
    return folder


EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\x1b[31m\u202e'


def hostile(folder: Path) -> Path:
    """Every string of the run tries to break out."""
    config = settings(classes=[EVIL, "b"], source=EVIL, fingerprint=EVIL)
    config["program"] = config["task"] = config["machine"]["cpu"] = EVIL
    config["choice"][EVIL] = {"value": EVIL, "by": EVIL, "why": EVIL}
    config["choice"]["model"]["value"] = EVIL
    marks = [score(t, "valid", 0.5, 1.0) | {"name": EVIL, "all": {EVIL: 1.0, "loss": 0.5}} for t in (10, 20, 30)]
    write(
        folder,
        config,
        steps=steps(30),
        scores=[*marks, marks[0] | {"split": "test"}, marks[0] | {"split": EVIL}],
        findings=[
            finding(5, EVIL, EVIL, EVIL, why=EVIL, remedy=EVIL, evidence={EVIL: EVIL}),
            finding(6, EVIL, "alarm", EVIL),
        ],
        actions=[action(7, EVIL, EVIL, dial=EVIL, by=EVIL), action(8, "turn", EVIL, dial=EVIL, before=1, after=2)],
    )
    pictures(folder / "pictures", [EVIL, "b"], n=40, wrong=3)
    mistakes = [
        {"file": name, "truth": EVIL, "guess": EVIL, "p": "x", "source": EVIL} for name in ("../../x.png", EVIL, "mistake-00.png")
    ]
    (folder / "pictures" / "mistakes.json").write_text(json.dumps(mistakes))
    (folder / "pictures" / "lint.json").write_text(
        json.dumps([{"level": EVIL, "what": EVIL, "count": EVIL, "examples": [EVIL, 3]}])
    )
    value = {"task": EVIL, "stop": {"reason": EVIL, "message": EVIL}, "story": f"Once {EVIL} `code`."}
    (folder / "summary.json").write_text(json.dumps(value))
    return folder


KINDS = {f.__name__: f for f in (healthy, diverged, killed, empty, overfitted, broad, hostile)}


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each kind of run is made once, to be copied."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def make(tmp_path: Path, shelf: Path) -> Callable[..., Path]:
    """make('healthy', 'name', ...) -> a run folder of that kind, its own to change."""

    def copied(kind: str, name: str = "run", **options: Any) -> Path:
        master = shelf / "-".join([kind, *(f"{k}={v}" for k, v in options.items())])
        if not master.exists():
            KINDS[kind](master, **options)
        return Path(shutil.copytree(master, tmp_path / name))

    return copied
