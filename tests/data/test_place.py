"""The file system: nothing is opened that could hang, and links do not lead out."""

from __future__ import annotations

import os
import socket

import pytest

from gradlearn.data.place import follow, inside, load, open_regular
from gradlearn.data.reject import Bad


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "p")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(tmp_path / "s"))
        for name, kind in (("p", "FIFO"), ("s", "socket"), (".", "folder")):
            with pytest.raises(Bad, match=rf"not a regular file \({kind}\)"):
                open_regular(tmp_path / name)
    with pytest.raises(Bad, match=r"not a regular file \(device\)"):
        open_regular("/dev/null")


def test_links_are_followed_by_nobody_else(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "l").symlink_to("a")
    with pytest.raises(Bad, match="link"):
        open_regular(tmp_path / "l")
    assert load(follow(str(tmp_path / "l"), (str(tmp_path),))) == b"1"


def test_an_exchanged_file_is_not_opened(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"1")
    regular = os.lstat(tmp_path / "a")
    (tmp_path / "a").unlink()
    os.mkfifo(tmp_path / "a")
    monkeypatch.setattr(os, "lstat", lambda path: regular)
    with pytest.raises(Bad, match=r"not a regular file \(FIFO\)"):
        open_regular(tmp_path / "a")


def test_permission_is_named(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"1")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    with pytest.raises(Bad, match="permission denied"):
        load(tmp_path / "a")


def test_no_descriptor_is_left_open(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        with pytest.raises(Bad, match=r"file is empty \(0 bytes\)"):
            load(tmp_path / "a")
    assert before == (len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0)


def test_inside_is_by_folders_not_by_letters():
    assert inside("/a/b/c", "/a/b")
    assert inside("/a/b", "/a/b")
    assert not inside("/a/bc", "/a/b")
    assert inside("/a", "/")
