"""What every benchmark shares: places, machine and versions, how a command is timed, how a result is kept.

One benchmark file is one claim. It runs us and the peers in turn in one run, prints a table and writes
`results/<name>.json`. A quick (smoke) run writes to `build/benchmarks/` instead: only full runs are kept.
Imports nothing heavy: this process must stay small, since a child's peak memory is never below its parent's.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SMOKE = ROOT / "build" / "benchmarks"
PEERS = ROOT / ".peers"
OURS = ("gradlearn", "torch", "numpy", "safetensors", "pillow", "pyarrow", "scikit-learn", "numba", "llvmlite")
THEIRS = ("torch", "lightning", "skorch", "keras", "pytorch-optimizer", "schedulefree", "prodigyopt", "torch-optimi", "heavyball")
THEIRS += ("torchvision", "timm", "kornia", "scipy", "cma", "nevergrad", "jax", "optax", "transformers", "accelerate")

Row = dict[str, Any]


class Finished(NamedTuple):
    """A command that has ended."""

    code: int
    wall: float  # seconds from just before its start to its end
    document: dict[str, Any]  # the JSON document on its stdout; empty if there was none
    peak: int  # bytes: ru_maxrss, everything resident, mapped files included
    anonymous: int  # bytes: the largest RssAnon + RssShmem seen, memory that no file stands behind
    said: str  # the end of stderr


def machine() -> dict[str, Any]:
    """The processor, how many cores this process may use, memory, system, and how busy it is right now."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": named[0] if named else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def versions(peers: bool = False) -> dict[str, Any]:
    """Python and the packages that matter, without importing one; with `peers`, theirs from `.peers/` too."""
    found: dict[str, Any] = {"python": platform.python_version()}
    found |= _installed(OURS)
    if peers:
        sites = [str(path) for path in PEERS.glob("*/lib/python*/site-packages")]
        found["peers"] = _installed(THEIRS, sites)
    return found


def _installed(names: Sequence[str], path: Sequence[str] | None = None) -> dict[str, str]:
    installed = importlib.metadata.distributions(path=list(sys.path if path is None else path))
    known = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in installed}
    return {name: known[name] for name in names if name in known}


def write(name: str, payload: Mapping[str, Any], quick: bool = False, peers: bool = False) -> Path:
    """Keeps one result: `payload` (claim, bars, rows) with date, machine and versions. Returns the file."""
    folder = SMOKE if quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    whole = {"name": name, "quick": quick, "date": now, "machine": machine(), "versions": versions(peers), **payload}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(whole, indent=1) + "\n")
    print(f"\nwritten: {path.relative_to(ROOT)}")
    return path


def table(rows: Sequence[Row], title: str = "") -> None:
    """Prints rows with equal keys as a table; numbers to four significant digits."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title or None, title_justify="left")
    for key in rows[0] if rows else ():
        number = isinstance(rows[0][key], int | float) and not isinstance(rows[0][key], bool)
        shown.add_column(key, justify="right" if number else "left")
    for row in rows:
        shown.add_row(*(_text(value) for value in row.values()))
    Console(width=max(shutil.get_terminal_size().columns, 110)).print(shown)


def _text(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def bar(what: str, value: float, limit: float, below: bool = True) -> Row:
    """One bar of a claim: whether `value` is at most (or, not `below`, at least) `limit`."""
    met = value <= limit if below else value >= limit
    return {"bar": what, "value": value, "limit": f"{'<=' if below else '>='} {limit:g}", "met": met}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range of a few readings."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def first_line(claim: str | None) -> str:
    """The claim in one line: the first of a benchmark's docstring."""
    return (claim or "").splitlines()[0].removeprefix("Claim: ")


def options(claim: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has; `claim` is its docstring."""
    parser = argparse.ArgumentParser(description=claim, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: small, short, not kept under results/")
    return parser


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder beside the repository's build products (a real disk, unlike many /tmp), gone at the end."""
    SMOKE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="scratch-", dir=SMOKE))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove(folder: Path) -> None:
    """Removes a folder with all in it, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def program() -> list[str]:
    """The command `gradlearn` of the environment that runs this benchmark."""
    return [str(Path(sys.executable).parent / "gradlearn")]


def command(*arguments: str, watch: bool = False, extra: Mapping[str, str] | None = None) -> Finished:
    """Runs `gradlearn ARGUMENTS` from the repository's root and times it; `watch` samples its memory as it runs."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        environment = os.environ | dict(extra or {})
        start = time.perf_counter()
        child = subprocess.Popen([*program(), *arguments], stdout=out, stderr=err, cwd=ROOT, env=environment)
        seen = [0]
        sampler = threading.Thread(target=_sample, args=(child.pid, seen), daemon=True)
        if watch:
            sampler.start()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if watch:
            sampler.join()
        out.seek(0)
        err.seek(0)
        said = err.read().decode(errors="replace")[-2000:]
        return Finished(child.returncode, wall, _document(out.read().decode()), usage.ru_maxrss * 1024, seen[0], said)


class Worker:
    """A warm process that answers requests, one at a time: a JSON line each way."""

    def __init__(self, python: str, script: str, name: str, extra: Mapping[str, str] | None = None) -> None:
        self.script, self.name = script, name
        self.process = subprocess.Popen(
            [python, str(ROOT / "benchmarks" / script), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | dict(extra or {}),
            text=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to one request."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.script} {self.name} ended with {self.process.wait()}; run it by hand to see why")
        return json.loads(line)

    def close(self) -> None:
        """Ends it by ending its stdin."""
        self.process.communicate()


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _sample(pid: int, seen: list[int]) -> None:
    while True:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        sizes = dict(line.split(":", 1) for line in status.splitlines() if line.startswith("Rss"))
        if not sizes:  # ended, not yet waited for
            return
        seen[0] = max(seen[0], sum(int(sizes[key].split()[0]) for key in ("RssAnon", "RssShmem")) * 1024)
        time.sleep(0.02)


def train(*arguments: str, seed: int = 0) -> Row:
    """Runs `gradlearn train images ARGUMENTS --json`: one row with scores, steps and the whole command's wall time."""
    with scratch() as runs:
        done = command("train", "images", *arguments, "--seed", str(seed), "--runs", str(runs), "--json")
    if done.code or not done.document:
        raise SystemExit(f"gradlearn train images {' '.join(arguments)}: exit code {done.code}\n{done.said}")
    score = done.document["score"]
    stop, named = done.document["stop"], sorted({finding["name"] for finding in done.document["findings"]})
    return {
        "seed": seed,
        "test": score["test"],
        "valid": score["valid"],
        "steps": done.document["steps"],
        "wall_s": round(done.wall, 2),
        "stop": stop["reason"],
        "findings": ", ".join(named),
    }
