"""Files that annotations name: inside the data set or refused, whole files only, and never one that could hang."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from gradlearn.data.place import follow, inside, irregular, open_regular, refused
from gradlearn.data.reject import Bad
from gradlearn.errors import printable

SHEET_BYTES = 1 << 26  # a list, an XML or a label file beyond this is none


class Folder:
    """A folder below which names are looked up; where its subfolders really are is asked once for each."""

    def __init__(self, path: str, roots: Sequence[str]) -> None:
        self.path, self.roots = path, roots
        self.known: dict[str, str] = {}

    def resolve(self, name: str) -> str | None:
        """The real path of a regular file of this name, None where there is none; raises Bad for one that lies outside."""
        if not name or "\0" in name or "\\" in name or name.startswith("/") or ".." in name.split("/"):
            raise Bad(f"image file name '{printable(name)}' leaves the images folder", "refused")
        above, _, last = name.rpartition("/")
        if above not in self.known:
            self.known[above] = os.path.realpath(os.path.join(self.path, above))
        if not any(inside(self.known[above], root) for root in self.roots):
            raise Bad("link leaves the data root", "pass --follow-links-to DIR to allow it")
        path = os.path.join(self.known[above], last)
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                path = follow(path, self.roots)
                mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise refused(error) from None
        if not stat.S_ISREG(mode):
            raise irregular(mode)
        return path


def text(path: str, roots: Sequence[str], limit: int = SHEET_BYTES) -> bytes:
    """All bytes of a small file, none of an empty one; raises Bad, also for a link that leads out, and FileNotFoundError."""
    try:
        info = os.lstat(path)
        if stat.S_ISLNK(info.st_mode):
            path = follow(path, roots)
            info = os.stat(path)
        if stat.S_ISREG(info.st_mode) and not info.st_size:
            return b""
        with open_regular(path, limit) as file:
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refused(error) from None
