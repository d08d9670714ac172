"""IDX folders: gzipped or not the same, and every disagreement of header and size named."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from gradlearn.data.idx import is_idx, read_idx
from gradlearn.errors import InputTrouble


def pixels(found, part: str) -> np.ndarray:
    return np.concatenate(list(found.parts[part].chunks()))


def refused(path) -> str:
    with pytest.raises(InputTrouble) as caught:
        list(read_idx(path).parts["train"].chunks())
    return str(caught.value)


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_pictures_and_labels(draw, tmp_path, colours, zipped):
    found = read_idx(draw.idx_folder(tmp_path, colours=colours, zipped=zipped))
    expected = np.stack([draw.noise(i, 5, 7, 3) for i in range(12)])
    assert (pixels(found, "train") == (expected if colours else expected[..., :1])).all()
    assert found.parts["train"].labels.tolist() == [0, 1, 2] * 4
    assert list(found.parts) == ["train", "test"]
    assert found.parts["test"].shape == (5, 7, 3 if colours else 1)
    assert found.classes == ("0", "1", "2")


def test_names_that_are_used(draw, tmp_path):
    for name in ("train-images-idx3-ubyte", "train-images.idx3-ubyte.gz", "emnist-letters-train-images-idx3-ubyte"):
        assert is_idx(name)
    assert not is_idx("train-labels-idx1-ubyte")
    assert not is_idx("images.png")
    for name in ("images-idx3", "labels-idx1"):
        (tmp_path / f"x-{name}-ubyte").write_bytes(b"")
    draw.idx_folder(tmp_path / "a")
    for path in (tmp_path / "a").iterdir():
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert list(read_idx(tmp_path / "a").parts) == ["train", "test"]


def test_a_plain_file_goes_before_a_gzipped_one(draw, tmp_path):
    draw.idx_folder(tmp_path, n=6, zipped=True)
    draw.idx_folder(tmp_path, n=3)
    assert len(read_idx(tmp_path).parts["train"].labels) == 3


def test_labels_with_names(draw, tmp_path):
    draw.idx_folder(tmp_path)
    (tmp_path / "labels.txt").write_text("shirt\nshoe\nbag\n")
    assert read_idx(tmp_path).classes == ("shirt", "shoe", "bag")
    (tmp_path / "labels.txt").write_text("shirt\nshoe\n")
    assert "train-labels-idx1-ubyte[2]: label 2 outside the 2 classes of train (shirt, shoe); fix" in refused(tmp_path)


def test_classes_are_those_of_train(draw, tmp_path):
    draw.idx_folder(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(draw.idx(np.array([0, 1, 2, 7] * 3)))
    assert "t10k-labels-idx1-ubyte[3]: label 7 outside the 3 classes of train (0, 1, 2); fix" in refused(tmp_path)


def test_cut_anywhere_is_noticed(draw, tmp_path):
    draw.idx_folder(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    data = path.read_bytes()
    for n in range(0, len(data), 13):
        path.write_bytes(data[:n])
        assert any(word in refused(tmp_path) for word in ("truncated", "empty", "not an IDX file")), n
    path.write_bytes(data[:100])
    assert refused(tmp_path) == f"{path}: file is truncated (100 of {len(data)} bytes); get it again"


def test_gzip_cut_or_damaged_anywhere_is_noticed(draw, tmp_path):
    draw.idx_folder(tmp_path, zipped=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    data = path.read_bytes()
    for n in range(1, len(data)):
        path.write_bytes(data[:n])
        assert any(word in refused(tmp_path) for word in ("truncated", "not an IDX file")), n
    for n in range(40, len(data), 7):
        path.write_bytes(data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :])
        assert any(word in refused(tmp_path) for word in ("damaged", "truncated", "longer", "not an IDX")), n


def test_gzip_that_goes_on_for_ever_is_stopped(draw, tmp_path):
    draw.idx_folder(tmp_path, zipped=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"\0" * 50_000_000))
    assert "longer than its header says" in refused(tmp_path)


def test_gzip_in_members(draw, tmp_path):
    draw.idx_folder(tmp_path, zipped=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    before = pixels(read_idx(tmp_path), "train")
    data = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(data[:70]) + gzip.compress(data[70:]))
    assert (pixels(read_idx(tmp_path), "train") == before).all()


def test_lines_about_headers(draw, tmp_path):
    draw.idx_folder(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    good = path.read_bytes()
    for data, line in (
        (good + b"xx", "2 bytes more than its header says; get it again"),
        (b"\0\0\x0d\x03" + good[4:], "holds type 0x0d with 3 axes; expected bytes (0x08) with 3 or 4"),
        (b"\0\0\x08\x01" + good[4:], "holds type 0x08 with 1 axes; expected bytes (0x08) with 3 or 4"),
        (b"%PDF-1.7 and so on", "not an IDX file (starts with '%PDF-1.7'); give the original file"),
        (struct.pack(">I3I", 0x803, 2**32 - 1, 2**16, 1), "pictures of 65536x1; expected height x width"),
        (struct.pack(">I3I", 0x803, 2**32 - 1, 100, 100), "file is truncated (16 of 42949672950016 bytes); get it again"),
        (struct.pack(">I4I", 0x804, 1, 2, 2, 2) + b"12345678", "pictures of 2x2x2; expected"),
        (struct.pack(">I3I", 0x803, 0, 5, 7), "no pictures in it; give at least 2"),
        (b"", "file is empty (0 bytes); remove it"),
    ):
        path.write_bytes(data)
        assert refused(tmp_path).startswith(f"{path}: {line}")


def test_lines_about_pairs(draw, tmp_path):
    draw.idx_folder(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(draw.idx(np.zeros(11)))
    belong = "11 labels for the 12 pictures of train-images-idx3-ubyte; give the files that belong together"
    assert refused(tmp_path) == f"{labels}: {belong}"
    labels.unlink()
    assert refused(tmp_path) == f"{tmp_path}/train-images-idx3-ubyte: no labels beside it; add train-labels-idx1-ubyte"
    (tmp_path / "train-images-idx3-ubyte").unlink()
    assert "no training pictures beside 't10k-images-idx3-ubyte'" in refused(tmp_path)


def test_a_link_that_leaves(draw, tmp_path):
    draw.idx_folder(tmp_path / "a")
    draw.idx_folder(tmp_path / "b")
    path = tmp_path / "a" / "train-images-idx3-ubyte"
    path.unlink()
    path.symlink_to(tmp_path / "b" / "train-images-idx3-ubyte")
    assert refused(tmp_path / "a") == f"{path}: link leaves the data root; pass --follow-links-to DIR to allow it"
    assert read_idx(tmp_path / "a", follow_links_to=tmp_path / "b").classes == ("0", "1", "2")
