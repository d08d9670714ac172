"""Preflight in words: one sentence for each question that was asked before the first step, and for those that were not.

    sentences({"start.loss": 2.31, "start.chance": 2.30, ...}, findings, steps) -> [{"question", "state", "sentence"}, ...]

`state` is "well", "trouble" (a finding says more) or "not asked": a short run has no room for every question, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradlearn.report import words


def sentences(measured: Mapping[str, float], findings: Sequence[Mapping[str, Any]], steps: int) -> list[dict[str, str]]:
    """What is known from before the first step, question by question; [] where nothing was asked.

    Args:
        measured: first number of each "check.what": of what is asked before the first step, and of the precision.
        findings: rows of the log, as dictionaries.
        steps: of the run as it was planned.
    """
    early = [f for f in findings if (f.get("t") == 0 or _kind(f) == "offset") and f.get("level") != "info"]
    parts = (
        ("Are the data whole?", data(measured, early)),
        ("Does it start at chance?", start(measured, early)),
        ("Does the gradient get through?", through(measured, early)),
        ("Is the gradient right?", backward(measured, early, steps)),
        ("Are the numbers fine enough?", precision(measured, early)),
        ("Can it learn at all?", learned(measured, early, steps)),
        ("What will it take?", forecast(measured, steps)),
    )
    return [{"question": question, "state": state, "sentence": text} for question, (state, text) in parts if text]


def _said(early: Sequence[Mapping[str, Any]], *names: str, by: str = "") -> str:
    """What a finding of such a name says, the first."""
    for f in early:
        evidence = f.get("evidence")
        if f.get("name") in names and (not by or (isinstance(evidence, Mapping) and evidence.get("by") == by)):
            return words.sentence(str(f.get("what", "")))
    return ""


def _kind(finding: Mapping[str, Any]) -> str:
    evidence = finding.get("evidence")
    return str(evidence.get("kind", "")) if isinstance(evidence, Mapping) else ""


def data(m: Mapping[str, float], early: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Finite, no example in both parts, columns and targets in order."""
    if found := _said(early, "data fault"):
        return "trouble", found
    looked, n = m.get("rows.looked"), m.get("rows.n")
    if not looked or not n:
        return "not asked", "The examples were not looked at: only data in memory are, others would have to be read for it."
    which = (
        f"all {words.plural(n, 'example')}" if looked >= n else f"the {words.count(looked)} of {words.count(n)} examples looked at"
    )
    held, leaked = m.get("rows.held", 0.0), m.get("rows.leaked", 0.0)
    other = ""
    if held:
        some = f"{words.count(leaked)} of" if leaked else "none of"
        other = f", and {some} {words.count(held)} for validation {'are' if leaked > 1 else 'is'} among them"
    return "well", f"In {which} every number is finite{other}."


def start(m: Mapping[str, float], early: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The first loss against that of a constant answer."""
    if found := _said(early, "exploding", by="start"):
        return "trouble", found
    if "start.loss" not in m:
        return "not asked", ""
    loss, even = words.number(m["start.loss"], 3), m.get("start.chance", 0.0)
    if not even > 0.0:
        return "well", f"The loss of the first examples is {loss}; what chance would give is not known for this loss."
    return "well", f"The loss of the first examples is {loss}; a constant answer has {words.number(even, 3)}."


def through(m: Mapping[str, float], early: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The gradient, and units that pass nothing."""
    if found := _said(early, "vanishing", "saddle", "plateau", "dead units", "saturated units", by="start"):
        return "trouble", found
    if "start.norm" not in m:
        return "not asked", ""
    text = f"The gradient is {words.number(m['start.norm'], 3)} long"
    dead, full = m.get("start.dead"), m.get("start.saturated")
    shares = [
        f"{words.percent(v)} of the units of the worst layer are {what}"
        for v, what in ((dead, "zero"), (full, "at their bounds"))
        if v is not None
    ]
    return "well", f"{text}; {words.listing(shares)}." if shares else f"{text}."


def backward(m: Mapping[str, float], early: Sequence[Mapping[str, Any]], steps: int) -> tuple[str, str]:
    """Differences against the gradient."""
    if found := _said(early, "precision fault", by="start"):
        return "trouble", found
    if m.get("start.asked", 0.0) < 2.0:
        return ("not asked", short("Whether the gradient is right", steps)) if m.get("start.asked") else ("not asked", "")
    return "well", "Along its gradient the loss changes as the gradient says, as far as this type of numbers can tell."


def precision(m: Mapping[str, float], early: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """How much of a column rounding takes: known with the first look of the check, a few steps into the run."""
    for f in early:
        if f.get("name") == "precision fault" and _kind(f) == "offset":
            return "trouble", words.sentence(str(f.get("what", "")))
    if "precision.offset" not in m:
        return "not asked", ""
    return "well", f"Rounding is {words.number(m['precision.offset'], 2)} of the spread of the column that lies farthest from zero."


def learned(m: Mapping[str, float], early: Sequence[Mapping[str, Any]], steps: int) -> tuple[str, str]:
    """A few examples, over and over."""
    if found := _said(early, "underfit", by="start"):
        return "trouble", found
    if "start.fell" not in m:
        return (
            ("not asked", short("Whether it learns a few examples by heart", steps)) if m.get("start.asked") else ("not asked", "")
        )
    return (
        "well",
        f"Shown the same few examples over and over, it brings their loss down by {words.percent(m['start.fell'])} in a few steps.",
    )


def short(what: str, steps: int) -> str:
    """Why a question was not asked."""
    return f"{what} was not asked: of a run of {words.plural(steps, 'step')} it would have taken more than 2 %."


def forecast(m: Mapping[str, float], steps: int) -> tuple[str, str]:
    """Time and memory."""
    seconds, size = m.get("start.seconds"), m.get("start.bytes")
    if not seconds or not size:
        return "not asked", ""
    text = f"Its gradient takes about {words.duration(seconds)}" + (
        f" a step, {words.plural(steps, 'step')} {words.duration(seconds * steps)}" if steps else ""
    )
    free = m.get("start.free", 0.0)
    text += f"; weights, what is kept of them, and what lies between forward and backward about {words.size(size)}"
    if free and size > free:
        return "trouble", f"{text}, of which {words.size(free)} are free: a smaller batch (--batch) takes less."
    return "well", f"{text}."
