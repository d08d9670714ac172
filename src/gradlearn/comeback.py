"""Come back to a run folder: the newest checkpoint that verifies, the logs cut to its step, history rebuilt from them.

Where the process that is gone had been told by a clock to end early, the same action is replayed at the same step.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gradlearn.loop import Descent, restore
from gradlearn.record.record import Record
from gradlearn.symbols import Action, Finding, Score, Step


def bring_back(d: Descent, folder: Path, warn: Callable[[str], None] | None = None) -> Record:
    """Load the newest valid checkpoint of a run folder into a descent; its logs are cut to that point. Returns the open record."""
    record, loaded, told, lost = Record.resume(folder, warn=warn)
    d.replay = [a for a in (Action(**row) for row in lost) if a.by == "clock"]
    if loaded is None:
        return record
    restore(d, loaded.parts, loaded.state)
    for row in told["steps"]:
        loss, norm, lr = (float("nan") if row[k] is None else row[k] for k in ("loss", "norm", "lr"))
        d.history.add(Step(row["t"], loss, norm, lr, row["n"], row["epoch"], row["applied"], row["seconds"]))
    for row in told["scores"]:
        d.history.scores.append((row["t"], row["split"], Score(row["name"], row["higher"], row["value"], row["all"])))
    d.history.findings += [Finding(**row) for row in told["findings"]]
    d.history.actions += [Action(**row) for row in told["actions"]]
    return record
