"""What two equal runs have in common: a SHA-256 of every part of a run folder that must not depend on how it was run.

Of the last checkpoint: parameters and buffers, update state, average, task state, ring, and the state but for the time
spent and the sizes of the logs. Of the logs: every row but for its field "seconds". And every byte of `model/`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

LOGS = ("steps", "scores", "findings", "actions")
UNEQUAL = ("seconds", "log")  # of state.json: the time spent, and the places in the logs, whose rows hold times


def fingerprint(run: Path) -> dict[str, str]:
    """SHA-256 by part; "t" is the step of the last checkpoint. Raises ValueError for a run without a checkpoint."""
    newest = max((run / "checkpoints").glob("step-" + "[0-9]" * 12), key=lambda path: path.name)
    parts = {path.stem: _sha(path.read_bytes()) for path in sorted(newest.glob("*.safetensors"))}
    state = json.loads((newest / "state.json").read_text())
    parts["state"] = _sha(json.dumps({k: v for k, v in state.items() if k not in UNEQUAL}, sort_keys=True).encode())
    parts |= {f"{name}.jsonl": _sha(b"\n".join(rows(run / f"{name}.jsonl"))) for name in LOGS}
    parts |= {f"model/{path.name}": _sha(path.read_bytes()) for path in sorted(run.glob("model/*"))}
    return parts | {"t": newest.name.removeprefix("step-")}


def rows(log: Path) -> list[bytes]:
    """The rows of a log without their wall times, in order; none where there is no log."""
    lines = log.read_bytes().splitlines() if log.exists() else []
    plain = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
    return [json.dumps(row, sort_keys=True).encode() for row in plain]


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Names of the parts that are not equal; empty for equal runs."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
