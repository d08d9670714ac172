"""Fault tools: an `os` that fails the k-th call that changes a disk, one that keeps a journal, what a power cut may leave."""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from gradlearn.errors import ResourceTrouble

COUNTED = {
    "open", "write", "fsync", "close", "rename", "mkdir", "unlink", "rmdir", "ftruncate", "chmod", "statvfs", "posix_fallocate",
}  # fmt: skip


class Crash(BaseException):
    """The process ended here."""


class Faulty:
    """`os` for `disk`: from call `at` on (or only there) every changing call fails; after a Crash nothing happens any more."""

    def __init__(self, at: int = 0, fault: int | str = 0, forever: bool = False) -> None:
        self.at, self.fault, self.forever = at, fault, forever
        self.count = 0
        self.dead = False
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in COUNTED:
            return real
        return lambda *args, **kwargs: self._call(name, real, args, kwargs)

    def _call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.count += 1
        self.calls.append(name)
        hit = self.at and (self.count >= self.at if self.forever or self.fault == "crash" else self.count == self.at)
        if name == "fsync":
            real = _no_wait  # waiting for the disk is not what is tested here
        if not hit:
            return real(*args, **kwargs)
        if name == "close":
            real(*args, **kwargs)  # the system frees it whatever it says
        if self.fault == "crash":
            if name == "close" and self.dead:  # what a with statement does on the way out is not the process any more
                return None
            self.dead = True
            raise Crash
        if self.fault == "short":
            if name == "write":
                return real(args[0], args[1][: max(1, len(args[1]) // 2)])
            return None if name == "close" else real(*args, **kwargs)
        assert isinstance(self.fault, int)
        raise OSError(self.fault, os.strerror(self.fault))


def _no_wait(fd: int) -> None:
    os.fstat(fd)


class Journal:
    """`os` for `disk` that does everything and writes down what a disk would see: [(operation, object, detail)]."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.ops: list[tuple[Any, ...]] = []
        self.fds: dict[int, tuple[int, int]] = {}  # fd: (object, position)
        self.objects: dict[int, int] = {}  # inode: object; a system uses inodes again

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        new = bool(flags & os.O_CREAT) and not os.path.lexists(path)
        fd = os.open(path, flags, mode)
        info = os.fstat(fd)
        if new:
            self._made(path, info.st_ino, False)
        self.fds[fd] = (self._object(info.st_ino), info.st_size if flags & os.O_APPEND else 0)
        return fd

    def write(self, fd: int, data: Any) -> int:
        done = os.write(fd, data)
        inode, position = self.fds[fd]
        self.ops.append(("write", inode, position, bytes(data)[:done]))
        self.fds[fd] = (inode, position + done)
        return done

    def posix_fallocate(self, fd: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    def ftruncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)
        self.ops.append(("cut", self.fds[fd][0], size))
        self.fds[fd] = (self.fds[fd][0], size)

    def fsync(self, fd: int) -> None:
        kind = "sync folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "sync"
        self.ops.append((kind, self._object(os.fstat(fd).st_ino)))

    def mkdir(self, path: Any, mode: int = 0o777) -> None:
        os.mkdir(path, mode)
        self._made(path, os.stat(path).st_ino, True)

    def rename(self, old: Any, new: Any) -> None:
        assert os.path.dirname(old) == os.path.dirname(new)
        os.rename(old, new)
        self.ops.append(("rename", self._folder(old), os.path.basename(old), os.path.basename(new)))

    def unlink(self, path: Any) -> None:
        folder = self._folder(path)
        os.unlink(path)
        self.ops.append(("drop", folder, os.path.basename(path)))

    def rmdir(self, path: Any) -> None:
        folder = self._folder(path)
        os.rmdir(path)
        self.ops.append(("drop", folder, os.path.basename(path)))

    def mark(self, what: Any) -> None:
        self.ops.append(("mark", what))

    def _made(self, path: Any, inode: int, is_folder: bool) -> None:
        self.objects[inode] = 10**12 + len(self.ops)
        self.ops.append(("make", self._folder(path), os.path.basename(path), self.objects[inode], is_folder))

    def _object(self, inode: int) -> int:
        return self.objects.get(inode, inode)

    def _folder(self, path: Any) -> int:
        return self._object(os.stat(os.path.dirname(path)).st_ino)


class Disk:
    """What may be on a disk after a power cut: the journal up to a point, without some of the operations not yet fsynced."""

    def __init__(self, ops, root):
        self.folders, self.files = {root: {}}, {}
        self.root = root
        for op in ops:
            getattr(self, op[0].replace(" ", "_"))(*op[1:])

    def make(self, folder, name, inode, is_folder):
        if folder in self.folders:
            self.folders[folder][name] = inode
        (self.folders if is_folder else self.files).setdefault(inode, {} if is_folder else bytearray())

    def write(self, inode, at, data):
        content = self.files.setdefault(inode, bytearray())
        content.extend(bytes(max(0, at - len(content))))  # a hole: the write before it is not there
        content[at : at + len(data)] = data

    def cut(self, inode, size):
        content = self.files.setdefault(inode, bytearray())
        del content[size:]
        content.extend(bytes(size - len(content)))

    def rename(self, folder, old, new):
        names = self.folders.get(folder, {})
        if old in names and not (names.get(new) in self.folders and self.folders[names[new]]):
            names[new] = names.pop(old)

    def drop(self, folder, name):
        self.folders.get(folder, {}).pop(name, None)

    def sync(self, inode):
        pass

    def sync_folder(self, inode):
        pass

    def mark(self, what):
        pass

    def copy_to(self, path, inode=None):
        path.mkdir()
        for name, child in self.folders[inode or self.root].items():
            if child in self.folders:
                self.copy_to(path / name, child)
            else:
                (path / name).write_bytes(self.files[child])


def unsynced(ops: list[tuple[Any, ...]]) -> list[int]:
    """Operations that no later fsync made durable; a rename or a name waits for the fsync of its folder."""
    loose, files, folders = [], set(), set()
    for i in range(len(ops) - 1, -1, -1):
        kind, key = ops[i][0], ops[i][1]
        if kind == "sync":
            files.add(key)
        elif kind == "sync folder":
            folders.add(key)
        elif kind != "mark" and key not in (files if kind in ("write", "cut") else folders):
            loose.append(i)
    return loose


def states(ops: list[tuple[Any, ...]], chance: random.Random) -> Iterator[list[tuple[Any, ...]]]:
    """Each single loose operation dropped, all of them, some at random, the last write torn."""
    loose = unsynced(ops)
    chosen = [set(), set(loose), *({i} for i in loose)]
    chosen += [{i for i in loose if chance.random() < 0.5} for _ in range(3 if loose else 0)]
    for dropped in chosen:
        yield [op for i, op in enumerate(ops) if i not in dropped]
    if loose and ops[loose[0]][0] == "write":
        _, inode, at, data = ops[loose[0]]
        yield [*ops[: loose[0]], ("write", inode, at, data[: len(data) // 2])]
        yield [*ops[: loose[0]], ("write", inode, at, bytes(len(data)))]


def outcome(act: Callable[[], object]) -> str:
    """What became of it: "" when done, "crash", or the line of the error, whose exit code is that of a disk that refuses."""
    try:
        act()
    except ResourceTrouble as error:
        return f"{error.code} {error}"
    except Crash:
        return "crash"
    return ""


def tiny(t: int) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """The state of a tiny run after t steps: a pure function of t."""
    base = torch.arange(40, dtype=torch.float32) * 0.37 + t
    model = {"fc.weight": base[:12].view(3, 4), "fc.bias": base[12:15], "bn.count": torch.tensor(t)}
    update = {"m": base[15:].clone(), "mask": base[:5] > 3}
    return {"model": model, "update": update}, {"t": t, "rate": 0.1 + t / 3, "dials": {"clip": 0.0, "end": 40}}
