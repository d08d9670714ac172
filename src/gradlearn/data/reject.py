"""Pictures that cannot be read: what is wrong with each, the line for a person, the share that may be left out.

A `Bad` is raised where one picture is looked at; a `Reject` is the same with its place. They are gathered over the
whole data set, so that all bad files are known before training begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gradlearn.data.name import natural
from gradlearn.errors import InputTrouble, printable

SKIP = "replace it or pass --skip-bad 1%"
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # what is proposed for --skip-bad


class Bad(Exception):
    """One picture cannot be used: `what` is wrong with it and the `remedy`."""

    def __init__(self, what: str, remedy: str = SKIP) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class Reject(NamedTuple):
    """A bad picture and its place."""

    where: str
    what: str
    remedy: str

    @property
    def line(self) -> str:
        """`<where>: <what>; <what to do>`."""
        return f"{self.where}: {self.what}; {self.remedy}"


def reject(where: str, bad: Bad) -> Reject:
    """The bad picture at this place."""
    return Reject(printable(where), bad.what, bad.remedy)


def too_many(bad: int, total: int, skip_bad: float) -> bool:
    """Whether more are bad than the share that may be left out; raises InputTrouble for what is no share."""
    if not 0.0 <= skip_bad <= 1.0:
        raise InputTrouble(f"--skip-bad {skip_bad:g}: must be a share from 0 to 1 (or 0% to 100%)")
    return bad > 0 and bad / total > skip_bad


def settle(rejects: Sequence[Reject], total: int, skip_bad: float) -> list[dict[str, Any]]:
    """Lint rows about the `rejects` among `total` pictures; raises InputTrouble where they are too many."""
    if not rejects:
        return []
    rejects = sorted(rejects, key=lambda r: natural(r.where))
    if too_many(len(rejects), total, skip_bad):
        raise InputTrouble(_line(rejects, total, skip_bad))
    what = f"{len(rejects)} of {total} images unreadable and left out ({percent(len(rejects) / total)})"
    examples = [f"{r.where}: {r.what}" for r in rejects[:5]]
    return [{"level": "warn", "what": what, "count": len(rejects), "examples": examples}]


def percent(share: float) -> str:
    """A share in two digits; all of it is 100 %, not 1e+02 %."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _line(rejects: Sequence[Reject], total: int, skip_bad: float) -> str:
    first, more = rejects[0], len(rejects) - 1
    if not more and not skip_bad:
        return first.line
    counted = f"{len(rejects)} of {total} images unreadable ({percent(len(rejects) / total)})"
    enough = next((s for s in SHARES if s >= len(rejects) / total), None)
    way = "replace them" if enough is None else f"replace them or pass --skip-bad {100 * enough:.0f}%"
    limit = f", more than the {100 * skip_bad:.3g} % that may be skipped" if skip_bad else ""
    return f"{first.where}: {first.what}{f' (+{more} more)' if more else ''}; {counted}{limit}, {way}"
