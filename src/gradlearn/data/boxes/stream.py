"""A JSON document whose lists may be long, one item at a time: memory is that of an item, not of the document.

    for key, item in Stream(file, "coco.json").members(): ...      {"images": [a, b], "info": c}: images a, images b, info c

A key that is there twice in an object, or anything after the end, is an error with line and column. NaN and Infinity, which Python
writes, are numbers here: who takes the item says where they are. Parsed by Python's scanner in C, a megabyte of text at a time.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

from gradlearn.errors import InputTrouble, printable

CHUNK = 1 << 20  # bytes
NEAR = 16  # characters: so close to the end of the text, an error or the end of a number may be none with more of it
SPACE = re.compile(r"[ \t\r\n]*")
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]')


class _Twice(Exception):
    """An object has a key twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


class Stream:
    """One document, read once."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self.where = where
        self.file, self.decode = file, codecs.getincrementaldecoder("utf-8-sig")().decode
        self.scan = json.JSONDecoder(object_pairs_hook=_unique).raw_decode
        self.text, self.at, self.over = "", 0, False
        self.lines, self.column = 0, 0  # before `text`: line breaks, and characters since the last of them
        self.keys: set[str] = set()  # of the outermost object, so far

    def members(self) -> Iterator[tuple[str, Any]]:
        """(key, value) of the outermost object, and (key, item) for each item of a list. Raises InputTrouble."""
        if self.next() != "{":
            self.refuse("expected an object with images, annotations and categories")
        self.at += 1
        if self.next() == "}":
            self.at += 1
        else:
            yield from self.pairs()
        if self.next():
            self.refuse("something follows the end")

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """Keys and what is behind them, up to the closing brace."""
        while True:
            spot = self.spot(self.at) if self.next() == '"' else self.refuse("expected a key in double quotes")
            key = self.value()
            if key in self.keys:
                self.refuse(f"duplicate key '{printable(key)}'", spot)
            self.keys.add(key)
            self.take(":")
            if self.next() == "[":
                yield from ((key, item) for item in self.items())
            else:
                yield key, self.value()
            if self.take(",}") == "}":
                return

    def items(self) -> Iterator[Any]:
        """The items of the list that begins here."""
        self.at += 1
        if self.next() == "]":
            self.at += 1
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return

    def next(self) -> str:
        """The next character that is no space; nothing at the end."""
        while True:
            self.at = space(self.text, self.at)
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def take(self, wanted: str) -> str:
        """Step over the next character, which must be one of these."""
        found = self.next()
        if not found or found not in wanted:
            self.refuse(f"expected {' or '.join(wanted)}")
        self.at += 1
        return found

    def value(self) -> Any:
        """The value that begins here."""
        self.next()
        while True:
            try:
                value, end = self.scan(self.text, self.at)
                if end > len(self.text) - NEAR and self.more():  # a number may go on
                    continue
                self.at = end
                return value
            except json.JSONDecodeError as error:
                sure = error.pos < len(self.text) - NEAR and not error.msg.startswith("Unterminated")
                if sure or not self.more():
                    self.refuse(error.msg, self.spot(error.pos))
            except _Twice:
                self.twice()
            except InputTrouble:
                raise
            except RecursionError:
                self.refuse("nested too deeply")
            except ValueError as error:  # a whole number of thousands of digits
                self.refuse(printable(error, 60))

    def more(self) -> bool:
        """Read on; what lies before `at` is forgotten. False at the end."""
        new = "" if self.over else self.read()
        if not new:
            self.over = True
            return False
        gone = self.text[: self.at]
        breaks = gone.count("\n")
        self.column = self.column + len(gone) if not breaks else len(gone) - gone.rfind("\n") - 1
        self.lines += breaks
        self.text, self.at = self.text[self.at :] + new, 0
        return True

    def read(self) -> str:
        """A piece of the file, longer where a long item is not over yet, so that it is not begun again too often."""
        try:
            text = ""
            while not text:  # a few bytes may be no character yet
                data = self.file.read(max(CHUNK, len(self.text) - self.at))
                text = self.decode(data, not data)
                if not data:
                    break
            return text
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise InputTrouble(f"{printable(self.where)}: byte 0x{byte:02x} is not UTF-8; save it as UTF-8") from None

    def twice(self) -> NoReturn:
        """Say which key of the item that begins here is there twice, and where."""
        above: list[set[str] | None] = []
        for token in TOKEN.finditer(self.text, self.at):
            word = token[0]
            if word in "{[":
                above.append(set() if word == "{" else None)
                continue
            if word in "}]":
                above.pop()
                continue
            after = space(self.text, token.end())
            keys = above[-1] if above and self.text[after : after + 1] == ":" else None
            if keys is None:
                continue
            name = json.loads(word)
            if name in keys:
                self.refuse(f"duplicate key '{printable(name)}'", self.spot(token.start()))
            keys.add(name)
        self.refuse("duplicate key")

    def spot(self, at: int) -> str:
        """line:column of a character of the text, both from 1."""
        breaks = self.text.count("\n", 0, at)
        column = self.column + at if not breaks else at - self.text.rfind("\n", 0, at) - 1
        return f"{self.lines + breaks + 1}:{column + 1}"

    def refuse(self, what: str, spot: str | None = None) -> NoReturn:
        """Raise InputTrouble with line and column."""
        where = f"{printable(self.where)}:{spot or self.spot(self.at)}"
        raise InputTrouble(f"{where}: not valid JSON ({what[:1].lower()}{what[1:]}); fix the file")


def space(text: str, at: int) -> int:
    """Where the spaces that begin here end."""
    found = SPACE.match(text, at)
    return found.end() if found else at
