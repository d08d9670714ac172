"""The worst mistakes as pictures, inlined: small ones are enlarged without smoothing, so that each pixel is seen."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradlearn.report import words

MOST = 48  # pictures on a page
LARGEST = 2**19  # bytes of one picture
PNG = b"\x89PNG\r\n\x1a\n"


def gallery(folder: Path, rows: list[dict[str, Any]]) -> str:
    """The rows of mistakes.json as a grid; a row whose picture is missing or is no PNG is shown without one."""
    shown = [_card(folder, row) for row in rows[:MOST]]
    rest = len(rows) - MOST
    note = f'<p class="small">{words.plural(rest, "more mistake")} on record {"is" if rest == 1 else "are"} not shown.</p>'
    return f'<div class="gallery">{"".join(shown)}</div>{note if rest > 0 else ""}'


def picture(folder: Path, name: object) -> str | None:
    """A PNG of this folder as a data URI; None for anything else, a path or a link out of the folder included."""
    if not isinstance(name, str) or not name or Path(name).name != name or "\0" in name:
        return None
    path = folder / name
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    return "data:image/png;base64," + base64.b64encode(content).decode() if content.startswith(PNG) else None


def _card(folder: Path, row: Mapping[str, Any]) -> str:
    source = picture(folder, row.get("file"))
    truth, guess = (words.safe(row.get(k, "?"), 60) for k in ("truth", "guess"))
    p = words.finite(row.get("p"))
    sure = f" ({words.percent(p, 0)})" if p is not None and 0.0 <= p <= 1.0 else ""
    origin = row.get("source")
    below = f'<div class="source">{words.safe(origin, 80)}</div>' if origin else ""
    alt = html.escape("a picture of the class ") + truth + ", taken for " + guess
    image = f'<img alt="{alt}" src="{source}">' if source else '<p class="none">no picture</p>'
    return (
        f'<figure>{image}<figcaption><div>is <span class="truth">{truth}</span></div>'
        f'<div>taken for <span class="guess">{guess}</span>{sure}</div>{below}</figcaption></figure>'
    )
