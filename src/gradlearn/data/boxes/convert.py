"""A data set with boxes in another form, whole or not at all: VOC, COCO and YOLO, each into each.

It is read, and linted, as for training; then written into a folder with another name beside OUT, which is renamed at the end.
Parts, the order of classes and the corners of boxes are kept. What the other form has no word for is said.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradlearn.data.boxes.boxed import NAMES, Boxed
from gradlearn.data.boxes.read import Where, read_given
from gradlearn.data.boxes.write import FOLDERS, write_coco, write_voc, write_yolo
from gradlearn.data.place import open_regular
from gradlearn.data.reject import Bad, reject
from gradlearn.errors import InputTrouble, ResourceTrouble, nearest, printable

WRITERS: dict[str, Callable[[Boxed, Any, Path], None]] = {"voc": write_voc, "coco": write_coco, "yolo": write_yolo}


@dataclass(frozen=True)
class Converted:
    """What came of it."""

    boxed: Boxed  # as it was read
    out: str
    to: str
    said: list[str]  # what the other form does not keep


def convert(path: Where, out: Where, to: str, *, link: bool = False, **reading: Any) -> Converted:
    """Write the data at `path` as `to` ("voc", "coco", "yolo") into the new folder `out`.

    `link`: pictures are hard links instead of copies. `reading`: what `read_given` takes. Raises InputTrouble, also where `out`
    exists; ResourceTrouble where the disk gives out. Either way nothing is left behind.
    """
    if to not in WRITERS:
        raise InputTrouble(f"--to {printable(to)}: no such form{nearest(to, WRITERS)}")
    target = Path(os.path.abspath(out))
    if os.path.lexists(target):
        raise InputTrouble(f"{printable(out)}: exists; choose another name")
    if not target.parent.is_dir():
        raise InputTrouble(f"{printable(target.parent)}: folder not found; make it first")
    boxed = read_given(path, **reading)
    _sayable(boxed, to)
    try:
        begun = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ResourceTrouble(f"{printable(target.parent)}: cannot be written ({error.strerror}); choose another OUT") from None
    try:
        names = named(boxed, to)
        _place(boxed, names, to, begun, link)
        WRITERS[to](boxed, names, begun)
        os.chmod(begun, 0o777 & ~_umask())
        os.rename(begun, target)
    except OSError as error:
        if isinstance(error, ResourceTrouble):
            raise
        raise ResourceTrouble(f"{printable(out)}: write failed: {error.strerror or error}; free space") from None
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    return Converted(boxed, str(out), to, lost(boxed, to))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sayable(boxed: Boxed, to: str) -> None:
    """Raise InputTrouble for class names that the form cannot hold."""
    bad = next((name for name in boxed.classes if name != name.strip() or not name.isprintable() or not name), None)
    if to != "coco" and bad is not None:
        raise InputTrouble(f"class '{printable(bad)}': {NAMES[to]} cannot hold such a name; rename it")


def named(boxed: Boxed, to: str) -> dict[str, list[str]]:
    """part -> a file name for each of its pictures: their own, longer where two would be one. Names differ before the extension."""
    found: dict[str, list[str]] = {}
    taken: dict[str, set[str]] = {}
    for part, rows in boxed.split.items():
        used = taken.setdefault("" if to == "voc" else part, set())
        found[part] = [_free(str(boxed.files[i]), used) for i in rows.tolist()]
    return found


def _free(file: str, used: set[str]) -> str:
    parts = file.split("/")
    stem, dot, extension = parts[-1].rpartition(".")
    if not dot or not stem:
        stem, extension = parts[-1], "img"
    tries = [stem, *("_".join([*parts[-k:-1], stem]) for k in range(2, min(len(parts), 8) + 1))]
    name = next((one for one in tries if one.casefold() not in used), None)
    number = 2
    while name is None:
        name = f"{stem}_{number}" if f"{stem}_{number}".casefold() not in used else None
        number += 1
    used.add(name.casefold())
    return f"{name}.{extension}"


def _place(boxed: Boxed, names: dict[str, list[str]], to: str, begun: Path, link: bool) -> None:
    """Copy or link every picture."""
    for part, some in names.items():
        folder = begun / "JPEGImages" if to == "voc" else begun / "images" / FOLDERS[part]
        folder.mkdir(parents=True, exist_ok=True)
        for i, name in zip(boxed.split[part].tolist(), some, strict=True):
            source = boxed.path(i)
            try:
                if link:
                    os.link(source, folder / name, follow_symlinks=False)
                else:
                    with open_regular(source) as here, (folder / name).open("wb") as there:
                        shutil.copyfileobj(here, there, 1 << 20)
            except Bad as bad:
                raise InputTrouble(reject(source, bad).line) from None
            except OSError as error:
                if not link:
                    raise
                what = f"cannot be linked to ({error.strerror})"
                raise InputTrouble(f"{printable(source)}: {what}; leave out --link to copy it") from None


def lost(boxed: Boxed, to: str) -> list[str]:
    """What the new form does not keep of the old one."""
    said = []
    hard = int(boxed.hard.sum())
    if to == "yolo" and hard:
        said.append(f"{hard} boxes that are difficult or crowds are left out: YOLO has no word for them")
    elif hard and boxed.kind != to:
        words = ("difficult", "iscrowd") if to == "coco" else ("iscrowd", "difficult")
        said.append(f"{hard} boxes that are {words[0]} are {words[1]} now")
    if boxed.kind == "coco":
        said.append("masks, key points, licences and all but the boxes of COCO are not kept")
        if to != "coco":
            said.append("the ids of images and categories are not kept")
    if boxed.kind == "voc":
        said.append("pose, truncated and parts of VOC are not kept")
    return said
