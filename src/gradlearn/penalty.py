"""The objective of a run: the task's losses, and penalties on theta or on outputs."""

from __future__ import annotations

from typing import Any

from gradlearn.plan import Plan


def penalties(plan: Plan) -> list[Any]:
    """Those that the plan names."""
    del plan
    return []


def penalised(objective: Any, penalties: list[Any]) -> Any:
    """The objective with these penalties added."""
    del penalties
    return objective
