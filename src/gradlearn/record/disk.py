"""The disk: every system call of `record/` that changes a file is made here, so that a test can fail the k-th of them.

Whatever is to survive a crash is written under a spare name, fsynced, renamed, and its folder fsynced. A failed fsync
is never repeated on the same file: the second answer may lie (wiki.postgresql.org/wiki/Fsync_Errors). POSIX only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

Bytes = bytes | bytearray | memoryview

_SPARE = re.compile(r"\.(?:tmp|trash)-.+-\d+-[0-9a-f]{8}")
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = {errno.ENOSPC, errno.EDQUOT}


def why(error: OSError) -> str:
    """The reason in the system's words: 'No space left on device'."""
    return error.strerror or str(error)


def refusal(path: Path, error: OSError, what: str = "") -> str:
    """The line for a write that failed: where, why, what to do."""
    act = "free space" if error.errno in _FULL else "check the disk"
    return f"{path}: write failed: {why(error)}{what and f' ({what})'}; {act}"


def free(folder: Path) -> int:
    """Bytes that this user may still write on the disk of `folder`."""
    info = os.statvfs(folder)
    return info.f_bavail * info.f_frsize


def spare(folder: Path, kind: str, name: object) -> Path:
    """A name in `folder` that nobody else uses, for what is not yet ("tmp") or no longer ("trash") there."""
    return folder / f".{kind}-{name}-{os.getpid()}-{os.urandom(4).hex()}"


# ---- writing


def write_all(fd: int, data: Bytes) -> None:
    """All of `data`, however little each write takes."""
    rest = memoryview(data)
    while len(rest):
        rest = rest[_write(fd, rest) :]


def append(fd: int, data: bytes) -> tuple[int, OSError | None]:
    """How many bytes of `data` went out, and what stopped the others; one write when all is well."""
    done = 0
    try:
        while done < len(data):
            done += _write(fd, memoryview(data)[done:])
    except OSError as error:
        return done, error
    return done, None


def write_new(path: Path, chunks: Iterable[Bytes]) -> tuple[int, str]:
    """Write a file that must not exist yet, and fsync it; its size and the SHA-256 of the bytes handed to write."""
    fd = open_new(path)
    try:
        written = pour(fd, chunks)
        os.fsync(fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(fd)
        raise
    os.close(fd)  # may fail too: then the bytes are not safe
    return written


def open_new(path: Path) -> int:
    """A descriptor of a file that must not exist yet."""
    return os.open(path, _NEW, 0o666)


def pour(fd: int, chunks: Iterable[Bytes]) -> tuple[int, str]:
    """Write all chunks; their size and SHA-256."""
    size, digest = 0, hashlib.sha256()
    for chunk in chunks:
        write_all(fd, chunk)
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def replace(path: Path, data: Bytes) -> None:
    """Write `path` so that it is the old file or the new one at every instant.

    In a folder under a spare name its name is left to who makes that folder appear.
    """
    tmp = spare(path.parent, "tmp", path.name)
    try:
        write_new(tmp, [data])
        os.rename(tmp, path)
        if not _SPARE.fullmatch(path.parent.name):
            sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(tmp)
        raise


def open_log(path: Path) -> int:
    """A descriptor that appends to `path`, made if it is not there."""
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file")
    return fd


def reserve(path: Path, size: int) -> None:
    """Hold `size` bytes of the disk, to be given up when nothing else is left. Best effort."""
    with contextlib.suppress(OSError, AttributeError):
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)


def truncate(fd: int, size: int) -> None:
    """Cut an open file at `size` bytes."""
    os.ftruncate(fd, size)


def sync(fd: int) -> None:
    """Until this returns, a power cut may take what was written."""
    os.fsync(fd)


def close(fd: int) -> None:
    """Close a descriptor; an error is an error of the writes before it."""
    os.close(fd)


def _write(fd: int, data: memoryview) -> int:
    done = os.write(fd, data)
    if done <= 0:
        raise OSError(errno.EIO, "the disk took no bytes")
    return done


# ---- folders


def make_folder(folder: Path) -> bool:
    """Make `folder` durably; False if it is there already."""
    try:
        os.mkdir(folder)
    except FileExistsError:
        return False
    try:
        sync_folder(folder.parent)
    except OSError:
        with contextlib.suppress(OSError):
            os.rmdir(folder)
        raise
    return True


def make_private(folder: Path) -> None:
    """A new folder that nobody else can put anything into while it is filled."""
    os.mkdir(folder, 0o700)


def put(tmp: Path, final: Path) -> None:
    """Make a folder that `filling` left appear as `final`, durably. What was there waits as `final`.old and is dropped last,
    so a reader that looks at both names finds one of them complete at every instant.
    """
    old = aside(final)
    if os.path.lexists(final):
        remove(old)
        os.rename(final, old)
    os.rename(tmp, final)
    sync_folder(final.parent)
    with contextlib.suppress(OSError):
        remove(old)


def put_new(tmp: Path, final: Path) -> None:
    """Make the filled folder `tmp` appear as `final`, durably, if that name is free; raises FileExistsError if not."""
    open_to_all(tmp)
    sync_folder(tmp)
    try:
        rename(tmp, final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            raise FileExistsError(errno.EEXIST, "name is taken", str(final)) from error
        raise


def open_to_all(tmp: Path) -> None:
    """Who may look into the folder above may look into this one too."""
    with contextlib.suppress(OSError):  # a file system without modes
        os.chmod(tmp, stat.S_IMODE(os.stat(tmp.parent).st_mode))


def aside(path: Path) -> Path:
    """Where the former `path` waits while it is replaced."""
    return path.with_name(path.name + ".old")


def rename(old: Path, new: Path) -> None:
    """Rename onto a name that is free, durably."""
    if os.path.lexists(new):
        raise FileExistsError(errno.EEXIST, "name is taken", str(new))
    os.rename(old, new)
    sync_folder(new.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. A file system that cannot do that (EINVAL) has nothing to wait for."""
    fd = open_folder(folder)
    try:
        sync_names(fd)
    finally:
        os.close(fd)


def open_folder(folder: Path) -> int:
    """A descriptor of a folder, for `sync_names`."""
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def sync_names(fd: int) -> None:
    """`sync_folder` of an open one."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def remove(path: Path) -> None:
    """Remove a file, a link (not its target) or a folder of files, if there. A folder first loses its name at once."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)
        return
    trash = path if _SPARE.fullmatch(path.name) else spare(path.parent, "trash", path.name)
    if trash != path:
        os.rename(path, trash)
    for name in sorted(os.listdir(trash)):
        os.unlink(trash / name)
    os.rmdir(trash)


def sweep(folder: Path) -> None:
    """Remove what a killed process left under spare names. The caller holds the lock, so none of them is in use."""
    for name in sorted(os.listdir(folder)):
        if _SPARE.fullmatch(name):
            with contextlib.suppress(OSError):
                remove(folder / name)


# ---- reading


def read(path: Path, limit: int) -> bytearray:
    """The whole of a regular file of at most `limit` bytes, in private memory: one that shrinks meanwhile does no harm.

    Links are not followed and a FIFO does not block. Raises OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if info.st_size > limit:
            raise OSError(errno.EFBIG, f"{info.st_size} bytes exceed {limit}")
        data = bytearray(info.st_size)
        done = 0
        with memoryview(data) as view:
            while done < len(view) and (got := os.readv(fd, [view[done:]])):
                done += got
        del data[done:]
        return data
    finally:
        os.close(fd)
