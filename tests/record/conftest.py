"""Fault tools as fixtures (faults.py), and a folder in memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradlearn.record import disk

from .faults import Crash, Faulty, Journal, tiny


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is room for it: these tests make and remove thousands of files."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and disk.free(memory) > 256 << 20:
        path = Path(tempfile.mkdtemp(dir=memory))
        yield path
        shutil.rmtree(path)
    else:
        yield tmp_path_factory.mktemp("record")


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Faulty]]:
    """faulty(at, fault, forever) puts the tool in place of the one before; `faulty()` fails nothing and skips fsync."""

    def use(at: int = 0, fault: int | str = 0, forever: bool = False) -> Faulty:
        tool = Faulty(at, fault, forever)
        monkeypatch.setattr(disk, "os", tool)
        return tool

    use()
    yield use
    monkeypatch.setattr(disk, "os", os)


@pytest.fixture
def crash() -> type[Crash]:
    return Crash


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """Every change of the disk from now on, written down."""
    tool = Journal(tmp_path)
    monkeypatch.setattr(disk, "os", tool)
    return tool


@pytest.fixture
def state():
    """The state of a tiny run after t steps."""
    return tiny
