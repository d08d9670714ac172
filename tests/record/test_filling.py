"""Filling: every file and the folder's names are synced before the end, a refusal is told, no descriptor is left open."""

from __future__ import annotations

import errno
import hashlib
import os
import stat

import pytest

from gradlearn.record import disk
from gradlearn.record.filling import filling


def fill(folder):
    with filling(folder) as new:
        return [new(name, [name.encode(), b"x" * 10]) for name in ("a", "b", "c")]


def outcome(folder) -> int:
    try:
        fill(folder)
    except OSError as error:
        return error.errno or -1
    return 0


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_size_and_hash_are_of_what_is_there(tmp_path):
    for name, (size, digest) in zip("abc", fill(tmp_path / "new"), strict=True):
        data = (tmp_path / "new" / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest) == (11, digest)


def test_every_file_and_their_folder_are_synced_after_the_last_write(tmp_path, journal):
    fill(tmp_path / "new")
    kinds = [op[0] for op in journal.ops]
    made = {op[3] for op in journal.ops if op[0] == "make"}
    synced = {op[1] for op in journal.ops if op[0] in ("sync", "sync folder")}
    assert synced == made
    assert len(synced) == 4
    assert kinds.count("sync folder") == 1
    last = max(i for i, kind in enumerate(kinds) if kind in ("write", "make"))
    assert all(kind.startswith("sync") == (i > last) for i, kind in enumerate(kinds))


def test_any_refusal_is_told_and_no_file_stays_open(tmp_path, faulty):
    fill(tmp_path / "0")
    tool, before = faulty(), open_files()
    fill(tmp_path / "count")
    assert tool.calls.count("fsync") == 4
    told = 0
    for k in range(1, tool.count + 1):
        tried = faulty(k, errno.EIO)
        said = outcome(tmp_path / str(k))
        assert said == (0 if tried.calls[k - 1] == "chmod" else errno.EIO)  # there are file systems without modes
        told += said > 0
        assert open_files() == before
    assert told == tool.count - 1


def test_nobody_else_may_write_while_it_is_filled(tmp_path):
    os.chmod(tmp_path, 0o755)
    with filling(tmp_path / "new") as new:
        new("a", [b"1"])
        assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o755


def test_what_goes_wrong_inside_goes_out_and_nothing_is_synced(tmp_path, faulty):
    tool, before = faulty(), open_files()

    def contents():
        yield b"1"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), filling(tmp_path / "new") as inner:
        inner("a", contents())
    assert "fsync" not in tool.calls
    assert open_files() == before


def test_a_replaced_file_leaves_its_name_to_who_makes_its_folder_appear(tmp_path, faulty):
    folder = disk.spare(tmp_path, "tmp", "x")
    disk.make_private(folder)
    tool = faulty()
    disk.replace(folder / "a", b"new")
    assert tool.calls == ["open", "write", "fsync", "close", "rename"]
    tool = faulty()
    disk.put_new(folder, tmp_path / "there")
    assert tool.calls == ["chmod", "open", "fsync", "close", "rename", "open", "fsync", "close"]
