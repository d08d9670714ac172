"""Image Parquet as Hugging Face writes it: `image` a struct{bytes, path} or binary, `label` a number or a text.

One file, or a folder with train*.parquet, valid*|validation*|val*.parquet, test*.parquet (or a folder `data` of
these). Read in small batches, row group by row group. A path in the file is never opened. Class names: the ClassLabel
feature in the file's metadata, else labels.txt beside it, else the labels themselves, in order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gradlearn.data.classes import declared, listed, numbered
from gradlearn.data.name import Chain, Rows, natural
from gradlearn.data.place import follow, open_regular, roots, scan
from gradlearn.data.reject import Bad, reject
from gradlearn.data.source import PARTS, Chunk, Found, Part, joined
from gradlearn.errors import InputTrouble, nearest, printable

IMAGE = ("image", "img")
LABEL = ("label", "labels", "fine_label")
STARTS = (("train", "train"), ("val", "valid"), ("test", "test"))
GROUP_BYTES = 4_000_000_000
RUN = 64  # most rows read at a time
RUN_BYTES = 1 << 24


def is_parquet(name: str) -> bool:
    """Whether a file is called as a Parquet file is."""
    return name.lower().endswith((".parquet", ".pq")) and not name.startswith((".", "_"))


def holds_parquet(folder: Path) -> Path | None:
    """The folder itself or its `data` folder, where Parquet files lie in it; else None."""
    for place in (folder, folder / "data"):
        if place.is_dir() and any(is_parquet(entry.name) for entry in scan(str(place), str(place))):
            return place
    return None


def read_parquet(path: Path, *, follow_links_to: str | os.PathLike[str] | None = None) -> Found:
    """The pictures of a Parquet file or of a folder of them, by part; raises InputTrouble."""
    folder = path if path.is_dir() else path.parent
    allowed = roots(folder, follow_links_to)
    files = _files(path)
    tables = {part: [Table(folder / n, joined(str(folder), n), n, allowed) for n in names] for part, names in files.items()}
    names = next((t.classes for t in tables["train"] if t.classes), None) or listed(folder)
    raw = {part: _labels(of) for part, of in tables.items()}
    at = {part: of[0].where if len(of) == 1 else joined(str(folder), part) for part, of in tables.items()}
    classes, ids = numbered(raw, names, at)
    parts = {p: _part(str(folder), tables[p], ids[p]) for p in PARTS if p in tables}
    return Found("parquet", str(path), classes, names is not None or raw["train"].dtype.kind != "i", parts)


def _files(path: Path) -> dict[str, list[str]]:
    """part -> names of its files in natural order."""
    if not path.is_dir():
        return {"train": [path.name]}
    names = sorted((n for n in os.listdir(path) if is_parquet(n)), key=natural)
    files: dict[str, list[str]] = {}
    for name in names:
        part = next((p for start, p in STARTS if name.lower().startswith(start)), "")
        files.setdefault(part, []).append(name)
    if set(files) == {""}:
        return {"train": files[""]}
    if "train" not in files:
        raise InputTrouble(f"{printable(path)}: no train*.parquet beside '{printable(names[0])}'; add it or give one file")
    files.pop("", None)
    return files


def _part(folder: str, tables: list[Table], labels: np.ndarray) -> Part:
    def chunks() -> Iterator[Chunk]:
        for table in tables:
            yield from table.pictures()

    return Part(folder, Chain([Rows(t.name, t.rows) for t in tables]), labels, chunks)


def _labels(tables: list[Table]) -> np.ndarray:
    every = [t.labels() for t in tables]
    kinds = {v.dtype.kind for v in every}
    if len(kinds) > 1:
        raise InputTrouble(f"{printable(tables[0].where)}: labels are numbers in one file and text in another; write one kind")
    return np.concatenate(every)


class Table:
    """One Parquet file, its columns checked; nothing of it stays in memory."""

    def __init__(self, path: Path, where: str, name: str, allowed: tuple[str, ...]) -> None:
        self.where, self.name = printable(where), name
        try:
            self.path = follow(str(path), allowed) if path.is_symlink() else str(path)
            with open_regular(self.path, limit=None) as file:
                self._footer(file)
        except Bad as bad:
            raise InputTrouble(reject(where, bad).line) from None
        with self._file() as file:
            schema = file.schema_arrow
            self.image, self.label = self._column(schema, IMAGE), self._column(schema, LABEL)
            self._checked(schema)
            self._sized(file)
            self.rows = file.metadata.num_rows
            self.classes = declared(schema.metadata, self.label)

    def _footer(self, file: Any) -> None:
        start = file.read(4)
        file.seek(-min(4, os.fstat(file.fileno()).st_size), os.SEEK_END)
        if start != b"PAR1" or file.read(4) != b"PAR1":
            raise Bad("not a Parquet file (no PAR1 footer)", "it may be incomplete")

    def _file(self) -> Any:
        try:
            import pyarrow.parquet as pq
        except ImportError:
            raise InputTrouble(f"{self.where}: reading Parquet needs pyarrow; pip install 'gradlearn[images]'") from None
        try:
            return pq.ParquetFile(self.path)
        except (OSError, ValueError, MemoryError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: BaseException) -> InputTrouble:
        return InputTrouble(f"{self.where}: Parquet data is damaged ({printable(error, 80)}); get the file again")

    def _column(self, schema: Any, names: tuple[str, ...]) -> str:
        found = next((n for n in names if n in schema.names), None)
        if found is None:
            near = nearest(names[0], schema.names)
            raise InputTrouble(f"{self.where}: column '{names[0]}' not found{printable(near)}; rename the column")
        if schema.names.count(found) > 1:
            raise InputTrouble(f"{self.where}: column '{found}' appears twice; rename one")
        return found

    def _checked(self, schema: Any) -> None:
        import pyarrow as pa

        for field in schema:
            extension = (field.metadata or {}).get(b"ARROW:extension:name", b"").decode("utf-8", "replace")
            if isinstance(field.type, pa.BaseExtensionType):
                extension = field.type.extension_name
            if extension:
                what = f"column '{printable(field.name)}' has extension type '{printable(extension)}'"
                raise InputTrouble(f"{self.where}: {what}; not read, drop the column")
        kind = schema.field(self.image).type
        if pa.types.is_struct(kind):
            inner = kind.get_field_index("bytes")
            kind = kind.field(inner).type if inner >= 0 else kind
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            what = f"column '{self.image}' is {printable(kind, 60)}"
            raise InputTrouble(f"{self.where}: {what}; expected struct{{bytes, path}} or binary")
        kind = schema.field(self.label).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise InputTrouble(f"{self.where}: column '{self.label}' is {printable(kind, 60)}; expected whole numbers or text")

    def _sized(self, file: Any) -> None:
        total = 0
        for i in range(file.num_row_groups):
            group = file.metadata.row_group(i)
            columns = (group.column(j) for j in range(group.num_columns))
            needed = sum(c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] in (self.image, self.label))
            if needed > GROUP_BYTES:
                what = f"row group {i} would need {needed / 1e9:.3g} GB, limit {GROUP_BYTES / 1e9:.3g} GB"
                raise InputTrouble(f"{self.where}: {what}; rewrite with smaller row groups")
            total += needed
        self.run = max(1, min(RUN, RUN_BYTES * file.metadata.num_rows // max(total, 1)))  # rows read at a time

    def labels(self) -> np.ndarray:
        """All labels, (n,): int64, or text as objects; raises InputTrouble for an empty one."""
        import pyarrow as pa

        with self._file() as file:
            try:
                column = file.read(columns=[self.label], use_threads=False).column(0)
            except (OSError, ValueError, pa.ArrowException) as error:
                raise self._damaged(error) from None
        if column.null_count:
            row = next(i for i, v in enumerate(column) if not v.is_valid)
            raise InputTrouble(f"{self.where}[{row}]: column '{self.label}': empty target; fill it or remove the row")
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_integer(column.type):
            return column.to_numpy().astype(np.int64)
        return np.array(column.to_pylist(), dtype=object)

    def pictures(self) -> Iterator[Chunk]:
        """The bytes of all pictures, a few rows at a time; b"" where a row has none."""
        import pyarrow as pa

        with self._file() as file:
            try:
                for batch in file.iter_batches(self.run, columns=[self.image], use_threads=False):
                    column = batch.column(0)
                    if pa.types.is_struct(column.type):
                        column = column.flatten()[column.type.get_field_index("bytes")]
                    yield [v or b"" for v in column.to_pylist()]
            except (OSError, ValueError, pa.ArrowException) as error:
                raise self._damaged(error) from None
