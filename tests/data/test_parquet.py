"""Image Parquet: as Hugging Face writes it, with class names from where they are, and each line about a bad file."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradlearn.data import parquet as module
from gradlearn.data.parquet import holds_parquet, read_parquet
from gradlearn.errors import InputTrouble


@pytest.fixture
def pictures(draw):
    return [draw.encoded(draw.noise(i)) for i in range(10)]


def refused(path) -> str:
    with pytest.raises(InputTrouble) as caught:
        read_all(path)
    return str(caught.value)


def read_all(path) -> list[bytes]:
    return [p for part in read_parquet(path).parts.values() for chunk in part.chunks() for p in chunk]


def features(names: list[str]) -> dict[bytes, bytes]:
    label = {"names": names, "_type": "ClassLabel"}
    return {b"huggingface": json.dumps({"info": {"features": {"label": label}}}).encode()}


@pytest.mark.parametrize("struct", [True, False])
def test_bytes_and_labels_in_their_order(draw, tmp_path, pictures, struct):
    path = draw.table(tmp_path / "x.parquet", pictures, [0, 1] * 5, struct=struct)
    found = read_parquet(path)
    part = found.parts["train"]
    assert [p for chunk in part.chunks() for p in chunk] == pictures
    assert part.labels.tolist() == [0, 1] * 5
    assert (list(part.names)[9], part.where) == ("x.parquet[9]", str(tmp_path))
    assert (found.classes, found.named) == (("0", "1"), False)


def test_class_names_from_metadata_file_text_or_number(draw, tmp_path, pictures):
    path = tmp_path / "x.parquet"
    draw.table(path, pictures, ["dog", "cat"] * 5)
    assert (read_parquet(path).classes, read_parquet(path).parts["train"].labels[0]) == (("cat", "dog"), 1)
    draw.table(path, pictures, [7, 30] * 5)
    assert read_parquet(path).classes == ("7", "30")
    draw.table(path, pictures, [0, 2] * 5)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    assert read_parquet(path).classes == ("a", "b", "c")
    draw.table(path, pictures, [0, 2] * 5, metadata=features(["x", "y", "z"]))
    assert read_parquet(path).classes == ("x", "y", "z")
    assert read_parquet(path).parts["train"].labels.tolist() == [0, 2] * 5


def test_dictionary_labels(draw, tmp_path, pictures):
    kind = pa.dictionary(pa.int32(), pa.string())
    path = draw.table(tmp_path / "x.parquet", pictures, ["dog", "cat"] * 5, kind=kind)
    assert read_parquet(path).classes == ("cat", "dog")


def test_a_folder_of_parts_in_several_files(draw, tmp_path, pictures):
    for name in ("train-00001-of-2", "train-00000-of-2", "validation-0", "test-0"):
        draw.table(tmp_path / f"{name}.parquet", pictures, [0, 1] * 5)
    found = read_parquet(tmp_path)
    assert {name: len(part.labels) for name, part in found.parts.items()} == {"train": 20, "valid": 10, "test": 10}
    assert found.parts["train"].names[10] == "train-00001-of-2.parquet[0]"
    assert holds_parquet(tmp_path) == tmp_path
    assert holds_parquet(tmp_path.parent / "no") is None
    (tmp_path / "repo").mkdir()
    tmp = tmp_path / "repo" / "data"
    tmp.mkdir()
    draw.table(tmp / "part-0.parquet", pictures, [0, 1] * 5)
    assert holds_parquet(tmp_path / "repo") == tmp
    assert list(read_parquet(tmp).parts) == ["train"]


def test_columns_under_other_names(draw, tmp_path, pictures):
    path = draw.table(tmp_path / "x.parquet", pictures, [0, 1] * 5, names=("img", "fine_label"))
    assert len(read_parquet(path).parts["train"].labels) == 10


def test_a_row_without_bytes_is_an_empty_file(draw, tmp_path, pictures):
    path = draw.table(tmp_path / "x.parquet", [*pictures[:9], None], [0, 1] * 5)
    assert [p for chunk in read_parquet(path).parts["train"].chunks() for p in chunk][9] == b""


def test_lines_about_files(draw, tmp_path, pictures):
    path = tmp_path / "x.parquet"
    draw.table(path, pictures, [0, 1] * 5)
    data = path.read_bytes()
    for cut in (data[:-1], data[: len(data) // 2], b"hello", b"PAR"):
        path.write_bytes(cut)
        assert refused(path) == f"{path}: not a Parquet file (no PAR1 footer); it may be incomplete"
    path.write_bytes(b"")
    assert refused(path) == f"{path}: file is empty (0 bytes); remove it"
    path.write_bytes(data[:100] + data[-100:])
    assert refused(path).startswith(f"{path}: Parquet data is damaged (")
    draw.table(tmp_path / "test.parquet", pictures, [0, 1] * 5)
    path.unlink()
    assert refused(tmp_path) == f"{tmp_path}: no train*.parquet beside 'test.parquet'; add it or give one file"


def test_damaged_pages_are_named(draw, tmp_path, pictures):
    path = draw.table(tmp_path / "x.parquet", pictures, [0, 1] * 5)
    data = bytearray(path.read_bytes())
    data[4:60] = bytes(56)
    path.write_bytes(data)
    assert refused(path).startswith(f"{path}: Parquet data is damaged (")


def test_lines_about_columns(draw, tmp_path, pictures):
    path = tmp_path / "x.parquet"
    for table, line in (
        ({"imagee": pictures, "label": [0] * 10}, "column 'image' not found; did you mean 'imagee'?; rename the column"),
        ({"image": pictures, "y": [0] * 10}, "column 'label' not found; known: image, y; rename the column"),
        ({"image": ["a.png"] * 10, "label": [0] * 10}, "column 'image' is string; expected struct{bytes, path} or binary"),
        ({"image": pictures, "label": [0.5] * 10}, "column 'label' is double; expected whole numbers or text"),
    ):
        pq.write_table(pa.table(table), path)
        assert refused(path) == f"{path}: {line}"


def test_extension_types_are_not_read(draw, tmp_path, pictures):
    path = tmp_path / "x.parquet"
    field = pa.field("c", pa.binary(), metadata={b"ARROW:extension:name": b"arrow.py_extension_type"})
    schema = pa.schema([("image", pa.binary()), ("label", pa.int64()), field])
    pq.write_table(pa.table([pictures, [0, 1] * 5, pictures], schema=schema), path)
    line = "column 'c' has extension type 'arrow.py_extension_type'; not read, drop the column"
    assert refused(path) == f"{path}: {line}"


def test_row_groups_that_would_not_fit(draw, tmp_path, pictures, monkeypatch):
    path = draw.table(tmp_path / "x.parquet", pictures, [0, 1] * 5)
    monkeypatch.setattr(module, "GROUP_BYTES", 1000)
    assert "row group 0 would need" in refused(path)


def test_lines_about_labels(draw, tmp_path, pictures):
    path = tmp_path / "x.parquet"
    draw.table(path, pictures, [0] * 4 + [None] + [1] * 5)
    assert refused(path) == f"{path}[4]: column 'label': empty target; fill it or remove the row"
    draw.table(path, pictures, [0] * 4 + [-1] + [1] * 5)
    assert refused(path) == f"{path}[4]: label -1 is negative, which means none; give it a label or remove it"
    draw.table(path, pictures, [0] * 4 + [3] + [1] * 5, metadata=features(["a", "b"]))
    assert refused(path).startswith(f"{path}[4]: label 3 outside the 2 classes of train (a, b)")
    draw.table(path, pictures, ["Cat", "cat"] * 5)
    assert refused(path) == f"{path}: names 'Cat' and 'cat' differ only by case; rename one"
    path.unlink()
    draw.table(tmp_path / "train.parquet", pictures, ["dog", "cat"] * 5)
    draw.table(tmp_path / "test.parquet", pictures, ["dog", "cta"] * 5)
    assert refused(tmp_path).startswith(f"{tmp_path}/test.parquet[1]: class 'cta' is not in train; did you mean 'cat'?")


def test_names_that_a_file_claims_but_cannot_have(draw, tmp_path, pictures):
    path = tmp_path / "x.parquet"
    for broken in ({b"huggingface": b"{"}, {b"huggingface": b"[" * 10_000}, features([]), features(["a", "a"])):
        draw.table(path, pictures, [0, 1] * 5, metadata=broken)
        assert read_parquet(path).classes == ("0", "1")


def test_rows_are_read_a_few_at_a_time(draw, tmp_path, pictures, monkeypatch):
    path = draw.table(tmp_path / "x.parquet", pictures, [0, 1] * 5, rows=10)
    monkeypatch.setattr(module, "RUN_BYTES", 1)
    assert [len(chunk) for chunk in read_parquet(path).parts["train"].chunks()] == [1] * 10
