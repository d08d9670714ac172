"""A sentence for each twin: what this trouble looks like, in the numbers of these very runs, and what the watch said of it.

A twin that does not do what its name promises is told as it is: a rate 30 times the plan's may be no worse on easy data.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from gradlearn.report import words


def first(twin: Mapping[str, Any]) -> float | None:
    """The loss before the first step; None where it is no number."""
    return words.finite(twin["loss"][0]) if twin["loss"] else None


def final(twin: Mapping[str, Any]) -> float | None:
    """The training loss at the end: the median of the last twentieth; None where it ended in numbers that are none."""
    losses = twin["loss"]
    tail = [words.finite(v) for v in losses[-max(len(losses) // 20, 3) :]]
    known = [v for v in tail if v is not None]
    return median(known) if known and twin["stop"].get("reason") != "numerics" else None


def sentences(twins: Mapping[str, Any]) -> dict[str, str]:
    """{"too high": "This is what too high looks like: ...", ...}."""
    by_name = {t["name"]: t for t in twins["twins"]}
    chosen = by_name["chosen"]
    said = {
        "too high": _too_high(by_name["too high"], chosen),
        "chosen": _chosen(chosen),
        "too low": _too_low(by_name["too low"], chosen),
    }
    if "by heart" in by_name:
        said["by heart"] = _by_heart(by_name["by heart"])
        said["held back"] = _held_back(by_name["held back"], by_name["by heart"], twins["judged"])
    return {name: f"{text} {watched(by_name[name])}" for name, text in said.items()}


def summary(twins: Mapping[str, Any]) -> str:
    """What the page shows, in two or three sentences."""
    by_name = {t["name"]: t for t in twins["twins"]}
    ends = [f"{k} ({words.number(by_name[k]['lr'])}) {_end(by_name[k])}" for k in ("too high", "chosen", "too low")]
    steps = words.plural(twins["steps"], "step")
    text = f"One training, {steps} of {twins['update']}, with three learning rates: {words.listing(ends)}. "
    if "by heart" in by_name and by_name["by heart"]["scores"]:
        free, held = (by_name[k] for k in ("by heart", "held back"))
        n = words.count(free["examples"])
        text += f"And on {n} examples only: free to learn them by heart, {_score(free)}; held back, {_score(held)}."
    return text


def watched(twin: Mapping[str, Any]) -> str:
    """What the watch called it, remarks left out."""
    loud = [f for f in twin["findings"] if f["level"] != "info"]
    seen: dict[str, float] = {}
    for f in loud:
        seen.setdefault(f["name"], f["t"])
    names = [f"“{name}” at step {words.count(t)}" for name, t in seen.items()]
    return f"The watch called it {words.listing(names)}." if names else "The watch raised no warning."


def _end(twin: Mapping[str, Any]) -> str:
    end = final(twin)
    return "left the finite numbers" if end is None else f"ended at a loss of {words.number(end)}"


def _score(twin: Mapping[str, Any]) -> str:
    """validation accuracy 91.2%."""
    last = twin["scores"][-1] if twin["scores"] else None
    return "" if last is None else f"validation {last['name']} {words.score(last['name'], words.finite(last['value']))}"


def _with_score(twin: Mapping[str, Any]) -> str:
    score = _score(twin)
    return f", {score}" if score else ""


def _chosen(twin: Mapping[str, Any]) -> str:
    start, end = first(twin), final(twin)
    if start is None or end is None or not end < start:
        return f"The plan's own rate did not learn here: {_path(twin)}. That is worth a look with `gradlearn probe`."
    return (
        f"This is what a good rate looks like: a steep fall first, then ever calmer as the rate goes to zero, "
        f"{_path(twin)}{_with_score(twin)}."
    )


def _path(twin: Mapping[str, Any]) -> str:
    start, end = first(twin), final(twin)
    there = "numbers that are none" if end is None else words.number(end)
    return f"from {words.number(start)} to {there}"


def _too_high(twin: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    start, end, best = first(twin), final(twin), final(chosen)
    gone = next((i for i, v in enumerate(twin["loss"]) if words.finite(v) is None), None)
    if end is None:
        where = "" if gone is None else f" at step {words.count(gone)}"
        return f"This is what far too high looks like: every step overshoots further, until the loss is no number any more{where}."
    most = max(v for v in map(words.finite, twin["loss"]) if v is not None)
    peak = f" (up to {words.number(most)} on the way)" if start is not None and most > 1.5 * start else ""
    if start is not None and end > 0.9 * start:
        return (
            f"This is what too high looks like: the steps overshoot, the loss jumps about{peak} and ends at {words.number(end)}, "
            f"no better than the {words.number(start)} it began with{_with_score(twin)}."
        )
    if best is not None and end <= 1.05 * best:
        score = _with_score(twin)
        return f"Here a rate 30 times as high did no harm to the training loss{peak}: {_path(twin)}{score}."
    return (
        f"This is what too high looks like: restless, losing time at the start{peak}, and ending at {words.number(end)} "
        f"where the chosen rate ends at {words.number(best)}{_with_score(twin)}."
    )


def _too_low(twin: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    end, best = final(twin), final(chosen)
    if end is None or best is None:
        return f"A rate 30 times lower: {_path(twin)}{_with_score(twin)}."
    if end <= 1.05 * best:
        score = _with_score(twin)
        return f"Here a rate 30 times lower did as well, {_path(twin)}{score}: the plan's may be too high for these data."
    return (
        f"This is what too low looks like: smooth, quiet, and far from done when the steps are over, {_path(twin)}, "
        f"where the chosen rate has reached {words.number(best)}{_with_score(twin)}. A smooth curve is not a good one."
    )


def _loss(row: Mapping[str, Any] | None) -> float | None:
    """The loss of a scoring."""
    if row is None:
        return None
    return words.finite(row["all"].get("loss", row["value"] if not row["higher"] else None))


def _by_heart(twin: Mapping[str, Any]) -> str:
    fit, losses = _loss(twin["fit"]), [(r["t"], v) for r in twin["scores"] if (v := _loss(r)) is not None]
    passes = f"on {words.count(twin['examples'])} examples with nothing to hold it back"
    if fit is None or not losses:
        return f"Trained {passes}: {_path(twin)}."
    t, least = min(losses, key=lambda row: row[1])
    last = losses[-1][1]
    knows = _known(twin)
    if last > 1.1 * least:
        turn = (
            f"the validation loss is lowest at step {words.count(t)} ({words.number(least)}) and then rises to {words.number(last)}"
        )
    else:
        turn = f"the validation loss stays at {words.number(last)}"
    if last > 1.5 * fit:
        return (
            f"This is what overfitting looks like: {passes} {knows}, while {turn}{_with_score(twin)}. It has learned them by heart."
        )
    return f"Trained {passes}, {knows}, and {turn}: no overfitting here, the examples say enough about the others."


def _known(twin: Mapping[str, Any]) -> str:
    fit = twin["fit"]
    if fit["name"] in ("loss", "mse"):
        return f"its own loss is {words.number(fit['value'])}"
    return f"it gets {words.score(fit['name'], fit['value'])} of its own right, at a loss of {words.number(_loss(fit))}"


def _held_back(twin: Mapping[str, Any], free: Mapping[str, Any], judged: int) -> str:
    if not twin["scores"] or not free["scores"]:
        return f"The same examples with the plan's regularisation: {_path(twin)}."
    own, other = twin["scores"][-1], free["scores"][-1]
    gain = (own["value"] - other["value"]) * (1.0 if own["higher"] else -1.0)
    a, b = (words.score(r["name"], words.finite(r["value"])) for r in (own, other))
    name, lower, without = f"validation {own['name']}", "", ""
    if (x := _loss(own)) is not None and (y := _loss(other)) is not None and own["name"] not in ("loss", "mse"):
        lower = f", validation loss {words.number(x)} instead of {words.number(y)}"
        without = f" and a validation loss of {words.number(x)} with, {words.number(y)} without" if x > 0.9 * y else ""
    if not twin["held"]:
        return f"The plan has nothing on for this model that could hold it back: {name} {a}, and {b} without."
    if abs(gain) > noise(own, other, judged):
        if gain > 0.0:
            return f"This is what holding back does: the same examples, and {name} {a} instead of {b}{lower}."
        return f"Here holding back did harm in so few steps: {name} {a}, and {b} without{lower}."
    if lower and not without:
        return f"This is what holding back does: it is less sure of itself where it is wrong{lower}; {name} {a} and {b}."
    return f"Here holding back changed little: {name} {a}, and {b} without{without}. More examples would change more."


def noise(own: Mapping[str, Any], other: Mapping[str, Any], judged: int) -> float:
    """How far apart two scores may be by chance: two standard errors of shares of so many examples; else 3 % of the score."""
    if not words.is_proportion(own["name"]) or not judged:
        return 0.03 * abs(other["value"])
    p = min(max((own["value"] + other["value"]) / 2.0, 1.0 / judged), 1.0 - 1.0 / judged)
    return 2.0 * (2.0 * p * (1.0 - p) / judged) ** 0.5
