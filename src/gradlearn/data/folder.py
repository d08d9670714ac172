"""Image folders, `<class>/<file>`, with or without train, val|valid|validation and test folders above.

Listing opens no picture: it finds the names, in natural order, and refuses what is not a plain file of the data set.
Files of a class may lie in folders of their own below it. Hidden files and what systems leave behind (Thumbs.db) are
passed over; a file whose name says that it is a picture must be one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from gradlearn.data.classes import ordered
from gradlearn.data.header import sniff
from gradlearn.data.name import natural
from gradlearn.data.place import follow, inside, irregular, open_regular, roots, scan
from gradlearn.data.reject import Bad, Reject, reject
from gradlearn.data.source import PART_NAMES, PARTS, Chunk, Found, Part, joined
from gradlearn.errors import InputTrouble, nearest, printable

PICTURES = frozenset(["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif", "tif", "tiff"])
FOREIGN = frozenset(  # pictures that are not read: to find one is an error, not to pass it over
    (
        *("heic", "heif", "avif", "jp2", "j2k", "jpx", "jxl", "svg", "psd", "fits", "fit", "fts", "ico", "tga", "ppm"),
        *("pgm", "pbm", "pnm", "pcx", "exr", "hdr", "raw", "cr2", "cr3", "nef", "arw", "dng"),
    )
)
LEFT_BEHIND = frozenset(("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"))
DEPTH = 32
ENTRIES = 10_000_000
RUN = 64  # pictures in a chunk


@dataclass
class Walk:
    """One walk over a data set: where it may go, and what it found on the way."""

    roots: tuple[str, ...]
    real: dict[str, str] = field(default_factory=dict)  # path -> where the link ends
    rejects: list[Reject] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)  # files that are no pictures and do not claim to be
    entries: int = 0

    def folders(self, folder: str, where: str) -> dict[str, str]:
        """The folders in a folder: name -> real path. Raises InputTrouble for a link that may not be followed."""
        found: dict[str, str] = {}
        for entry in scan(folder, where):
            if entry.name in LEFT_BEHIND:
                continue
            if entry.is_symlink():
                try:
                    real = follow(entry.path, self.roots)
                except Bad as bad:
                    raise InputTrouble(reject(joined(where, entry.name), bad).line) from None
                if os.path.isdir(real):
                    found[entry.name] = real
            elif entry.is_dir(follow_symlinks=False):
                found[entry.name] = entry.path
            elif not entry.is_file(follow_symlinks=False):
                bad = irregular(entry.stat(follow_symlinks=False).st_mode)
                raise InputTrouble(reject(joined(where, entry.name), bad).line)
        return found

    def files(self, folder: str, where: str, below: str = "", above: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
        """(name, path to open) of each picture in and below a folder; `above`: the real folders around it."""
        above = (*above, os.path.realpath(folder))
        entries = sorted(scan(folder, joined(where, below)), key=lambda e: natural(e.name))
        self.entries += len(entries)
        if len(above) > DEPTH or self.entries > ENTRIES:
            what = f"deeper than {DEPTH} folders" if len(above) > DEPTH else f"more than {ENTRIES} files"
            raise InputTrouble(f"{printable(joined(where, below))}: {what}; give a smaller folder")
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            try:
                path, mode = self.target(entry, above)
            except Bad as bad:
                self.rejects.append(reject(joined(where, name), bad))
                continue
            if stat.S_ISDIR(mode):
                if entry.name not in LEFT_BEHIND:
                    yield from self.files(path, where, name, above)
            elif claims(entry.name) or _is_picture(path):
                yield name, path
            else:
                self.passed.append(joined(where, name))

    def target(self, entry: os.DirEntry[str], above: tuple[str, ...]) -> tuple[str, int]:
        """Where to open an entry, and S_IFREG or S_IFDIR; raises Bad for all else."""
        if entry.is_symlink():
            path = follow(entry.path, self.roots)
            mode = os.stat(path).st_mode
            if path in above or inside(above[-1], path):
                raise Bad("link loop", "remove the link")
        elif entry.is_file(follow_symlinks=False):
            return entry.path, stat.S_IFREG
        else:
            path, mode = entry.path, entry.stat(follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise irregular(mode)
        return path, mode


def claims(name: str) -> bool:
    """Whether a file's name says that it is a picture."""
    extension = name.rpartition(".")[2].lower()
    return extension in PICTURES or extension in FOREIGN


def _is_picture(path: str) -> bool:
    """Whether a file with another name is a picture all the same."""
    try:
        with open_regular(path) as file:
            sniff(file.read(16))
    except Bad:
        return False
    return True


def read_folder(path: Path, *, allow_empty_class: bool, follow_links_to: str | os.PathLike[str] | None) -> Found:
    """The pictures of an image folder by part and class, in natural order of their names; raises InputTrouble."""
    where = str(path)
    walk = Walk(roots(path, follow_links_to))
    folders, notes = _parts(walk, os.path.realpath(path), where)
    listed = {part: _class_folders(walk, folder, joined(where, name)) for part, (name, folder) in folders.items()}
    at = {part: joined(where, name) for part, (name, _) in folders.items()}
    classes = ordered(list(listed["train"]), at["train"])
    parts = {part: _list(walk, listed[part], classes, where, at[part], folders[part][0]) for part in PARTS if part in listed}
    filled = np.bincount(parts["train"].labels, minlength=len(classes))
    for name, n in zip(classes, filled.tolist(), strict=True):
        prefix = f"{printable(joined(at['train'], name))}"
        if not n and not allow_empty_class and not any(r.where.startswith(prefix + "/") for r in walk.rejects):
            raise InputTrouble(f"{prefix}: class folder is empty; add images or pass --allow-empty-class")
    if walk.passed:
        what = f"{len(walk.passed)} files that are no pictures passed over"
        notes.append({"level": "info", "what": what, "count": len(walk.passed), "examples": walk.passed[:5]})
    return Found("folder", where, classes, True, parts, notes, walk.rejects)


def _parts(walk: Walk, folder: str, where: str) -> tuple[dict[str, tuple[str, str]], list]:
    """part -> (name of its folder, "" for the whole; real path), and lint rows about folders that are no part."""
    folders = walk.folders(folder, where)
    if not folders:
        raise _no_classes(where)
    parts: dict[str, tuple[str, str]] = {}
    for name in sorted(folders, key=natural):
        part = PART_NAMES.get(name.casefold())
        if part in parts:
            both = f"'{printable(parts[part][0])}' and '{printable(name)}' are both for {part}"
            raise InputTrouble(f"{printable(where)}: {both}; keep one")
        if part is not None:
            parts[part] = (name, folders[name])
    others = sorted((n for n in folders if n.casefold() not in PART_NAMES), key=natural)
    if others and not ("train" in parts and walk.folders(parts["train"][1], joined(where, parts["train"][0]))):
        return {"train": ("", folder)}, []  # a class may be called 'train'
    if "train" not in parts:
        raise InputTrouble(f"{printable(where)}: no 'train' folder beside '{next(iter(parts.values()))[0]}'; add one")
    what = f"{len(others)} folders beside train passed over"
    return parts, [{"level": "info", "what": what, "count": len(others), "examples": others[:5]}] if others else []


def _no_classes(where: str) -> InputTrouble:
    here = printable(where)
    return InputTrouble(f"{here}: no class folders; expected {here}/<class>/<image>")


def _class_folders(walk: Walk, folder: str, where: str) -> dict[str, str]:
    found = walk.folders(folder, where)
    if not found:
        raise _no_classes(where)
    return found


def _list(walk: Walk, folders: dict[str, str], classes: tuple[str, ...], root: str, where: str, part: str) -> Part:
    """All pictures of one part, class after class."""
    names: list[str] = []
    paths: dict[int, str] = {}  # only where the path is not root/name
    labels: list[int] = []
    for name in sorted(folders, key=natural):
        before, prefix = len(names), f"{part}/{name}" if part else name
        for below, path in walk.files(folders[name], joined(where, name)):
            full = f"{prefix}/{below}"
            if path != os.path.join(walk.roots[0], full):
                paths[len(names)] = path
            names.append(full)
        if name not in classes and (len(names) > before):
            what = f"class '{printable(name)}' is not in train{printable(nearest(name, classes))}"
            raise InputTrouble(f"{printable(joined(where, name))}: {what}; add it to train or remove it")
        labels += [classes.index(name) if name in classes else -1] * (len(names) - before)

    def chunks() -> Iterator[Chunk]:
        every = (paths.get(i) or os.path.join(walk.roots[0], name) for i, name in enumerate(names))
        return batched(every)

    return Part(root, names, np.array(labels, dtype=np.int64), chunks)


def batched(paths: Iterable[str]) -> Iterator[Chunk]:
    """Paths in runs of a few."""
    rest = iter(paths)
    while run := list(islice(rest, RUN)):
        yield list(run)
