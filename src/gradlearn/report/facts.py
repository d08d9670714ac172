"""What the data of a run say, as numbers: everything that `story` may claim is computed here, and nothing else.

The ends of the loss curve are means over 5 % of the steps, with their standard error: noise is not told as progress.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradlearn.report import noise
from gradlearn.report.folder import clean_scores
from gradlearn.report.words import finite, is_proportion, is_share


@dataclass(frozen=True, slots=True)
class Level:
    """The height of a noisy curve at one end: mean, standard error of that mean, over how many points."""

    mean: float
    error: float
    n: int


@dataclass(frozen=True, slots=True)
class Facts:
    """One run in numbers; None where the data do not say."""

    steps: int  # steps on record
    last: int  # the last step's t, -1 if none
    planned: int | None  # steps planned
    passes: float | None
    seconds: float | None  # sum of the steps' own times
    skipped: int  # steps not applied
    lost: int  # steps whose loss was not a finite number
    start: Level | None  # of the training loss
    end: Level | None
    lr_last: float | None
    lr_peak: float | None
    lr_top: tuple[int, int] | None  # the first and the last step within 1 % of the peak
    name: str  # of the score
    higher: bool
    valid: tuple[tuple[int, float], ...]  # (t, score on the validation data)
    best: tuple[int, float] | None  # of those
    final: tuple[int, float] | None
    gain: float | None  # last validation score minus the best before the last quarter of the run; > 0 is better
    train: float | None  # score on the training data, where it was taken with or after the last validation score
    test: float | None
    counts: Mapping[str, int]  # examples by split, where known
    valid_loss: tuple[tuple[int, float], ...]
    loss_error: float | None  # standard error of the last validation loss, where it was measured
    range: tuple[float, float] | None  # lowest and highest finite training loss
    guess: float | None  # accuracy of guessing evenly among the classes

    def interval(self, split: str, value: float | None) -> tuple[float, float] | None:
        """The 95 % interval of a proportion on this split; None where score or count do not allow one."""
        n = self.counts.get(split)
        if value is None or not n or not is_proportion(self.name) or not 0.0 <= value <= 1.0:
            return None
        return noise.wilson(value, n)

    @property
    def guessing(self) -> bool:
        """Whether the test accuracy cannot be told from guessing evenly among the classes."""
        interval = self.interval("test", self.test)
        return interval is not None and self.guess is not None and self.name == "accuracy" and interval[0] <= self.guess

    @property
    def direction(self) -> float:
        """+1 where a higher score is better, else -1."""
        return 1.0 if self.higher else -1.0

    @property
    def still_improving(self) -> bool:
        """The last validation score is the best, by more than its own noise over the last quarter of the run."""
        if self.gain is None or self.final is None or self.best != self.final:
            return False
        n, value = self.counts.get("valid"), self.final[1]
        doubt = noise.error(value, n) if n and is_proportion(self.name) and 0.0 <= value <= 1.0 else 0.0
        least = 0.002 if is_share(self.name) else 0.02 * abs(value)  # less is of no use, noise or not
        return self.gain > max(doubt, least)

    @property
    def turned(self) -> tuple[int, float, float] | None:
        """(step of the lowest validation loss, that loss, the last) where it rose beyond noise while training fell on.

        Beyond noise: by 10 %, and by twice the standard error of the last loss where that is on record.
        """
        if len(self.valid_loss) < 4 or self.start is None or self.end is None or self.end.mean >= self.start.mean:
            return None
        t, low = min(self.valid_loss, key=lambda row: row[1])
        last_t, last = self.valid_loss[-1]
        rise = max(0.1 * low, 2.0 * (self.loss_error or 0.0))
        return (t, low, last) if t < last_t and low > 0 and last > low + rise else None


def gather(settings: Mapping[str, Any], steps: Mapping[str, Sequence[Any]], scores: Sequence[Any]) -> Facts:
    """Everything that can be counted or measured in the settings, the columns of steps and the rows of scores."""
    rows = clean_scores(scores)
    applied = steps.get("applied", ())
    steps = {name: [finite(v) for v in steps.get(name, ())] for name in ("t", "loss", "lr", "epoch", "seconds")}
    times, losses = _numbers(steps, "t"), _numbers(steps, "loss")
    name, higher = next(((r["name"], r["higher"]) for r in reversed(rows)), ("score", True))
    valid = tuple(_by_step(rows, "valid", name))
    sign = 1.0 if higher else -1.0
    best = max(valid, key=lambda row: (sign * row[1], -row[0]), default=None)
    rate = _rate(steps)
    epochs, seconds = _numbers(steps, "epoch"), _numbers(steps, "seconds")
    return Facts(
        steps=len(times),
        last=int(times[-1]) if times else -1,
        planned=_planned(settings),
        passes=epochs[-1] if epochs else None,
        seconds=math.fsum(seconds) if seconds else None,
        skipped=sum(value is False for value in applied),
        lost=len(steps["loss"]) - len(losses),
        start=_level(losses, first=True),
        end=_level(losses, first=False),
        lr_last=rate[0],
        lr_peak=rate[1],
        lr_top=rate[2],
        name=name,
        higher=higher,
        valid=valid,
        best=best,
        final=valid[-1] if valid else None,
        gain=_gain(valid, sign),
        train=_train(rows, name, valid),
        test=next((v for _, v in reversed(list(_by_step(rows, "test", name)))), None),
        counts=_counts(settings),
        valid_loss=tuple((r["t"], r["all"]["loss"]) for r in rows if r["split"] == "valid" and r["all"].get("loss") is not None),
        loss_error=next((finite(r["all"].get("loss_error")) for r in reversed(rows) if r["split"] == "valid"), None),
        range=(min(losses), max(losses)) if losses else None,
        guess=_guess(settings),
    )


def choice(settings: Mapping[str, Any], name: str) -> Any:
    """The value of a setting; None where it is not on record."""
    choices = settings.get("choice")
    entry = choices.get(name) if isinstance(choices, Mapping) else None
    return entry.get("value") if isinstance(entry, Mapping) else None


def data(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The [data] table of the settings, empty if there is none."""
    table = settings.get("data")
    return table if isinstance(table, Mapping) else {}


def _numbers(steps: Mapping[str, Sequence[float | None]], name: str) -> list[float]:
    return [v for v in steps[name] if v is not None]


def _by_step(rows: Sequence[dict[str, Any]], split: str, name: str) -> list[tuple[int, float]]:
    return [(r["t"], r["value"]) for r in rows if r["split"] == split and r["name"] == name and r["value"] is not None]


def _level(losses: Sequence[float], first: bool) -> Level | None:
    if not losses:
        return None
    n = max(len(losses) // 20, 1)
    part = losses[:n] if first else losses[-n:]
    mean = math.fsum(part) / n
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in part) / (n - 1)) if n > 1 else 0.0
    return Level(mean, spread / math.sqrt(n), n)


def _rate(
    steps: Mapping[str, Sequence[float | None]],
) -> tuple[float | None, float | None, tuple[int, int] | None]:
    pairs = [(t, v) for t, v in zip(steps["t"], steps["lr"], strict=False) if t is not None and v is not None]
    if not pairs:
        return None, None, None
    last, peak = pairs[-1][1], max(v for _, v in pairs)
    top = [int(t) for t, v in pairs if v >= peak - 0.01 * abs(peak)]
    return last, peak, (top[0], top[-1])


def _gain(valid: Sequence[tuple[int, float]], sign: float) -> float | None:
    """Needs four scores, of which one or more lie in the last quarter and two or more before it."""
    if len(valid) < 4:
        return None
    border = valid[0][0] + 0.75 * (valid[-1][0] - valid[0][0])
    before = [sign * v for t, v in valid if t <= border]
    return sign * valid[-1][1] - max(before) if len(before) > 1 else None


def _train(rows: Sequence[dict[str, Any]], name: str, valid: Sequence[tuple[int, float]]) -> float | None:
    taken = _by_step(rows, "train", name)
    return taken[-1][1] if taken and (not valid or taken[-1][0] >= valid[-1][0]) else None


def _counts(settings: Mapping[str, Any]) -> dict[str, int]:
    found = {split: finite(data(settings).get(split)) for split in ("train", "valid", "test")}
    return {split: int(n) for split, n in found.items() if n is not None and n >= 1}


def _guess(settings: Mapping[str, Any]) -> float | None:
    classes = data(settings).get("classes")
    return 1.0 / len(classes) if isinstance(classes, list) and len(classes) > 1 else None


def _planned(settings: Mapping[str, Any]) -> int | None:
    value = finite(choice(settings, "steps"))
    return int(value) if value is not None and value >= 1 else None
