"""IDX folders, as MNIST and its relatives come: pictures (n, h, w) or (n, h, w, 3) and labels (n,), gzipped or not.

An IDX file is 0, 0, a type (8 = uint8), the number of axes, each axis as a big-endian uint32, and the numbers. The
header is checked against the size of the file before anything is allocated; a gzipped one is decompressed as it is
read. http://yann.lecun.com/exdb/mnist/ describes the format.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from gradlearn.data.classes import listed, numbered
from gradlearn.data.header import MAX_SIDE
from gradlearn.data.name import Rows, natural
from gradlearn.data.place import follow, open_regular, roots
from gradlearn.data.reject import Bad, reject
from gradlearn.data.source import PARTS, Chunk, Found, Part, joined
from gradlearn.errors import InputTrouble, printable

NAME = re.compile(r"(?P<part>.*?)(?P<images>images?)(?P<rest>[-_.]idx[34]([-_.]ubyte)?)(?P<gz>\.gz)?", re.IGNORECASE)
PREFIXES = (("train", "train"), ("t10k", "test"), ("test", "test"), ("val", "valid"))
BLOCK = 1 << 22  # bytes decoded at a time
DENSEST = 1100  # no gzip file holds more than this times its size


class Header(NamedTuple):
    """What an IDX file holds."""

    axes: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Bytes of numbers."""
        return math.prod(self.axes)


def is_idx(name: str) -> bool:
    """Whether a file is called as a set of IDX pictures is."""
    return NAME.fullmatch(name) is not None


def read_idx(path: Path, *, follow_links_to: str | os.PathLike[str] | None = None) -> Found:
    """The pictures of an IDX folder by part; raises InputTrouble."""
    allowed = roots(path, follow_links_to)
    where = str(path)
    raw, parts, at = {}, {}, {}
    for part, (images, labels) in sorted(_pairs(path).items(), key=lambda pair: PARTS.index(pair[0])):
        here = joined(where, images)
        file = _located(path / images, here, allowed)
        header = checked(file, here, (3, 4))
        other = joined(where, labels)
        values = _all(_located(path / labels, other, allowed), other)
        if len(values) != header.axes[0]:
            what = f"{len(values)} labels for the {header.axes[0]} pictures of {printable(images)}"
            raise InputTrouble(f"{printable(other)}: {what}; give the files that belong together")
        raw[part], at[part] = values, other
        name = images[:-3] if images.lower().endswith(".gz") else images  # the same pictures, gzipped or not
        shape = (header.axes[1], header.axes[2], header.axes[3] if len(header.axes) == 4 else 1)
        parts[part] = (joined(where, images), name, shape, _chunks(file, here, header, shape))
    names = listed(path)
    classes, ids = numbered(raw, names, at)
    found = {p: Part(w, Rows(name, len(ids[p])), ids[p], chunks, shape) for p, (w, name, shape, chunks) in parts.items()}
    return Found("idx", where, classes, names is not None, found)


def _pairs(path: Path) -> dict[str, tuple[str, str]]:
    """part -> the names of its pictures and of its labels; a plain file goes before a gzipped one."""
    names = {e.name: e for e in sorted(os.scandir(path), key=lambda e: natural(e.name)) if not e.name.startswith(".")}
    found: dict[str, tuple[str, str]] = {}
    images = sorted((n for n in names if is_idx(n)), key=lambda n: n.lower().endswith(".gz"))
    for name in images:
        match = NAME.fullmatch(name)
        assert match is not None
        prefix = match["part"].lower()
        part = next((p for key, p in PREFIXES if key in prefix), "train")
        labels = re.compile(re.escape(match["part"]) + r"labels?[-_.]idx1([-_.]ubyte)?(\.gz)?", re.IGNORECASE)
        partners = sorted((n for n in names if labels.fullmatch(n)), key=lambda n: n.lower().endswith(".gz"))
        if not partners:
            wanted = f"{match['part']}labels{re.sub('[34]', '1', match['rest'])}"
            raise InputTrouble(f"{printable(path / name)}: no labels beside it; add {printable(wanted)}")
        stem = found.get(part, (name,))[0]
        if stem.lower().removesuffix(".gz") != name.lower().removesuffix(".gz"):
            raise InputTrouble(f"{printable(path)}: '{printable(stem)}' and '{printable(name)}' are both for {part}; keep one")
        found.setdefault(part, (name, partners[0]))
    if "train" not in found:
        have = next(iter(found.values()))[0]
        raise InputTrouble(f"{printable(path)}: no training pictures beside '{printable(have)}'; add train-images-idx3-ubyte")
    return found


def _located(path: Path, where: str, allowed: tuple[str, ...]) -> str:
    try:
        return follow(str(path), allowed) if path.is_symlink() else str(path)
    except Bad as bad:
        raise InputTrouble(reject(where, bad).line) from None


def _open(path: str, where: str) -> BinaryIO:
    try:
        return open_regular(path, limit=None)
    except Bad as bad:
        raise InputTrouble(reject(where, bad).line) from None


def checked(path: str, where: str, ranks: tuple[int, ...]) -> Header:
    """The header of an IDX file, in agreement with the size of the file; raises InputTrouble."""
    with _open(path, where) as file:
        stored = os.fstat(file.fileno()).st_size
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        head = next(_plain(file, where, 64), b"") if zipped else file.read(64)
    here = printable(where)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise InputTrouble(f"{here}: not an IDX file (starts with {repr(head[:8])[1:]}); give the original file")
    if head[2] != 8 or head[3] not in ranks:
        axes = " or ".join(map(str, ranks))
        raise InputTrouble(f"{here}: holds type 0x{head[2]:02x} with {head[3]} axes; expected bytes (0x08) with {axes}")
    offset = 4 + 4 * head[3]
    if len(head) < offset:
        raise InputTrouble(f"{here}: file is truncated ({len(head)} of {offset} bytes of its header); get it again")
    header = Header(struct.unpack_from(f">{head[3]}I", head, 4), offset)
    if len(header.axes) > 1:
        _pictures(header, here)
    room = stored * DENSEST if zipped else stored
    if offset + header.size > room:
        most = f"{stored} of {offset + header.size} bytes"
        raise InputTrouble(f"{here}: file is truncated ({most}); get it again")
    if not zipped and offset + header.size < stored:
        raise InputTrouble(f"{here}: {stored - offset - header.size} bytes more than its header says; get it again")
    return header


def _pictures(header: Header, here: str) -> None:
    n, h, w, *colours = header.axes
    if not n:
        raise InputTrouble(f"{here}: no pictures in it; give at least 2")
    if not 0 < h <= MAX_SIDE or not 0 < w <= MAX_SIDE or (colours and colours[0] not in (1, 3)):
        size = "x".join(map(str, header.axes[1:]))
        raise InputTrouble(f"{here}: pictures of {size}; expected height x width, or height x width x 3")


def _plain(file: BinaryIO, where: str, block: int) -> Iterator[bytes]:
    """The contents of a gzip file in blocks; raises InputTrouble where it is damaged or ends too early."""
    inflate = zlib.decompressobj(31)
    rest = b""
    while True:
        rest = rest or file.read(1 << 18)
        try:
            data = inflate.decompress(rest, block)
        except zlib.error as error:
            raise InputTrouble(f"{printable(where)}: gzip data is damaged ({error}); get the file again") from None
        stalled = not rest and not data
        rest = inflate.unconsumed_tail
        if data:
            yield data
        if inflate.eof:
            rest = inflate.unused_data or file.read(1 << 18)
            if not rest.startswith(b"\x1f\x8b"):
                return
            inflate = zlib.decompressobj(31)  # gzip files may be written one after another
        elif stalled:
            raise InputTrouble(f"{printable(where)}: file is truncated (its gzip data ends too early); get it again")


def _blocks(path: str, where: str, header: Header, block: int) -> Iterator[np.ndarray]:
    """The numbers of a checked IDX file, `block` bytes at a time."""
    with _open(path, where) as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = _plain(file, where, BLOCK) if zipped else iter(lambda: file.read(BLOCK), b"")
        have, at, skip = bytearray(), 0, header.offset
        for data in stream:
            have += data[skip:] if skip else data
            skip = max(0, skip - len(data))
            while len(have) >= block and at + len(have) <= header.size:
                yield np.frombuffer(bytes(have[:block]), np.uint8)
                del have[:block]
                at += block
            if at + len(have) > header.size:
                break
        at += len(have)
        if at != header.size:
            what = "truncated" if at < header.size else "longer than its header says"
            raise InputTrouble(f"{printable(where)}: file is {what} ({at} of {header.size} bytes); get it again")
        if have:
            yield np.frombuffer(bytes(have), np.uint8)


def _chunks(path: str, where: str, header: Header, shape: tuple[int, int, int]):
    one = math.prod(shape)

    def chunks() -> Iterator[Chunk]:
        for block in _blocks(path, where, header, max(1, BLOCK // one) * one):
            yield block.reshape(-1, *shape)

    return chunks


def _all(path: str, where: str) -> np.ndarray:
    """The labels of an IDX file, (n,) int64."""
    header = checked(path, where, (1,))
    blocks = list(_blocks(path, where, header, BLOCK))
    return np.concatenate(blocks).astype(np.int64) if blocks else np.empty(0, np.int64)
