"""The rate band in words, as a few lines of text and as one SVG file.

Takes the plain numbers of `Band.document()`. The SVG has its own colours, light and dark; it runs nothing and fetches nothing.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradlearn.errors import ResourceTrouble
from gradlearn.record import disk
from gradlearn.report import scale, words

WIDTH, LEFT, RIGHT, TOP, FOOT = 760, 64, 24, 76, 62
HEIGHT, BAR = 300, 34
STYLE = """
svg { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif }
.page { fill: #fbfbfa } text { fill: #1c2024 } .soft { fill: #5d6670 } .title { font-size: 16px; font-weight: 650 }
.grid { stroke: #e3e5e8; fill: none } .base { stroke: #8b949e; fill: none }
.start { stroke: #8b949e; stroke-dasharray: 4 4; fill: none }
.zone { opacity: .13 } .slow { fill: #96660a } .good { fill: #2c7a4b } .high { fill: #b3261e }
text.slow, text.good, text.high, .flag { font-weight: 600 }
.curve { stroke: #2a66b0; stroke-width: 2; fill: none; stroke-linejoin: round } .dot { fill: #2a66b0 }
.lost { stroke: #b3261e; stroke-width: 1.8; fill: none } .chosen { stroke: #1c2024; stroke-width: 1.6; fill: none }
@media (prefers-color-scheme: dark) {
.page { fill: #14171a } text { fill: #e4e7ea } .soft { fill: #a0a9b3 } .grid { stroke: #252b31 } .base, .start { stroke: #737d88 }
.slow { fill: #dcac45 } .good { fill: #68be88 } .high { fill: #f28b82 } .curve { stroke: #6fa8e6 } .dot { fill: #6fa8e6 }
.lost { stroke: #f28b82 } .chosen { stroke: #e4e7ea } }
"""
WORD = {"too low": "slow", "good": "good", "too high": "high"}


def sentences(band: Mapping[str, Any]) -> str:
    """The band, where the chosen rate lies in it, and what that is worth."""
    chosen, edge, low, steps = (band[k] for k in ("chosen", "edge", "low", "steps"))
    if band["verdict"] == "unknown":
        tried = f"{_rate(band['trials'][0]['rate'])} to {_rate(band['trials'][-1]['rate'])}"
        return (
            f"No rate from {tried} brought the loss down in {steps} steps from {words.number(band['start'], 4)}: nothing is left "
            "to learn here, or the gradient does not point down. `gradlearn check gradient` compares two gradients."
        )
    found = []
    if edge is None:
        found.append(f"No rate up to {_rate(band['trials'][-1]['rate'])} lost what it had in {steps} steps.")
    elif band["bound"] is not None:
        found.append(
            f"From {_rate(edge)} on a step overshoots: 2 / largest curvature, as the law for this update is.{_tried(band)}"
        )
    else:
        found.append(f"From about {_rate(edge)} on {steps} steps with {band['update']} end above the loss they began with.")
    if low:
        found.append(f"Below about {_rate(low)} they gain less than a tenth of what the best rate gains ({_rate(band['best'])}).")
    else:
        found.append("No rate tried was too low.")
    found.append(f"The rate of this run, {_rate(chosen)}, is {_placed(band)}.")
    if band["warm"] and edge is not None and edge <= chosen < 30.0 * edge:
        found.append(
            "The run begins with a warm-up, which starts far below and often makes room for a rate that is too high at once."
        )
    found.append(f"So few steps ({steps}) say where the band lies, not which rate in it ends best; the plan's rule is for the end.")
    return " ".join(found)


def _tried(band: Mapping[str, Any]) -> str:
    """Where the loss of the trial steps tells otherwise, by more than a factor of two."""
    good, lost = band["tried"]
    if not good or not lost or not math.sqrt(good * lost) > 2.0 * band["edge"]:
        return ""
    return f" The loss itself still ends below its start up to {_rate(good)}: it gets flatter where such steps land."


def _placed(band: Mapping[str, Any]) -> str:
    chosen, edge, low = band["chosen"], band["edge"], band["low"]
    if band["verdict"] == "too high":
        return f"too high: {_times(chosen / edge)} the edge; give a lower --lr" if edge else "too high; give a lower --lr"
    if band["verdict"] == "too low":
        return f"too low: {_times(low / chosen)} less than where learning begins; give a higher --lr"
    parts = [f"a factor of {words.number(edge / chosen, 2)} below the edge"] if edge else []
    parts += [f"{words.number(chosen / low, 2)} times the lower end"] if low else []
    return "good" + (": " + words.listing(parts) if parts else "")


def _times(ratio: float) -> str:
    return f"{words.number(ratio, 2)} times"


def _rate(value: float) -> str:
    return words.number(value, 2)


def zone(band: Mapping[str, Any], rate: float) -> str:
    """ "too low", "good" or "too high"."""
    if band["edge"] is not None and rate >= band["edge"]:
        return "too high"
    return "too low" if rate <= (band["low"] or 0.0) else "good"


def lines(band: Mapping[str, Any], width: int = 34) -> list[str]:
    """A small drawing in text: a row for each rate that was tried, a bar for what it gained."""
    rows = [t for t in band["trials"] if t["loss"] is not None]
    most = max((band["start"] - t["loss"] for t in rows), default=0.0)
    out = [f"{'rate':>9}  loss after {band['steps']} steps (from {words.number(band['start'], 4)})"]
    before = ""
    for t in band["trials"]:
        gain = -1.0 if t["loss"] is None or most <= 0.0 else (band["start"] - t["loss"]) / most
        bar = "#" * round(width * max(gain, 0.0))
        word = zone(band, t["rate"])
        said, before = ("" if word == before else word), word
        marks = "  <- this run" if t["rate"] == band["chosen"] else "  (best of these)" if t["rate"] == band["best"] else ""
        loss = "lost" if t["loss"] is None else words.number(t["loss"], 4)
        out.append(f"{_rate(t['rate']):>9}  {loss:>9}  {said:8}  {bar}{marks}".rstrip())
    return out


def write(band: Mapping[str, Any], path: Path) -> Path:
    """The SVG as a file, old or new at every instant. Raises ResourceTrouble."""
    try:
        disk.replace(path, svg(band).encode())
    except OSError as error:
        raise ResourceTrouble(disk.refusal(path, error)) from error
    return path


def svg(band: Mapping[str, Any]) -> str:
    """The picture: loss after the trial steps by rate, the three zones, and the rate of the run."""
    trials: Sequence[Mapping[str, Any]] = band["trials"]
    rates, start = [t["rate"] for t in trials], band["start"]
    ends = [*rates, *(v for v in (band["edge"], band["low"]) if v)]
    across = scale.Scale(min(ends) / 1.6, max(ends) * 1.6, LEFT, WIDTH - RIGHT, True)
    seen = [t["loss"] for t in trials if t["loss"] is not None and t["loss"] < start + 1.2 * _spread(band)] + [start]
    log = scale.wants_log(seen)
    up = scale.Scale(*scale.room(seen, log, most=5), TOP + HEIGHT, TOP + BAR, log)
    parts = [*_zones(band, across), *_axes(across, up)]
    y = up.place(start)
    parts.append(f'<path class="start" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
    parts.append(f'<text class="soft" x="{LEFT + 6}" y="{y - 5:.1f}">loss at the start</text>')
    inside = [t for t in trials if t["loss"] is not None and t["loss"] <= up.high]
    spots = [(across.place(t["rate"]), up.place(t["loss"])) for t in inside]
    if spots:
        parts.append(f'<path class="curve" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in spots)}"/>')
    parts += [f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>' for x, y in spots]
    gone = [t for t in trials if t not in inside]
    parts += [f'<path class="lost" d="M{across.place(t["rate"]) - 4:.1f} {up.end + 4:.1f}l8 8m0 -8l-8 8"/>' for t in gone]
    parts += _flag(band, across)
    parts.append(f'<text class="soft" x="{WIDTH - RIGHT}" y="{TOP + HEIGHT + 40}" text-anchor="end">learning rate</text>')
    key = f"loss after {words.plural(band['steps'], 'step')} at each rate, all from the same start" + (
        "; ×: off the picture" if gone else ""
    )
    parts.append(f'<text class="soft" x="{LEFT}" y="{TOP + HEIGHT + 40}">{key}</text>')
    title, note = f"Learning rates for {band['update']}", _note(band)
    label = html.escape(f"{title}: {note}", quote=True)
    height = TOP + HEIGHT + FOOT
    head = f'<text class="title" x="{LEFT}" y="26">{html.escape(title)}</text>'
    head += f'<text class="soft" x="{LEFT}" y="46">{html.escape(note)}</text>'
    body = "\n".join([f'<rect class="page" width="{WIDTH}" height="{height}"/>', head, *parts])
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}"><style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def _spread(band: Mapping[str, Any]) -> float:
    """How far the best rate brought the loss down: the scale of the picture."""
    gains = [band["start"] - t["loss"] for t in band["trials"] if t["loss"] is not None]
    return max([g for g in gains if g > 0.0], default=abs(band["start"]) or 1.0)


def _note(band: Mapping[str, Any]) -> str:
    edge = "none found" if band["edge"] is None else _rate(band["edge"])
    low = _rate(band["low"]) if band["low"] else "none found"
    return f"crawls below {low}, loses from {edge}; this run: {_rate(band['chosen'])}, {band['verdict']}"


def _zones(band: Mapping[str, Any], across: scale.Scale) -> list[str]:
    """The three stretches, each with its word."""
    if band["verdict"] == "unknown":
        return []
    low = across.place(band["low"]) if band["low"] else across.start
    edge = across.place(band["edge"]) if band["edge"] else across.end
    parts = []
    for word, a, b in (("too low", across.start, low), ("good", low, max(edge, low)), ("too high", max(edge, low), across.end)):
        if b - a < 1.0:
            continue
        parts.append(f'<rect class="zone {WORD[word]}" x="{a:.1f}" y="{TOP}" width="{b - a:.1f}" height="{HEIGHT}"/>')
        if b - a > 8 * len(word):
            parts.append(f'<text class="{WORD[word]}" x="{(a + b) / 2:.1f}" y="{TOP + 20}" text-anchor="middle">{word}</text>')
    return parts


def _axes(across: scale.Scale, up: scale.Scale) -> list[str]:
    parts = []
    for value in scale.log_ticks(across.low, across.high, 9):
        x = across.place(value)
        parts.append(f'<path class="base" d="M{x:.1f} {TOP + HEIGHT}v4"/>')
        parts.append(f'<text class="soft" x="{x:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{words.power(value)}</text>')
    rows = scale.log_ticks(up.low, up.high, 5) if up.log else scale.ticks(up.low, up.high, 5)
    for value, text in zip(rows, scale.labels(rows, up.log, False), strict=True):
        y = up.place(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="soft" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    return [*parts, f'<path class="base" d="M{LEFT} {TOP + HEIGHT}H{WIDTH - RIGHT}"/>']


def _flag(band: Mapping[str, Any], across: scale.Scale) -> list[str]:
    """The rate of the run, a line with its number on top."""
    x = across.place(band["chosen"])
    anchor = "end" if x > WIDTH - 120 else "start" if x < LEFT + 60 else "middle"
    text = f"this run: {_rate(band['chosen'])}"
    return [
        f'<path class="chosen" d="M{x:.1f} {TOP - 4}V{TOP + HEIGHT}"/>',
        f'<text class="flag" x="{x:.1f}" y="{TOP - 9}" text-anchor="{anchor}">{text}</text>',
    ]
