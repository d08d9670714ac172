from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gradlearn.errors import CheckpointTrouble, InputTrouble, ResourceTrouble
from gradlearn.record import folder, settings
from gradlearn.record.log import Log


def test_runs_are_numbered(tmp_path):
    runs = tmp_path / "deep" / "runs"
    assert folder.create(runs, "images") == runs / "images-001"
    assert folder.create(runs, "images") == runs / "images-002"
    assert folder.create(runs, "table") == runs / "table-001"
    (runs / "images-041").mkdir()
    (runs / "images-best").mkdir()
    (runs / "images-1").mkdir()
    assert folder.create(runs, "images") == runs / "images-042"
    (runs / "images-999").mkdir()
    assert folder.create(runs, "images") == runs / "images-1000"
    assert folder.create(runs, "images") == runs / "images-1001"


def test_nobody_gets_the_folder_of_another(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: folder.create(tmp_path / "runs", "images"), range(40)))
    assert sorted(path.name for path in made) == [f"images-{i:03d}" for i in range(1, 41)]


def test_a_name_makes_that_folder_and_is_not_taken_twice(tmp_path):
    path = folder.create(tmp_path, "images", "night")
    assert path == tmp_path / "night"
    assert folder.create(tmp_path, "images", "night") == path  # still empty
    (path / "run.toml").write_text("format = 1")
    line = f"{path}: exists; choose another --name or resume it with: gradlearn resume {path}"
    with pytest.raises(InputTrouble, match=f"^{re.escape(line)}$"):
        folder.create(tmp_path, "images", "night")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputTrouble, match="file: exists; "):
        folder.create(tmp_path, "images", "file")


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "-x", "a/b", "/a", "a\\b", "a\n", "\x1b[31m", "a\0", "x" * 201, "\u202e"])
def test_bad_names_are_refused(tmp_path, name):
    with pytest.raises(InputTrouble, match=r"^--name '.*': cannot be a name; ") as caught:
        folder.create(tmp_path / "runs", "images", name)
    assert str(caught.value).isprintable()
    assert os.listdir(tmp_path / "runs") == []


def test_good_names_are_taken(tmp_path):
    for name in ("a", "A 1", "été", "a.b-c_d", "100%"):
        assert folder.create(tmp_path, "images", name).is_dir()


def test_a_place_that_cannot_hold_runs_is_one_line(tmp_path, faulty):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputTrouble, match=r"file: is not a folder; choose another with --runs DIR$"):
        folder.create(tmp_path / "file", "images")
    with pytest.raises(InputTrouble, match=r"file: is not a folder; choose another with --runs DIR$"):
        folder.create(tmp_path / "file" / "runs", "images")
    faulty(1, errno.EROFS, forever=True)
    with pytest.raises(ResourceTrouble, match=r"cannot make a run folder \(Read-only file system\); choose another"):
        folder.create(tmp_path / "runs", "images")


def test_a_run_is_found_and_a_near_miss_is_helped(tmp_path):
    for name in ("images-001", "images-002", "night"):
        settings.write(folder.create(tmp_path, "images", name), {"task": "images"})
    (tmp_path / "other").mkdir()
    assert folder.open_run(tmp_path / "night") == tmp_path / "night"
    with pytest.raises(InputTrouble, match=r"nigt: run not found; did you mean 'night'\?$"):
        folder.open_run(tmp_path / "nigt")
    with pytest.raises(InputTrouble, match=r"zzz: run not found; known: images-001, images-002, night$"):
        folder.open_run(tmp_path / "zzz")
    with pytest.raises(InputTrouble, match=r"other: not a run folder \(no run\.toml\); known: "):
        folder.open_run(tmp_path / "other")
    with pytest.raises(InputTrouble, match=r"a/b: run not found; give the folder of a run$"):
        folder.open_run(tmp_path / "none" / "a" / "b")
    for _ in range(60):
        settings.write(folder.create(tmp_path, "images"), {})
    with pytest.raises(InputTrouble, match=r"zzz: run not found; 63 runs are in "):
        folder.open_run(tmp_path / "zzz")


# ---- one process writes a run


def test_the_lock_is_held_by_one_and_freed(tmp_path):
    with folder.lock(tmp_path):
        line = f"{tmp_path}: locked by process {os.getpid()}; stop it or use another --name"
        with pytest.raises(CheckpointTrouble, match=f"^{re.escape(line)}$") as caught, folder.lock(tmp_path):
            pass
        assert caught.value.code == 4
    with folder.lock(tmp_path):
        pass
    with pytest.raises(KeyError), folder.lock(tmp_path):
        raise KeyError
    with folder.lock(tmp_path):
        pass


HOLDER = """
import os, sys, time
from pathlib import Path
from gradlearn.record import folder
with folder.lock(Path(sys.argv[1])):
    up, say = os.pipe()
    child = os.fork() if sys.argv[2] == "fork" else 1
    if child == 0:
        os.write(say, b".")  # it runs, and has let go of what it inherited
        time.sleep(60)
    if child > 1:
        os.read(up, 1)
    print(child, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("mode", ["plain", "fork"])
def test_another_process_is_named_and_its_kill_frees_the_lock(tmp_path, mode):
    """Also where a forked child of it lives on: a data worker must not keep a dead run locked."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), mode], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(CheckpointTrouble, match=rf"locked by process {holder.pid}; "), folder.lock(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with folder.lock(tmp_path):
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    finally:
        holder.stdout.close()
        if mode == "fork":
            os.kill(child, signal.SIGKILL)


def test_a_lock_without_a_number_is_still_a_lock(tmp_path):
    with folder.lock(tmp_path):
        (tmp_path / ".lock").write_text("rubbish")
        with pytest.raises(CheckpointTrouble, match="locked by another process; "), folder.lock(tmp_path):
            pass


def test_a_folder_that_cannot_be_locked_is_one_line(tmp_path):
    with (
        pytest.raises(ResourceTrouble, match=r"none: cannot be locked \(No such file or directory\)"),
        folder.lock(tmp_path / "none"),
    ):
        pass


# ---- a run that never started


def started(tmp_path):
    path = folder.create(tmp_path, "images")
    settings.write(path, {"task": "images"})
    for name in ("steps", "scores", "findings", "actions"):
        Log(path, name).close()
    (path / "checkpoints").mkdir()
    (path / "pictures").mkdir()
    (path / "pictures" / "lint.json").write_text("[]")
    (path / "pictures" / "mistake-00.png").write_bytes(b"")
    (path / ".tmp-run.toml-1-0123abcd").write_text("half")
    return path


def test_a_run_that_never_started_leaves_nothing(tmp_path):
    path = started(tmp_path)
    with folder.lock(path):
        assert folder.discard(path)
    assert os.listdir(tmp_path) == []
    assert not folder.discard(path)


@pytest.mark.parametrize(
    "name", ["notes.txt", "pictures/holiday.JPG", "pictures/a/b", "checkpoints/x", "steps.jsonl", "model/x", "report.html"]
)
def test_what_is_not_ours_or_was_begun_stays(tmp_path, name):
    path = started(tmp_path)
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_text("precious")
    assert not folder.discard(path)
    assert (path / name).read_text() == "precious"
    assert (path / "run.toml").is_file()


def test_waiting_is_not_part_of_a_lock(tmp_path):
    with folder.lock(tmp_path):
        start = time.perf_counter()
        with pytest.raises(CheckpointTrouble), folder.lock(tmp_path):
            pass
        assert time.perf_counter() - start < 1.0


def test_a_begun_run_is_complete_from_the_first_instant_it_can_be_seen(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    seen: list[list[str]] = []

    def fill(new: Path) -> None:
        settings.write(new, {"task": "images"})
        seen.append([p.name for p in runs.iterdir() if not p.name.startswith(".")])

    first, second = folder.begin(runs, "images", None, fill), folder.begin(runs, "images", None, fill)
    assert seen == [[], ["images-001"]]
    assert [first.name, second.name] == ["images-001", "images-002"]
    assert settings.read(first)["task"] == "images"
    with pytest.raises(InputTrouble, match="exists"):
        folder.begin(runs, "images", "images-001", fill)
    assert sorted(p.name for p in runs.iterdir()) == ["images-001", "images-002"]


def test_a_run_that_could_not_be_filled_leaves_nothing_behind(tmp_path: Path) -> None:
    def fill(new: Path) -> None:
        (new / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.begin(tmp_path, "images", "x", fill)
    assert list(tmp_path.iterdir()) == []
