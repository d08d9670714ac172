"""Pictures with a line or two below each, inlined: mistakes, answers that were nearly another, labels in doubt, copies.

Small ones are enlarged without smoothing, so that each pixel is seen; those of more than `CRISP` pixels a side are scaled smoothly.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gradlearn.errors import printable
from gradlearn.report import words

MOST = 48  # pictures on a page
LARGEST = 2**19  # bytes of one picture
CRISP = 64
PNG = b"\x89PNG\r\n\x1a\n"
Caption = Callable[[Mapping[str, Any]], str]


def gallery(folder: Path, rows: Sequence[Mapping[str, Any]], caption: Caption | None = None, one: str = "mistake") -> str:
    """The rows of mistakes.json as a grid; a row whose picture is missing or is no PNG is shown without one."""
    shown = [figure(folder, [(row.get("file"), _alt(row))], (caption or mistake)(row)) for row in rows[:MOST]]
    rest = len(rows) - MOST
    note = f'<p class="small">{words.plural(rest, f"more {one}")} on record {"is" if rest == 1 else "are"} not shown.</p>'
    return f'<div class="gallery">{"".join(shown)}</div>{note if rest > 0 else ""}'


def figure(folder: Path, pictures: Sequence[tuple[object, str]], caption: str) -> str:
    """One or more pictures, (file, alternative text), side by side over a caption in HTML."""
    images = [image(folder, name, alt) for name, alt in pictures]
    body = f'<div class="side">{"".join(images)}</div>' if len(images) > 1 else "".join(images)
    return f"<figure>{body}<figcaption>{caption}</figcaption></figure>"


def image(folder: Path, name: object, alt: str, crisp: int = CRISP) -> str:
    """A PNG of this folder as an element; a line where there is none. `alt` is plain text; beyond `crisp` pixels it is smooth."""
    content = content_of(folder, name)
    if content is None:
        return '<p class="none">no picture</p>'
    smooth = ' class="smooth"' if max(size(content)) > crisp else ""
    return f'<img{smooth} alt="{html.escape(alt, quote=True)}" src="{_uri(content)}">'


def picture(folder: Path, name: object) -> str | None:
    """A PNG of this folder as a data URI; None for anything else, a path or a link out of the folder included."""
    content = content_of(folder, name)
    return None if content is None else _uri(content)


def content_of(folder: Path, name: object) -> bytes | None:
    """The bytes of a PNG of this folder; None for anything else."""
    if not isinstance(name, str) or not name or Path(name).name != name or "\0" in name:
        return None
    path = folder / name
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    return content if content.startswith(PNG) else None


def size(content: bytes) -> tuple[int, int]:
    """(width, height) from the header of a PNG; zeros where it has none."""
    head = content[16:24]
    return (int.from_bytes(head[:4]), int.from_bytes(head[4:])) if len(head) == 8 else (0, 0)


def _uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _alt(row: Mapping[str, Any]) -> str:
    truth, guess = (printable(row.get(k, "?"), 60) for k in ("truth", "guess"))
    return f"a picture of the class {truth}" + (f", taken for {guess}" if truth != guess else ", and taken for it")


def mistake(row: Mapping[str, Any]) -> str:
    """'is 3 (2%), taken for 5 (93%)'."""
    own = share(row.get("own p"))
    return (
        f'<div>is <span class="truth">{name(row, "truth")}</span>{own}</div>'
        f'<div>taken for <span class="guess">{name(row, "guess")}</span>{share(row.get("p"))}</div>{source(row)}'
    )


def doubt(row: Mapping[str, Any]) -> str:
    """'3 41%, 9 40%', and whether that was right."""
    right = row.get("guess") == row.get("truth")
    end = "right" if right else f'wrong: is <span class="truth">{name(row, "truth")}</span>'
    css = "truth" if right else "guess"
    return (
        f'<div><span class="{css}">{name(row, "guess")}</span>{share(row.get("p"))}, or {name(row, "second")}'
        f"{share(row.get('second p'))}</div><div>{end}</div>{source(row)}"
    )


def suspect(row: Mapping[str, Any]) -> str:
    """'labelled 3, looks like 5 (97%)', and of which part of the data."""
    part = words.safe(row.get("split", ""), 20)
    return (
        f'<div>labelled <span class="truth">{name(row, "truth")}</span></div>'
        f'<div>looks like <span class="guess">{name(row, "like")}</span>{share(row.get("p"))}</div>'
        f'<div class="source">{part}</div>{source(row)}'
    )


def name(row: Mapping[str, Any], key: str) -> str:
    """The name of a class, escaped."""
    return words.safe(row.get(key, "?"), 60)


def share(value: object) -> str:
    """' (93%)', or nothing."""
    p = words.finite(value)
    return f" ({words.percent(p, 0)})" if p is not None and 0.0 <= p <= 1.0 else ""


def source(row: Mapping[str, Any]) -> str:
    """Where the picture comes from."""
    origin = row.get("source")
    return f'<div class="source">{words.safe(origin, 80)}</div>' if origin else ""


def linted(folder: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """The pictures of those rows of the data's check that have some, example by example."""
    parts = []
    for row in rows:
        shown, examples = row.get("shown"), row.get("examples")
        if not isinstance(shown, list) or not shown:
            continue
        texts = examples if isinstance(examples, list) else []
        figures, wide = [], ""
        for k, files in enumerate(shown[:5]):
            text = printable(texts[k], 160) if k < len(texts) else ""
            pictures = [
                (file, f"one of: {text}" if text else "a picture") for file in (files if isinstance(files, list) else [])[:2]
            ]
            if pictures:
                wide = " broad" if len(pictures) > 1 else wide
                figures.append(figure(folder, pictures, f'<div class="source">{html.escape(text)}</div>'))
        parts.append(f'<h4>{words.safe(row.get("what", ""), 300)}</h4><div class="gallery{wide}">{"".join(figures)}</div>')
    return "".join(parts)
