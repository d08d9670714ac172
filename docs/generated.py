"""What the site says that no page does: the help of every command, a section for every plug-in, the claims of the benchmarks.

    <!-- help: train -->      becomes what `gradlearn train --help` prints
    <!-- plugins: update -->  becomes a section for every file of the folder, from its docstrings
    <!-- claims: -->          becomes a table of what each file in benchmarks/ claims

A hook of mkdocs; so a new plug-in or option is on the site without a line being written here.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any

from gradlearn import find
from gradlearn.cli import parser

MARK = re.compile(r"^<!-- (help|plugins|claims): ?([\w.]*) ?-->$", re.MULTILINE)
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls this with the text of each page."""
    makers = {"help": command_help, "plugins": plugins, "claims": claims}
    return MARK.sub(lambda mark: makers[mark[1]](mark[2]), markdown)


def command_help(command: str) -> str:
    """What `gradlearn COMMAND --help` prints, 100 columns wide."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        top = parser()
        text = (subparsers(top)[command] if command else top).format_help()
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    return f"```text\n{text}```"


def subparsers(top: Any) -> dict[str, Any]:
    """The parser of each command."""
    return next(action.choices for action in top._actions if isinstance(action.choices, dict))


def plugins(kind: str) -> str:
    """A section for each plug-in of a folder: what its docstring says, its options, its class."""
    return "\n\n".join(section(find.describe(kind, name)) for name in find.names(kind))


def section(listing: find.Listing) -> str:
    """One plug-in."""
    parts = [f"### {listing.name}", listing.doc]
    if listing.options:
        parts.append("| option | default | |\n|---|---|---|\n" + "\n".join(map(row(listing), listing.options)))
    parts.append(f"`gradlearn.{listing.kind}.{listing.name}.{listing.public}`")
    return "\n\n".join(parts)


def row(listing: find.Listing) -> Any:
    """How an option of this plug-in is shown: as it is typed."""

    def line(option: find.Option) -> str:
        name = "--lr" if (listing.kind, option.name) == ("update", "lr") else f"--{listing.name}.{option.name}"
        return f"| `{name}` | `{option.default!r}` | {option.help.replace('|', chr(92) + '|')} |"

    return line


def claims(_: str) -> str:
    """A table of the benchmarks that claim something."""
    docs = {path.stem: ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "" for path in sorted(BENCHMARKS.glob("*.py"))}
    rows = [f"| `bench-{name}` | {doc.splitlines()[0][7:]} |" for name, doc in docs.items() if doc.startswith("Claim: ")]
    return "\n".join(["| make | claim |", "|---|---|", *rows])
