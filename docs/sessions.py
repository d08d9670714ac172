"""Plays what README.md and docs/ show, and writes down what came: no output on a page is typed by hand.

    python docs/sessions.py [PAGE...]

Commands stand behind `$ ` in ```console blocks, what they print follows them. A ```python block that prints is followed by
a ```text block. All blocks of a page are played in order in one empty folder, its Python in one namespace, so that a page is
one story. Sentences are wrapped as a terminal would. The tests run the same Python blocks on every change; the commands
take longer and are played by hand.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
WIDTH = 120
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page."""

    kind: str  # console, python, text, ...
    body: str
    start: int  # of the body, in the page
    stop: int
    printed: bool  # a text block right behind a python block: what that one printed


def blocks(page: str) -> list[Block]:
    """All fenced blocks, in order."""
    found: list[Block] = []
    end = 0
    for match in BLOCK.finditer(page):
        behind = bool(found) and found[-1].kind == "python" and not page[end : match.start()].strip()
        found.append(Block(match[1], match[2], match.start(2), match.end(2), behind and match[1] == "text"))
        end = match.end()
    return found


def commands(body: str) -> list[str]:
    """The commands of a console block as they stand there; a backslash at the end of a line goes on with the next."""
    found: list[str] = []
    for line in body.splitlines():
        if found and found[-1].endswith("\\"):
            found[-1] += "\n" + line
        elif line.startswith("$ "):
            found.append(line.removeprefix("$ "))
    return found


def played(page: str, run: Callable[[str, str], str]) -> str:
    """The page with every output made anew by `run(kind, code)`."""
    parts, at, printed = [], 0, ""
    for block in blocks(page):
        body = block.body
        if block.kind == "console":
            body = "".join(f"$ {command}\n{run('console', command)}" for command in commands(body))
        elif block.kind == "python":
            printed = run("python", body)
        elif block.printed:
            body = printed
        parts += [page[at : block.start], body]
        at = block.stop
    return "".join(parts) + page[at:]


class Session:
    """The blocks of one page, played in the folder that this process is in."""

    def __init__(self) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": path, "COLUMNS": str(WIDTH)}
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def __call__(self, kind: str, code: str) -> str:
        """What the block prints."""
        if kind == "console":
            done = subprocess.run(["bash", "-c", code], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            text = done.stdout.decode()
        else:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(code, "<page>", "exec"), self.names)
            text = out.getvalue()
        lines = [part for line in text.strip("\n").splitlines() for part in wrapped(line)]
        return "\n".join(lines) + "\n" if text.strip() else ""


def wrapped(line: str) -> list[str]:
    """Sentences as a terminal of `WIDTH` columns shows them, cut between words; JSON and rows of a table stay whole."""
    return [line] if len(line) <= WIDTH or line.startswith("{") or "  " in line else textwrap.wrap(line, WIDTH)


def main() -> None:
    """Play the pages named, or all."""
    for path in [Path(name).resolve() for name in sys.argv[1:]] or PAGES:
        page = path.read_text("utf-8")
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            new = played(page, Session())
        path.write_text(new, "utf-8")
        print(f"{path.relative_to(ROOT)}: {'as it was' if new == page else 'outputs are new'}", flush=True)


if __name__ == "__main__":
    main()
