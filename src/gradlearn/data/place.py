"""The file system, guarded: regular files only, links only inside the root, nothing opened that could hang.

A FIFO, a socket or a device is never opened; a file is opened without following a link and looked at again once it is
open, so that it cannot be exchanged in between (rule D8).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from gradlearn.data.reject import Bad
from gradlearn.errors import InputTrouble, printable

KINDS = (
    (stat.S_ISFIFO, "FIFO"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISBLK, "device"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISDIR, "folder"),
    (stat.S_ISLNK, "link"),
)
FILE_BYTES = 1 << 30  # an encoded picture beyond this is no picture


def irregular(mode: int) -> Bad:
    """What a thing that is not a regular file is."""
    return Bad(f"not a regular file ({next((name for test, name in KINDS if test(mode)), 'unknown')})", "remove it")


def refused(error: OSError) -> Bad:
    """Why the system would not let us read."""
    if isinstance(error, PermissionError):
        return Bad("permission denied", "make it readable or remove it")
    if error.errno == errno.ELOOP:
        return Bad("link loop", "remove the link")
    if isinstance(error, FileNotFoundError):
        return Bad("file not found", "leave the data alone while it is read")
    return Bad(f"cannot be read ({error.strerror or error})", "check the file and the disk")


def open_regular(path: str | os.PathLike[str], limit: int | None = FILE_BYTES) -> BinaryIO:
    """The file, open for reading; raises Bad for all that is not a plain, readable file of 1 to `limit` bytes."""
    try:
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            raise irregular(mode)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise refused(error) from None
    info = os.fstat(fd)
    bad = None
    if not stat.S_ISREG(info.st_mode):
        bad = irregular(info.st_mode)
    elif not info.st_size:
        bad = Bad("file is empty (0 bytes)", "remove it")
    elif limit is not None and info.st_size > limit:
        bad = Bad(f"file of {info.st_size / 1e9:.3g} GB exceeds {limit / 1e9:.3g} GB", "resize it or remove it")
    if bad is not None:
        os.close(fd)
        raise bad
    return open(fd, "rb")


def load(path: str | os.PathLike[str]) -> bytes:
    """All bytes of a regular file; raises Bad."""
    with open_regular(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise refused(error) from None


def follow(link: str, roots: Sequence[str]) -> str:
    """The real path behind a link that stays inside one of the `roots` (real paths themselves); raises Bad."""
    try:
        real = os.path.realpath(link, strict=True)
    except FileNotFoundError:
        raise Bad(f"dangling link (to '{printable(os.readlink(link))}')", "remove the link") from None
    except OSError as error:
        raise refused(error) from None
    if not any(inside(real, root) for root in roots):
        raise Bad("link leaves the data root", "pass --follow-links-to DIR to allow it")
    return real


def inside(path: str, root: str) -> bool:
    """Whether a real path is a real folder or below it."""
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def roots(folder: Path, follow_links_to: str | os.PathLike[str] | None) -> tuple[str, ...]:
    """The real folders in which links may end."""
    return tuple(os.path.realpath(p) for p in (folder, follow_links_to) if p is not None)


def scan(folder: str, where: str) -> list[os.DirEntry[str]]:
    """The entries of a folder that are not hidden, in no order; raises InputTrouble at `where`."""
    try:
        with os.scandir(folder) as entries:
            return [e for e in entries if not e.name.startswith(".")]
    except OSError as error:
        bad = refused(error)
        raise InputTrouble(f"{printable(where)}: {bad.what}; {bad.remedy}") from None
