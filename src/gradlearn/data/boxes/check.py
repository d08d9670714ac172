"""Every box is looked at before anything is trained: finite, of some width and height, inside its picture.

    corners(kind, values, w, h)  ->  x1 y1 x2 y2      off by at most SLACK pixels is rounding, and clipped; more is a fault

Each fault is named with its file and line, or the id of its annotation. Fewer than LEFT_OUT of all boxes are left out; of more,
the data are refused. With `clip`, boxes that reach out of their picture are cut to it instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlearn.data.boxes.listed import Faults, Listed, note
from gradlearn.data.name import natural
from gradlearn.data.reject import percent
from gradlearn.errors import InputTrouble

SLACK = 0.5  # pixels
WORTH = 0.01  # pixels: less than that is the last digit of a number, and not told
LEFT_OUT = 0.01
BLOCK = 1 << 14  # boxes looked at at a time
GOOD, ROUNDED, CUT, FAULTY = range(4)
ENOUGH = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # what is proposed for --skip-bad
VOC = ("xmin", "ymin", "xmax", "ymax")
YOLO = ("cx", "cy", "w", "h")


def corners(kind: str, values: np.ndarray, w: np.ndarray, h: np.ndarray) -> np.ndarray:
    """(M, 4) float64 x1 y1 x2 y2 in pixels, of boxes as they are written and the (M,) sizes of their pictures."""
    if kind == "voc":
        return values.copy()
    a, b, c, d = values.T
    if kind == "coco":
        return np.stack([a, b, a + c, b + d], axis=1)
    return np.stack([(a - c / 2) * w, (b - d / 2) * h, (a + c / 2) * w, (b + d / 2) * h], axis=1)


def check(listed: Listed, frame: np.ndarray, clip: bool) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    """(M, 4) float32 corners within pictures of these (N, 2) h, w, and (M,) bool which of them are good.

    Faults are added to `listed.faults`. The notes say what was clipped.
    """
    m = len(listed.values)
    inside, state = np.empty((m, 4), np.float32), np.empty(m, np.uint8)
    for start in range(0, m, BLOCK):
        here = slice(start, min(m, start + BLOCK))
        _look(listed, here, frame[listed.pictures[here]].astype(np.float64), clip, inside, state)
    return inside, state != FAULTY, _clipped(listed, state == CUT, state == ROUNDED)


def _look(listed: Listed, here: slice, size: np.ndarray, clip: bool, inside: np.ndarray, state: np.ndarray) -> None:
    """Fill `inside` and `state` of a few boxes, whose pictures are (m, 2) h, w."""
    h, w = size.T
    values = listed.values[here]
    with np.errstate(invalid="ignore", over="ignore"):
        boxes = corners(listed.kind, values, w, h)
        finite = np.asarray(np.isfinite(values).all(axis=1)) & np.isfinite(boxes).all(axis=1)
        positive = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        over = np.maximum(-boxes[:, :2], boxes[:, 2:] - size[:, ::-1]).max(axis=1, initial=0.0)
        cut = np.clip(boxes, 0.0, size[:, [1, 0, 1, 0]]).astype(np.float32)
        left = (cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])
        sound = finite & positive & (_relative(values) if listed.kind == "yolo" else True)
    out = sound & (over > SLACK)
    good = sound & left & (~out | clip)
    inside[here] = cut
    state[here] = np.where(good, np.where(out, CUT, np.where(over > WORTH, ROUNDED, GOOD)), FAULTY)
    for i in np.flatnonzero(~good).tolist():
        mendable = bool(out[i] & left[i])
        what, remedy = _fault(listed.kind, values[i].tolist(), bool(finite[i]), bool(sound[i]), boxes[i], w[i], h[i], mendable)
        listed.faults.add(listed.place(here.start + i), what, remedy, mendable)


def _relative(values: np.ndarray) -> np.ndarray:
    """(m,) bool: whether the numbers of YOLO are shares of the picture."""
    slack = 1e-3
    centre, size = values[:, :2], values[:, 2:]
    inside = (centre >= -slack) & (centre <= 1 + slack) & (size <= 1 + slack)
    return np.asarray(inside.all(axis=1))


def _fault(
    kind: str, values: list[float], finite: bool, sound: bool, box: np.ndarray, w: float, h: float, mendable: bool
) -> tuple[str, str]:
    """What is wrong with a box, and what to do about it."""
    shown = f"[{', '.join(map(_decimal if kind == 'coco' else _number, values))}]"
    if not finite:
        return f"box {shown} is not finite", "fix the box"
    if not sound:
        return _shape(kind, values), "YOLO boxes are relative" if _foreign(kind, values) else "fix the box"
    sides = ("starts left of", "starts above", "ends right of", "ends below")
    outs = (-box[0], -box[1], box[2] - w, box[3] - h)
    side = int(np.argmax(outs))
    if outs[side] <= 0:
        return f"box {shown} has no area", "fix the box"
    size = f"the image of {w:.0f}x{h:.0f}" if side > 1 else "the image"
    return f"box {shown} {sides[side]} {size}", "fix or pass --clip-boxes" if mendable else "fix the box"


def _foreign(kind: str, values: list[float]) -> bool:
    return kind == "yolo" and any(v > 1.001 or v < -0.001 for v in values) and min(values[2:]) > 0


def _shape(kind: str, values: list[float]) -> str:
    """Why a box of finite numbers has no width or height, or is no box of YOLO."""
    if kind == "voc":
        a, b = (0, 2) if values[2] <= values[0] else (1, 3)
        sign = "<" if values[b] < values[a] else "="
        return f"{VOC[b]} {_number(values[b])} {sign} {VOC[a]} {_number(values[a])}"
    if kind == "coco":
        name, value = ("width", values[2]) if values[2] <= 0 else ("height", values[3])
        return f"{name} {_decimal(value)} is not positive"
    if min(values[2:]) <= 0:
        name, value = ("w", values[2]) if values[2] <= 0 else ("h", values[3])
        return f"{name}={_number(value)} is not positive"
    name, value = next((n, v) for n, v in zip(YOLO, values, strict=True) if v > 1.001 or v < -0.001)
    return f"{name}={_number(value)} outside 0..1"


def _number(value: float) -> str:
    return f"{value:.10g}"


def _decimal(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 1e9 and value == int(value) else f"{value:.10g}"


def _clipped(listed: Listed, cut: np.ndarray, rounded: np.ndarray) -> list[dict[str, Any]]:
    notes = []
    for rows, level, what in (
        (cut, "warn", "boxes reached out of their pictures and were cut to them (--clip-boxes)"),
        (rounded, "info", f"boxes were up to {SLACK:g} pixels out of their pictures, and were cut to them"),
    ):
        where = np.flatnonzero(rows)
        if len(where):
            notes.append(note(level, f"{len(where)} {what}", len(where), [listed.place(i) for i in where[:5].tolist()]))
    return notes


def settle(faults: Faults, total: int, skip_bad: float) -> list[dict[str, Any]]:
    """A lint row about the faults among `total` boxes; raises InputTrouble where they are too many to be left out."""
    if not faults.count:
        return []
    first, *more = sorted(faults.rejects, key=lambda r: natural(r.where))
    share = faults.count / total
    counted = f"{faults.count} of {total} boxes are faulty ({percent(share)})"
    if share < max(LEFT_OUT, skip_bad):
        examples = [f"{r.where}: {r.what}" for r in (first, *more)[:5]]
        return [note("warn", f"{counted} and left out", faults.count, examples)]
    if faults.count == 1:
        raise InputTrouble(first.line)
    others = ", ".join(f"{r.where}: {r.what}" for r in more[:2])
    rest = f" and {faults.count - 1 - len(more[:2])} more" if faults.count > 1 + len(more[:2]) else ""
    ways = ["fix them", *(["pass --clip-boxes"] if faults.mendable else [])]
    enough = next((s for s in ENOUGH if s > share), None)
    ways += [f"pass --skip-bad {100 * enough:.0f}%"] if enough is not None else []
    raise InputTrouble(f"{first.where}: {first.what}; {counted}, also {others}{rest}; {_or(ways)}")


def _or(ways: list[str]) -> str:
    return ways[0] if len(ways) == 1 else f"{', '.join(ways[:-1])} or {ways[-1]}"
