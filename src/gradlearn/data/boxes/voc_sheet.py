"""One Pascal VOC annotation file: the size of the picture, its file name, and its boxes with their lines.

Parsed by expat as a stream. A DOCTYPE ends it before a single entity is declared, so nothing can be expanded, fetched or read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from gradlearn.data.reject import Bad
from gradlearn.errors import InputTrouble, printable

DEPTH = 64
SIDES = ("xmin", "ymin", "xmax", "ymax")
WANTED = frozenset(
    [("annotation", "filename"), ("annotation", "size", "width"), ("annotation", "size", "height")]
    + [("annotation", "object", name) for name in ("name", "difficult")]
    + [("annotation", "object", "bndbox", side) for side in SIDES]
)


@dataclass
class Thing:
    """One object of an annotation."""

    line: int
    name: str = ""
    difficult: bool = False
    sides: dict[str, float] = field(default_factory=dict)
    wrong: str = ""  # what cannot be read in it


@dataclass
class Sheet:
    """One annotation file."""

    size: tuple[int, int] = (0, 0)  # h, w; 0 where it does not say
    filename: str = ""
    things: list[Thing] = field(default_factory=list)


def parse(data: bytes, where: str) -> Sheet:
    """The annotation in these bytes; raises InputTrouble for a DOCTYPE, Bad for what is no VOC annotation."""
    sheet, reader = Sheet(), expat.ParserCreate()
    path: list[str] = []
    pieces: list[str] = []

    def begin(name: str, _: dict[str, str]) -> None:
        path.append(name)
        pieces.clear()
        if len(path) > DEPTH:
            raise Bad(f"nested deeper than {DEPTH} elements", "fix the file")
        if path == ["annotation", "object"]:
            sheet.things.append(Thing(reader.CurrentLineNumber))
        elif path == ["annotation", "object", "bndbox"]:
            sheet.things[-1].line = reader.CurrentLineNumber

    def end(name: str) -> None:
        if tuple(path) in WANTED:
            _put(sheet, path[1], name, "".join(pieces).strip())
        path.pop()
        pieces.clear()

    def doctype(*_: object) -> NoReturn:
        raise InputTrouble(f"{printable(where)}: DOCTYPE is not allowed in VOC files; remove it")

    reader.StartDoctypeDeclHandler = doctype
    reader.StartElementHandler, reader.EndElementHandler, reader.CharacterDataHandler = begin, end, pieces.append
    try:
        reader.Parse(data, True)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        raise Bad(f"not well-formed XML ({what} in line {error.lineno}, column {error.offset + 1})", "fix the file") from None
    except (ValueError, LookupError) as error:  # an encoding that Python does not have
        if isinstance(error, InputTrouble):
            raise
        raise Bad(f"not readable XML ({printable(error, 60)})", "save it as UTF-8") from None
    return sheet


def _put(sheet: Sheet, above: str, name: str, value: str) -> None:
    """One value that is wanted."""
    if name == "filename":
        sheet.filename = value
    elif above == "size":
        h, w = sheet.size
        sheet.size = (_whole(value), w) if name == "height" else (h, _whole(value))
    else:
        _detail(sheet.things[-1], name, value)


def _detail(thing: Thing, name: str, value: str) -> None:
    if name == "name":
        thing.name = value
    elif name == "difficult":
        thing.difficult = value.lower() not in ("", "0", "false")
    elif name in thing.sides:
        thing.wrong = thing.wrong or f"{name} is there twice"
    else:
        try:
            thing.sides[name] = number(value)
        except ValueError:
            thing.wrong = thing.wrong or f"{name} {printable(value, 40)!r} is not a number"


def number(text: str) -> float:
    """A decimal number, NaN and infinity included; raises ValueError (Python alone would take 1_000)."""
    if "_" in text:
        raise ValueError(text)
    return float(text)


def _whole(text: str) -> int:
    """A size in pixels; 0 where it is none."""
    try:
        value = number(text)
    except ValueError:
        return 0
    return int(value) if math.isfinite(value) and 0 < value < 1 << 31 else 0
