"""The twins as one HTML page that needs nothing else: curves over each other, a panel for each, a sentence for each.

Takes the plain values of `gradlearn.contrast.Twins.document()`. The page's style, script and content policy are those of a run's
report (`page.py`); everything that comes from the runs is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from gradlearn.errors import ResourceTrouble
from gradlearn.record import disk
from gradlearn.report import scale, words
from gradlearn.report.chart import Chart, draw
from gradlearn.report.page import _digest as digest
from gradlearn.report.series import Series, curve, smoothed
from gradlearn.report.telling import final, first, sentences, summary

__all__ = ["render", "sentences", "write"]

COLOURS = {"chosen": 2, "too high": 1, "too low": 0, "by heart": 1, "held back": 2}
RATES, FITS = ("too high", "chosen", "too low"), ("by heart", "held back")
W, H, X, Y = 290, 160, 42, 8  # of a panel's picture; where its axes are


def write(twins: Mapping[str, Any], path: Path) -> Path:
    """The page as a file, old or new at every instant. Raises ResourceTrouble."""
    try:
        disk.replace(path, render(twins).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise ResourceTrouble(disk.refusal(path, error)) from error
    return path


def render(twins: Mapping[str, Any]) -> str:
    """The page as text."""
    by_name = {t["name"]: t for t in twins["twins"]}
    said = sentences(twins)
    rates = [by_name[k] for k in RATES]
    fits = [by_name[k] for k in FITS if k in by_name]
    body = [
        f'<header><p class="eyebrow">gradlearn · {words.safe(twins["task"], 40)} · the same training, '
        f"{'five' if fits else 'three'} ways</p><h1>Twins</h1></header>",
        f'<p class="story">{words.safe(summary(twins), 2000)}</p>',
        _section(
            "The learning rate",
            "All three see the same batches in the same order and begin with the same weights. Only the learning rate differs.",
            _overlay("Training loss", rates, "each: running median of the batches; lower is better", valid=False),
            _scores(rates),
            _panels(rates, said),
        ),
    ]
    if fits:
        n = fits[0]["examples"]
        lede = f"Both see the same {words.count(n)} examples, over and over. One is free to learn them by heart, one is held back."
        body.append(
            _section(
                "Learning by heart",
                lede,
                _overlay("Loss on validation data", fits, "which neither trained on; lower is better", valid=True),
                _scores(fits),
                _panels(fits, said),
            )
        )
    body.append(
        _section("What differed", "The same seed everywhere; the watch looked, and nothing acted on what it saw.", _table(twins))
    )
    return _document("".join(body))


def _document(body: str) -> str:
    style = "".join(resources.files("gradlearn.report").joinpath(f).read_text("utf-8") for f in ("page.css", "twins.css"))
    script = resources.files("gradlearn.report").joinpath("page.js").read_text("utf-8")
    policy = f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="light dark">'
        f"<title>Twins · gradlearn</title><style>{style}</style></head>\n"
        f"<body><main>{body}<footer>Made by gradlearn from short trainings. The file stands alone: it loads nothing and "
        f"sends nothing.</footer></main><script>{script}</script></body></html>\n"
    )


def _section(title: str, lede: str, *content: str) -> str:
    return f'<section><h2>{title}</h2><p class="lede">{lede}</p>{"".join(content)}</section>'


def _finite(values: Sequence[Any]) -> list[float | None]:
    return [words.finite(v) for v in values]


def _trained(twin: Mapping[str, Any], colour: int, name: str) -> Series:
    return smoothed(name, range(len(twin["loss"])), _finite(twin["loss"]), colour)


def _validated(twin: Mapping[str, Any], key: str, colour: int, name: str) -> Series:
    rows = twin["scores"]
    values = [r["value"] if key == "value" else r["all"].get(key) for r in rows]
    return curve(name, [r["t"] for r in rows], _finite(values), "dots", colour)


def _overlay(title: str, twins: Sequence[Mapping[str, Any]], note: str, valid: bool) -> str:
    """All of them in one chart."""
    made = [
        _validated(t, _loss_key(t), COLOURS[t["name"]], t["name"]) if valid else _trained(t, COLOURS[t["name"]], t["name"])
        for t in twins
    ]
    end = max(len(t["loss"]) for t in twins)
    lost = tuple(float(i) for t in twins for i, v in enumerate(t["loss"]) if words.finite(v) is None)
    return draw(Chart(title, tuple(made), (0.0, float(end)), note, 230, lost=() if valid else lost))


def _loss_key(twin: Mapping[str, Any]) -> str:
    """Under which name a validation score has the loss."""
    return "loss" if twin["scores"] and "loss" in twin["scores"][0]["all"] else "value"


def _scores(twins: Sequence[Mapping[str, Any]]) -> str:
    """The validation score of all, where it is not the loss again."""
    name = next((r["name"] for t in twins for r in t["scores"]), "")
    if not name or name in ("loss", "mse"):
        return ""
    end = max(len(t["loss"]) for t in twins)
    made = tuple(_validated(t, "value", COLOURS[t["name"]], t["name"]) for t in twins)
    share = words.is_share(name)
    note = "on data that none of them trained on; higher is better"
    return draw(Chart(f"Validation {name}", made, (0.0, float(end)), note, 180, share=share, log=False if share else None))


def _panels(twins: Sequence[Mapping[str, Any]], said: Mapping[str, str]) -> str:
    """One panel for each, their pictures on the same axes."""
    drawn = {t["name"]: [s for s in _both(t) if s.x] for t in twins}
    values = [v for some in drawn.values() for s in some for v in s.y if s.name != "validation"]
    if not values:
        return ""
    values += [v for some in drawn.values() for s in some for v in s.y if s.name == "validation" and v <= 2.0 * max(values)]
    log = scale.wants_log(values)
    up = scale.Scale(*scale.room(values, log, most=4), H - 20, Y, log)
    across = scale.Scale(0.0, float(max(len(t["loss"]) for t in twins)), X, W - 6)
    return f'<div class="twins">{"".join(_panel(t, drawn[t["name"]], across, up, said[t["name"]]) for t in twins)}</div>'


def _both(twin: Mapping[str, Any]) -> list[Series]:
    xs = range(len(twin["loss"]))
    raw = curve("raw", xs, _finite(twin["loss"]), "raw", 4)
    return [raw, _trained(twin, 0, "training"), _validated(twin, _loss_key(twin), 1, "validation")]


def _panel(twin: Mapping[str, Any], drawn: Sequence[Series], across: scale.Scale, up: scale.Scale, said: str) -> str:
    name = twin["name"]
    held = ", ".join(dict.fromkeys(_told(k, v) for k, v in twin["held"].items())) or "nothing"
    how = f"learning rate {words.number(twin['lr'])}" if name in RATES else f"held back by: {held}"
    numbers = [("training loss, end", words.number(final(twin)))]
    fit, scores = twin["fit"], twin["scores"]
    if fit is not None and fit["name"] not in ("loss", "mse"):
        numbers.append((f"training {fit['name']}", words.score(fit["name"], words.finite(fit["value"]))))
    if scores:
        numbers.append((f"validation {scores[-1]['name']}", words.score(scores[-1]["name"], words.finite(scores[-1]["value"]))))
    rows = "".join(f"<span>{words.safe(k)}</span><b>{words.safe(v)}</b>" for k, v in numbers)
    return (
        f'<div class="twin"><h3><i class="bar{COLOURS[name]}"></i>{name}</h3><p class="how">{words.safe(how, 300)}</p>'
        f'{_picture(twin, drawn, across, up)}<p class="said">{words.safe(said, 1000)}</p>'
        f'<div class="numbers">{rows}</div>{_findings(twin)}</div>'
    )


def _told(name: str, value: Any) -> str:
    plain = name.rpartition(".")[2].replace("_", " ")
    return f"{plain} {words.number(value)}" if isinstance(value, float) else plain if value is True else f"{plain} {value}"


def _findings(twin: Mapping[str, Any]) -> str:
    """What the watch said: the first of each name, how often, and its own sentence."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for f in twin["findings"]:
        found.setdefault(f["name"], []).append(f)
    if not found:
        return ""
    rows = []
    for name, some in found.items():
        level = some[0]["level"] if some[0]["level"] in ("warn", "alarm") else ""
        often = f" (and {len(some) - 1} more)" if len(some) > 1 else ""
        what = words.sentence(some[0]["what"])
        rows.append(f'<li><span class="pill {level}">{words.safe(name, 40)}</span>{words.safe(what, 300)}{often}</li>')
    return f"<ul>{''.join(rows[:6])}</ul>"


def _picture(twin: Mapping[str, Any], drawn: Sequence[Series], across: scale.Scale, up: scale.Scale) -> str:
    parts = []
    rows = scale.log_ticks(up.low, up.high, 4) if up.log else scale.ticks(up.low, up.high, 4)
    for value, text in zip(rows, scale.labels(rows, up.log, False), strict=True):
        y = up.place(value)
        parts.append(f'<path class="grid" d="M{X} {y:.1f}H{W - 6}"/>')
        parts.append(f'<text class="tick" x="{X - 5}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    parts.append(f'<path class="base" d="M{X} {up.start:.1f}H{W - 6}"/>')
    parts.append(f'<text class="tick" x="{W - 6}" y="{H - 5}" text-anchor="end">step {words.count(across.high)}</text>')
    for s in drawn:
        spots = "L".join(f"{across.place(a):.1f} {up.place(b):.1f}" for a, b in zip(s.x, s.y, strict=True))
        parts.append(f'<path class="{"raw" if s.look == "raw" else "line"} ink{s.colour}" d="M{spots}"/>')
    gone = next((i for i, v in enumerate(twin["loss"]) if words.finite(v) is None), None)
    if gone is not None:
        parts.append(f'<path class="lost" d="M{across.place(gone) - 4:.1f} {up.end + 2:.1f}l8 8m0 -8l-8 8"/>')
    label = words.safe(f"{twin['name']}: training and validation loss by step")
    keys = "".join(f'<span class="key"><i class="line bar{s.colour}"></i>{s.name}</span>' for s in drawn if s.look != "raw")
    return f'<svg viewBox="0 0 {W} {H}" role="img" aria-label="{label}">{"".join(parts)}</svg><div>{keys}</div>'


def _table(twins: Mapping[str, Any]) -> str:
    head = "".join(
        f'<th class="{c}">{t}</th>'
        for t, c in (
            ("twin", ""),
            ("rate", "n"),
            ("examples", "n"),
            ("loss, start", "n"),
            ("loss, end", "n"),
            ("validation", "n"),
            ("ended", ""),
            ("time", "n"),
        )
    )
    rows = []
    for t in twins["twins"]:
        last = t["scores"][-1] if t["scores"] else None
        cells = [
            ("name", t["name"]),
            ("n", words.number(t["lr"])),
            ("n", words.count(t["examples"])),
            ("n", words.number(first(t))),
            ("n", words.number(final(t))),
            ("n", words.MISSING if last is None else words.score(last["name"], words.finite(last["value"]))),
            ("", t["stop"].get("message", "")),
            ("n", words.duration(t["seconds"])),
        ]
        rows.append("<tr>" + "".join(f'<td class="{c}">{words.safe(v)}</td>' for c, v in cells) + "</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
