"""What can go wrong, as one line for a person: where, what, what to do; and an exit code by kind.

Every error that gradlearn raises on purpose is a `Trouble`. The command line prints `gradlearn: error: <line>` on stderr and
ends with the code: 2 input, 3 numerics, 4 checkpoint, 5 resources; 130 and 143 after a signal.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Trouble(Exception):
    """An error with one line for a person and an exit code for a program."""

    code = 1


class InputTrouble(Trouble, ValueError):
    """What a person gave cannot be used: data, options, names (exit code 2)."""

    code = 2


class NumericsTrouble(Trouble, ArithmeticError):
    """The training left the finite numbers and could not be brought back (exit code 3)."""

    code = 3


class CheckpointTrouble(Trouble, RuntimeError):
    """A run folder or checkpoint is damaged, locked, or does not belong to this data or model (exit code 4)."""

    code = 4


class ResourceTrouble(Trouble, OSError):
    """Disk, memory or a device gave out (exit code 5)."""

    code = 5


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'shuffle'?` for the closest of the known names, else the list of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def printable(text: object, limit: int = 120) -> str:
    """User text made safe for one terminal line: control characters escaped, cut at `limit` characters."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return line if len(line) <= limit else line[: limit - 1] + "…"
