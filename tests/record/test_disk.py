from __future__ import annotations

import ast
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gradlearn.record
from gradlearn.record import disk

HOME = Path(gradlearn.record.__file__).parent
CHANGING = {"open", "write", "pwrite", "fsync", "fdatasync", "rename", "replace", "mkdir", "makedirs", "unlink", "remove", "rmdir",
            "ftruncate", "truncate", "chmod", "link", "symlink", "close", "touch", "write_text", "write_bytes"}  # fmt: skip


def test_only_this_file_changes_the_disk():
    """Otherwise a fault test fails calls that nobody makes."""
    for path in HOME.glob("*.py"):
        if path.name == "disk.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
                owner = ast.unparse(node.func.value)
                assert owner == "disk" or owner.startswith(("self", "one", "text", "str(")), f"{path.name}: {ast.unparse(node)}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "open", path.name


def test_importing_the_record_imports_no_torch():
    modules = ", ".join(f"gradlearn.record.{path.stem}" for path in HOME.glob("*.py") if path.stem != "__init__")
    program = f"import sys, {modules}\nprint(sorted({{'torch', 'numpy', 'safetensors'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_no_name_read_from_a_file_can_run():
    """No pickle, eval, import by name, subprocess anywhere in the record."""
    words = {
        "pickle",
        "eval",
        "exec",
        "importlib",
        "__import__",
        "subprocess",
        "shelve",
        "marshal",
        "yaml",
        "joblib",
        "ctypes",
        "socket",
    }
    for path in HOME.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Name) and node.id in words), path.name
            assert not (isinstance(node, ast.Import) and words & {a.name.split(".")[0] for a in node.names}), path.name
            assert not (isinstance(node, ast.ImportFrom) and node.module in words), path.name
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "np.load", "os.system")), path.name


def test_a_file_is_never_written_over(tmp_path):
    path = tmp_path / "a"
    assert disk.write_new(path, [b"one", b"two"])[0] == 6
    with pytest.raises(FileExistsError):
        disk.write_new(path, [b"x"])
    (tmp_path / "link").symlink_to(tmp_path / "b")
    with pytest.raises(OSError):
        disk.write_new(tmp_path / "link", [b"x"])
    assert path.read_bytes() == b"onetwo"
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, "short", "crash"])
def test_a_replaced_file_is_the_old_or_the_new_one(tmp_path, faulty, crash, fault):
    for k in range(1, 12):
        path = tmp_path / f"{k}" / "a"
        path.parent.mkdir()
        path.write_bytes(b"old")
        tool = faulty(k, fault)
        try:
            disk.replace(path, b"new one")
            assert path.read_bytes() == b"new one"
        except (OSError, crash):
            assert path.read_bytes() in (b"old", b"new one")
        left = os.listdir(path.parent)
        assert left == ["a"] or (fault == "crash" and len(left) == 2)
        faulty()
        disk.sweep(path.parent)
        assert os.listdir(path.parent) == ["a"]
    assert tool.count < 11


def test_a_replaced_file_is_on_the_disk_before_its_name_and_then_its_name(tmp_path, faulty):
    tool = faulty()
    disk.replace(tmp_path / "a", b"new")
    assert tool.calls == ["open", "write", "fsync", "close", "rename", "open", "fsync", "close"]


def test_reading_does_not_block_follow_or_overflow(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert disk.read(tmp_path / "file", 5) == b"12345"
    for name, limit in (("fifo", 9), ("link", 9), ("file", 4), (".", 9)):
        with pytest.raises(OSError):
            disk.read(tmp_path / name, limit)


def test_removing_does_not_follow_links(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(outside)
    (tmp_path / "link").symlink_to(outside)
    disk.remove(tmp_path / "folder")
    disk.remove(tmp_path / "link")
    disk.remove(tmp_path / "nothing")
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(outside) == ["a"]


def test_sweeping_takes_only_spare_names(tmp_path):
    for name in (".tmp-a-1-0123abcd", ".tmp-a", ".trash", "tmp-a-1-0123abcd", ".tmp-a-1-0123abcd.txt"):
        (tmp_path / name).mkdir()
    disk.sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".tmp-a", ".tmp-a-1-0123abcd.txt", ".trash", "tmp-a-1-0123abcd"]


def test_the_line_of_a_refusal_says_what_to_do(tmp_path):
    full, broken = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), OSError(errno.EIO, os.strerror(errno.EIO))
    assert disk.refusal(tmp_path, full) == f"{tmp_path}: write failed: Disk quota exceeded; free space"
    assert disk.refusal(tmp_path, broken, "model") == f"{tmp_path}: write failed: Input/output error (model); check the disk"
